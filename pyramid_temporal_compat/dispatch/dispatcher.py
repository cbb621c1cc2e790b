"""Dispatch: start the workflow of each message on the server."""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Sequence

from temporalio.client import Client
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from ..exceptions import OperationalError
from ..exceptions import TimeoutError as CallTimeout
from ..message import Message
from ..payload.converter import to_raw
from .client import Connection, is_transient

log = logging.getLogger(__name__)

SUMMARY_LIMIT = 200
"""The server takes at most 400 bytes of summary; a character may be several."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two tries while the server is away."""


class Dispatcher:
    """Sends messages. One for each app and process; may be used from every thread."""

    def __init__(self, connection: Connection, *, timeout: float, wait: bool) -> None:
        self._connection = connection
        self._timeout = timeout
        self._wait = wait

    def send(self, messages: Sequence[Message]) -> None:
        """Start them now, outside any transaction. Raises `OperationalError` if the server can't take them."""
        deadline = time.monotonic() + self._timeout
        failed = self._connection.call(lambda client: start_all(client, messages, deadline), self._timeout + 1)
        for _, reason in failed:
            raise self._as_operational(reason) from reason

    def after_commit(self, messages: Sequence[Message]) -> None:
        """Start what a transaction has committed. Never raises: what could not be started is logged, whole."""
        deadline = time.monotonic() + self._timeout
        future = self._connection.submit(lambda client: start_all(client, messages, deadline))

        def report() -> None:
            try:
                failed = future.result(self._timeout + 1)
            except Exception as error:
                future.cancel()
                failed = [(message, error) for message in messages]
            for message, reason in failed:
                self._log_lost(message, reason)

        if self._wait:
            report()
        else:
            future.add_done_callback(lambda _: report())

    def _as_operational(self, error: BaseException) -> OperationalError:
        if isinstance(error, RPCError):
            return self._connection.explain(error)
        return OperationalError(f"Temporal at {self._connection.settings.address}: {error}")

    def _log_lost(self, message: Message, error: BaseException) -> None:
        reason = error if isinstance(error, CallTimeout) else self._as_operational(error)
        log.error(
            "committed, but not started: %s[%s]: %s; the message: %s",
            message.summary,
            message.id,
            reason,
            message.for_log(),
        )


async def start_all(
    client: Client, messages: Sequence[Message], deadline: float
) -> list[tuple[Message, BaseException]]:
    """Start every message; gives those that could not be, with the reason."""
    outcomes = await asyncio.gather(
        *(start_until(client, message, deadline) for message in messages), return_exceptions=True
    )
    return [
        (message, outcome)
        for message, outcome in zip(messages, outcomes, strict=True)
        if isinstance(outcome, BaseException)
    ]


async def start_until(client: Client, message: Message, deadline: float) -> None:
    """Start one message, trying again until `deadline` (monotonic) while the server is away."""
    pause = FIRST_PAUSE
    while True:
        left = deadline - time.monotonic()
        try:
            return await asyncio.wait_for(start(client, message), max(left, 0.001))
        except Exception as error:
            if not is_transient(error) or time.monotonic() + pause >= deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def start(client: Client, message: Message) -> None:
    """Start one message. A message that was started before, by whoever, is left as it is."""
    try:
        await client.start_workflow(
            message.task,
            args=[to_raw(payload) for payload in message.encode()],
            id=message.id,
            task_queue=message.queue,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            start_delay=delay_of(message),
            priority=priority_of(message),
            static_summary=message.summary[:SUMMARY_LIMIT],
        )
    except WorkflowAlreadyStartedError:
        log.debug("already started: %s[%s]", message.task, message.id)


def delay_of(message: Message) -> datetime.timedelta | None:
    if message.eta is None:
        return None
    delay = message.eta - datetime.datetime.now(datetime.timezone.utc)
    return delay if delay > datetime.timedelta(0) else None


PRIORITY_KEYS = 5
"""The server's default number of priority keys; 1 goes first."""
CELERY_PRIORITIES = 10
"""0 to 9, 9 goes first; what is above counts as 9."""


def priority_of(message: Message) -> Priority:
    key = None
    if message.priority is not None:
        celery = min(max(message.priority, 0), CELERY_PRIORITIES - 1)
        key = PRIORITY_KEYS - celery * PRIORITY_KEYS // CELERY_PRIORITIES
    return Priority(priority_key=key, fairness_key=message.fairness_key, fairness_weight=message.fairness_weight)
