"""Puts starts and signals of hand-written workflows into the current transaction."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from temporalio.client import Client
from temporalio.service import ConnectConfig

from ..client.workflow_requests import keep_request
from ..enlist.enlistment import ENLIST_NEVER, has_begun
from ..exceptions import InvalidCall, NotSerializable, PayloadTooLarge
from ..message.message import is_name, is_queue
from ..message.workflow_call import WorkflowCall

if TYPE_CHECKING:
    from ..interfaces import AppLike


class WaitingCalls:
    """Makes calls of workflows that leave when the current transaction commits; without a transaction, at once."""

    def __init__(self, app: AppLike, manager: Any = None) -> None:
        """
        :param manager: the request's transaction manager. If it has no transaction, the current one counts.
        """
        self.app = app
        self._manager = manager

    def add(
        self,
        name: str,
        workflow_id: str,
        queue: str,
        call: Callable[[Client], Awaitable[Any]],
        delay: datetime.timedelta | None = None,
    ) -> str:
        """Let the one request that `call(client)` makes leave with the commit. Return the request's id.

        :param name: the workflow's type, or the name of the signal.
        """
        if not is_name(workflow_id):
            raise InvalidCall(f"{name!r:.80}: id={workflow_id!r:.80} can't be used; it takes 1 to 1000 bytes of text")
        if not is_queue(queue):
            raise InvalidCall(f"{name!r:.80}: task_queue={queue!r:.80} can't be used; it takes the name of a queue")
        eta = datetime.datetime.now(datetime.timezone.utc) + delay if delay else None
        rpc, request = self._kept(name, call)
        data: bytes = request.SerializeToString()
        limit = self.app.conf["ptemporal.payload_limit"]
        if len(data) > limit:
            raise PayloadTooLarge(
                f"{name!r} of workflow {workflow_id!r} has {len(data):,} bytes, and {limit:,} are allowed "
                "(ptemporal.payload_limit); keep the data in a database or a file, and send its key"
            )
        self.app.enlist(WorkflowCall(rpc, data, request.request_id, workflow_id, name, queue, eta), self._begun())
        return str(request.request_id)

    def _begun(self) -> Any:
        """Return the request's own manager, if a transaction has begun on it."""
        if self._manager is None or self.app.conf["ptemporal.enlist"] == ENLIST_NEVER:
            return None
        return self._manager if has_begun(self._manager) else None

    def _kept(self, name: str, call: Callable[[Client], Awaitable[Any]]) -> tuple[str, Any]:
        connection = self.app.temporal
        connection.refuse_own_thread()
        settings = connection.settings
        options = {"namespace": settings.namespace, **connection.options.of_client()}
        config = ConnectConfig(target_host=settings.address, identity=settings.identity or "", lazy=True)
        try:
            return connection.submit(lambda: keep_request(config, options, call)).result()
        except TypeError as error:
            raise NotSerializable(f"{name!r}: an argument can't travel: {error}") from error
