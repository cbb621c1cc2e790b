"""Connects a worker to the server, and tries again while the server is away, as Celery does with its broker."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from ..client.connection import TRANSIENT, ConnectFailed, connect, connect_failure
from ..client.forwarded_log import forward_default_runtime
from ..exceptions import ImproperlyConfigured, OperationalError
from ..settings import connection

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGER_BY, LONGEST_PAUSE = 2, 2, 30
"""Seconds before the second attempt, added seconds before each later attempt, and the maximum: Celery's."""
NO_ANSWER = "no answer within {:g} s; is it a Temporal server, and not too busy? (ptemporal.connect_timeout)"


async def client_unless_stopped(app: AppLike, identity: str, stop: asyncio.Event) -> Client | None:
    """Return a client, after as many attempts as the settings allow. Return None if `stop` is set first."""
    stopping = asyncio.ensure_future(stop.wait())
    trying = asyncio.ensure_future(_try_until_connected(app, identity))
    try:
        await asyncio.wait([trying, stopping], return_when=asyncio.FIRST_COMPLETED)
        return trying.result() if trying.done() else None
    finally:
        stopping.cancel()
        trying.cancel()


async def _try_until_connected(app: AppLike, identity: str) -> Client:
    most = tries_at_start(app)
    tried, pause = 0, FIRST_PAUSE
    while True:
        try:
            return await checked_client(app, identity)
        except ConnectFailed as error:
            if not error.transient or (most is not None and tried >= most):
                raise
            tried += 1
            of = "" if most is None else f"/{most}"
            log.error("%s. Trying again in %d seconds... (%d%s)", error, pause, tried, of)
        await asyncio.sleep(pause)
        pause = min(pause + LONGER_BY, LONGEST_PAUSE)


def tries_at_start(app: AppLike) -> int | None:
    """Return how often a starting worker tries again; None means for ever."""
    conf = app.conf
    on_startup = conf.broker_connection_retry_on_startup
    if not (conf.broker_connection_retry if on_startup is None else on_startup):
        return 0
    return conf.broker_connection_max_retries or None


async def checked_client(app: AppLike, identity: str) -> Client:
    """Return a client whose server answers and whose namespace exists. Else raise an error with one line of text."""
    forward_default_runtime()
    settings = connection(app.conf)
    where = f"Temporal at {settings.address}"
    try:
        client = await asyncio.wait_for(
            connect(settings, app.client_options(), identity=identity), settings.connect_timeout
        )
    except (RuntimeError, asyncio.TimeoutError, OSError) as error:
        reason, transient = connect_failure(str(error))
        because = reason or NO_ANSWER.format(settings.connect_timeout)
        raise ConnectFailed(f"{where} can't be reached: {because}", transient=transient) from None
    try:
        found = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=settings.namespace),
            timeout=timedelta(seconds=settings.connect_timeout),
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise OperationalError(
                f"{where} has no namespace {settings.namespace!r}; set ptemporal.namespace, or create it: "
                f"temporal operator namespace create -n {settings.namespace}"
            ) from None
        raise ConnectFailed(
            f"{where}, namespace {settings.namespace!r}: {error.message}", transient=error.status in TRANSIENT
        ) from None
    refuse_too_high_a_limit(app.conf.ptemporal_payload_limit, found.namespace_info.limits.blob_size_limit_error)
    return client


def refuse_too_high_a_limit(ours: int, servers: int) -> None:
    """Raise if our limit is above the server's.

    A result between the two limits could not be sent, and its task would run again for ever.
    """
    if servers and ours > servers:
        raise ImproperlyConfigured(
            f"ptemporal.payload_limit = {ours} is above what the server takes, {servers}; "
            f"set ptemporal.payload_limit = {servers}, or raise the server's limit.blobSize.error"
        )
