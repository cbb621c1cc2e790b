"""A handle of a workflow for code that is not asynchronous: a view, a task, a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.client import WorkflowHandle as AsyncHandle
from temporalio.service import RPCError
from temporalio.workflow import UpdateMethodMultiParam
from typing_extensions import TypeVarTuple, Unpack

from ..client.connection import is_absent
from ..enlist.enlistment import is_enlisted
from ..exceptions import OperationalError, StillEnlisted, WorkflowNotFound
from ..exceptions import TimeoutError as CallTimeout

if TYPE_CHECKING:
    from .waiting_calls import WaitingCalls

SelfType = TypeVar("SelfType")
ReturnType = TypeVar("ReturnType")
Answer = TypeVar("Answer")
Argument = TypeVar("Argument")
Args = TypeVarTuple("Args")
T = TypeVar("T")

Workflow = str | Callable[..., Awaitable[Any]]
"""A workflow's type: its name, or its run method."""
Seconds = float | timedelta | None


class WorkflowHandle(Generic[SelfType, ReturnType]):
    """Asks the server about one workflow. Every thread may use it.

    Each method acts at once, unless its description says otherwise.
    """

    def __init__(
        self,
        calls: WaitingCalls,
        workflow: Workflow | None,
        id: str,
        *,
        queue: str,
        run_id: str | None = None,
        result_type: type | None = None,
        request_id: str | None = None,
    ) -> None:
        """
        :param workflow: the workflow's type, if it is known.
        :param request_id: the id of the request that starts the workflow.
        """
        self._calls = calls
        self._workflow = workflow
        self.id = id
        self.run_id = run_id
        self.queue = queue
        """The task queue of the workflow; the application's default queue if the handle was made from an id."""
        self._result_type = result_type
        self._request_id = request_id

    def result(self, timeout: Seconds = None) -> ReturnType:
        """Wait for the workflow's end and return its result.

        Raises temporalio's `WorkflowFailureError` if the workflow failed; its `cause` says why. Raises `TimeoutError`
        after `timeout` seconds.
        """
        refuse_event_loop("result")
        found: ReturnType = self._ask(lambda handle: handle.result(), timeout)
        return found

    def describe(self) -> WorkflowExecutionDescription:
        """Return the server's description: the status, the times, the memo, the search attributes."""
        return self._ask(lambda handle: handle.describe())

    @overload
    def signal(
        self,
        signal: Callable[[SelfType, Unpack[Args]], Awaitable[None] | None],
        *positional: Unpack[Args],
        after_commit: bool = False,
    ) -> None: ...
    @overload
    def signal(self, signal: str | Callable[..., Any], *, args: Sequence[Any], after_commit: bool = False) -> None: ...
    @overload
    def signal(self, signal: str, *positional: Any, after_commit: bool = False) -> None: ...
    def signal(  # type: ignore[misc]  # mypy can't match *args of any types
        self, signal: Any, *positional: Any, args: Sequence[Any] | None = None, after_commit: bool = False
    ) -> None:
        """Send a signal to the workflow. With `after_commit`, it leaves when the current transaction has committed."""
        given = given_arguments(positional, args)
        if after_commit:
            name = signal if isinstance(signal, str) else getattr(signal, "__name__", str(signal))
            self._calls.add(
                name, self.id, self.queue, lambda client: self.for_client(client).signal(signal, args=given)
            )
        else:
            self._ask(lambda handle: handle.signal(signal, args=given))

    @overload
    def query(
        self, query: Callable[[SelfType, Unpack[Args]], Answer], *positional: Unpack[Args], timeout: Seconds = None
    ) -> Answer: ...
    @overload
    def query(self, query: str | Callable[..., Any], *, args: Sequence[Any], timeout: Seconds = None) -> Any: ...
    @overload
    def query(self, query: str, *positional: Any, result_type: type | None = None, timeout: Seconds = None) -> Any: ...
    def query(  # type: ignore[misc]  # mypy can't match *args of any types
        self,
        query: Any,
        *positional: Any,
        args: Sequence[Any] | None = None,
        result_type: type | None = None,
        timeout: Seconds = None,
    ) -> Any:
        """Return the answer of a worker that has the workflow."""
        refuse_event_loop("query")
        given = given_arguments(positional, args)
        return self._ask(lambda handle: handle.query(query, args=given, result_type=result_type), timeout)

    @overload
    def execute_update(
        self, update: UpdateMethodMultiParam[[SelfType], Answer], *, id: str | None = None, timeout: Seconds = None
    ) -> Answer: ...
    @overload
    def execute_update(
        self,
        update: UpdateMethodMultiParam[[SelfType, Argument], Answer],
        arg: Argument,
        /,
        *,
        id: str | None = None,
        timeout: Seconds = None,
    ) -> Answer: ...
    @overload
    def execute_update(
        self,
        update: UpdateMethodMultiParam[..., Answer],
        *,
        args: Sequence[Any],
        id: str | None = None,
        timeout: Seconds = None,
    ) -> Answer: ...
    @overload
    def execute_update(
        self,
        update: str,
        *positional: Any,
        args: Sequence[Any] | None = None,
        id: str | None = None,
        result_type: type | None = None,
        timeout: Seconds = None,
    ) -> Any: ...
    def execute_update(
        self,
        update: Any,
        *positional: Any,
        args: Sequence[Any] | None = None,
        id: str | None = None,
        result_type: type | None = None,
        timeout: Seconds = None,
    ) -> Any:
        """Send an update to the workflow, wait until it is done, and return its result."""
        refuse_event_loop("execute_update")
        given = given_arguments(positional, args)
        return self._ask(
            lambda handle: handle.execute_update(update, args=given, id=id, result_type=result_type), timeout
        )

    def cancel(self) -> None:
        """Ask the workflow to end. It may clean up first."""
        self._ask(lambda handle: handle.cancel())

    def terminate(self, *args: Any, reason: str | None = None) -> None:
        """End the workflow at once. It learns nothing of it."""
        self._ask(lambda handle: handle.terminate(*args, reason=reason))

    def refuse_if_enlisted(self) -> None:
        """Raise `StillEnlisted` if a transaction of this thread holds the start: the server does not know of it."""
        if self._request_id is not None and is_enlisted(self._request_id, self._calls.app):
            raise StillEnlisted(
                f"workflow {self.id!r} has not been started yet, because the transaction that starts it has not "
                "committed; ask in a later request, or start it without the transaction: await "
                "request.temporal.client.start_workflow(…)"
            )

    def _ask(self, ask: Callable[[AsyncHandle[Any, Any]], Awaitable[T]], timeout: Seconds = None) -> T:
        self.refuse_if_enlisted()
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout

        async def work(client: Client) -> T:
            try:
                return await ask(self.for_client(client))
            except RPCError as error:
                if is_absent(error):
                    raise self._not_found(error) from error
                raise

        try:
            return self._calls.app.temporal.call(work, seconds)
        except CallTimeout:
            raise CallTimeout(
                f"workflow {self.id!r} gave no answer within {seconds:g} s; it goes on, and can be asked again"
            ) from None

    def _not_found(self, error: RPCError) -> WorkflowNotFound:
        where = self._calls.app.temporal
        return WorkflowNotFound(
            f"{where}, namespace {where.settings.namespace!r}, knows no workflow {self.id!r} that it could ask: it has "
            "ended, or the transaction that starts it was aborted or has not committed yet, or the id is another one "
            f"({error.message})"
        )

    def for_client(self, client: Client) -> AsyncHandle[Any, Any]:
        """Return temporalio's own handle of the workflow, for asynchronous code."""
        if callable(self._workflow):
            return client.get_workflow_handle_for(self._workflow, self.id, run_id=self.run_id)
        return client.get_workflow_handle(self.id, run_id=self.run_id, result_type=self._result_type)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


def given_arguments(positional: Sequence[Any], args: Sequence[Any] | None) -> Sequence[Any]:
    """Return the arguments of a call, which are given one by one or as `args=[…]`."""
    if args is None:
        return positional
    if positional:
        raise TypeError("arguments are given one by one, or as args=[…], and not both")
    return args


def refuse_event_loop(method: str) -> None:
    """Raise in asynchronous code for a method that waits for a worker: that worker may need this very event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise OperationalError(
        f"{method}() would block the event loop until a worker answers; in asynchronous code use temporalio's client: "
        "await request.temporal.client.get_workflow_handle(id).result(), or await asyncio.to_thread(handle.result)"
    )
