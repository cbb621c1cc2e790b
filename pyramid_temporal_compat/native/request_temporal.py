"""`request.temporal`: start hand-written workflows with the request's commit, and ask the server about them."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, overload

from temporalio.client import Client
from temporalio.workflow import _Definition  # its name for a run method; temporalio has no public way to it
from typing_extensions import Unpack

from ..current import app_of, current_app
from ..exceptions import AlwaysEagerIgnored
from ..message.ids import new_id
from .definitions import queue_of
from .start_options import StartOptions, refuse_unknown
from .waiting_calls import WaitingCalls
from .workflow_handle import (
    Args,
    ReturnType,
    Seconds,
    SelfType,
    Workflow,
    WorkflowHandle,
    given_arguments,
    refuse_event_loop,
)

if TYPE_CHECKING:
    from ..interfaces import AppLike


class Temporal:
    """Temporal, for code of one application that is not asynchronous. Every thread may use it."""

    def __init__(self, app: AppLike, transaction_manager: Any = None) -> None:
        self._app = app
        self._calls = WaitingCalls(app, transaction_manager)

    @property
    def client(self) -> Client:
        """Return temporalio's client, for asynchronous code. It connects at its first call."""
        return self._app.temporal.lazy_client()

    @overload
    def start_workflow(
        self,
        workflow: Callable[[SelfType, Unpack[Args]], Awaitable[ReturnType]],
        *positional: Unpack[Args],
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[SelfType, ReturnType]: ...
    @overload
    def start_workflow(
        self,
        workflow: Callable[Concatenate[SelfType, ...], Awaitable[ReturnType]],
        *,
        args: Sequence[Any],
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[SelfType, ReturnType]: ...
    @overload
    def start_workflow(
        self,
        workflow: str,
        *positional: Any,
        args: Sequence[Any] | None = None,
        result_type: type | None = None,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[Any, Any]: ...
    def start_workflow(  # type: ignore[misc]  # mypy can't match *args of any types
        self,
        workflow: Workflow,
        *positional: Any,
        args: Sequence[Any] | None = None,
        result_type: type | None = None,
        **options: Any,
    ) -> WorkflowHandle[Any, Any]:
        """Start a workflow when the current transaction commits; without a transaction, now. Return its handle.

        :param workflow: the run method of a workflow, or the name of a workflow type.
        :param positional: the workflow's arguments. `args=[…]` gives them as a list.
        :param result_type: the type of the result of a workflow that is given by its name.
        :param options: see `StartOptions`. They mean what they mean for temporalio's client.
        """
        given = given_arguments(positional, args)
        name = self._checked(workflow, options)
        if self._app.conf["task_always_eager"]:
            warnings.warn(
                AlwaysEagerIgnored("task_always_eager has no effect on start_workflow: a workflow needs a server"),
                stacklevel=2,
            )
        request_id = self._calls.add(
            name,
            options["id"],
            options["task_queue"],
            lambda client: client.start_workflow(workflow, args=given, **options),
            options.get("start_delay"),
        )
        return self._handle(
            workflow, options["id"], queue=options["task_queue"], result_type=result_type, request_id=request_id
        )

    @overload
    def execute_workflow(
        self,
        workflow: Callable[[SelfType, Unpack[Args]], Awaitable[ReturnType]],
        *positional: Unpack[Args],
        timeout: Seconds = None,
        **options: Unpack[StartOptions],
    ) -> ReturnType: ...
    @overload
    def execute_workflow(
        self,
        workflow: Callable[Concatenate[SelfType, ...], Awaitable[ReturnType]],
        *,
        args: Sequence[Any],
        timeout: Seconds = None,
        **options: Unpack[StartOptions],
    ) -> ReturnType: ...
    @overload
    def execute_workflow(
        self,
        workflow: str,
        *positional: Any,
        args: Sequence[Any] | None = None,
        result_type: type | None = None,
        timeout: Seconds = None,
        **options: Unpack[StartOptions],
    ) -> Any: ...
    def execute_workflow(  # type: ignore[misc]  # mypy can't match *args of any types
        self,
        workflow: Workflow,
        *positional: Any,
        args: Sequence[Any] | None = None,
        result_type: type | None = None,
        timeout: Seconds = None,
        **options: Any,
    ) -> Any:
        """Start a workflow now, outside the current transaction, and return its result.

        Raises `WorkflowFailureError` if the workflow failed. After `timeout` seconds it raises `TimeoutError`, and the
        workflow goes on.
        """
        refuse_event_loop("execute_workflow")
        given = given_arguments(positional, args)
        self._checked(workflow, options)
        run: Any = workflow  # temporalio's overloads take a method or a name, and not either of both
        self._app.temporal.call(
            lambda client: client.start_workflow(run, args=given, **options),
            self._app.conf["ptemporal.dispatch_timeout"],
        )
        handle = self._handle(workflow, options["id"], queue=options["task_queue"], result_type=result_type)
        return handle.result(timeout)

    def get_workflow_handle(
        self, workflow_id: str, *, run_id: str | None = None, result_type: type | None = None
    ) -> WorkflowHandle[Any, Any]:
        """Return a handle of the workflow with this id. Nothing is asked yet."""
        return self._handle(None, workflow_id, run_id=run_id, result_type=result_type)

    def get_workflow_handle_for(
        self,
        workflow: Callable[Concatenate[SelfType, ...], Awaitable[ReturnType]],
        workflow_id: str,
        *,
        run_id: str | None = None,
    ) -> WorkflowHandle[SelfType, ReturnType]:
        """Return a handle of the workflow with this id. The handle knows the type of the result."""
        return self._handle(workflow, workflow_id, run_id=run_id)

    def _handle(
        self, workflow: Workflow | None, workflow_id: str, *, queue: str | None = None, **known: Any
    ) -> WorkflowHandle[Any, Any]:
        return WorkflowHandle(self._calls, workflow, workflow_id, queue=queue or self._default_queue, **known)

    def _checked(self, workflow: Workflow, options: dict[str, Any]) -> str:
        """Return the workflow's name. Fill in the id and the queue that the call does not give."""
        name, _ = _Definition.get_name_and_result_type(workflow)
        refuse_unknown(name, options)
        if options.get("id") is None:
            options["id"] = new_id()
        if options.get("task_queue") is None:
            options["task_queue"] = self._queue_of(name)
        return name

    def _queue_of(self, workflow: str) -> str:
        """Return the queue that the application serves this workflow on."""
        registry = self._app.registry
        return (None if registry is None else queue_of(registry, "workflow", workflow)) or self._default_queue

    @property
    def _default_queue(self) -> str:
        queue: str = self._app.conf["task_default_queue"]
        return queue


def temporal(registry: Any = None) -> Temporal:
    """Return Temporal for code outside a request: a script, a service. Without a registry, of the current app.

    What it starts joins the current transaction, as `task.delay()` does.
    """
    return Temporal(_app(registry))


async def connect(registry: Any = None) -> Client:
    """Return a client of temporalio, connected on the running event loop, with the application's settings.

    Raises `OperationalError` if the server can't be reached.
    """
    return await _app(registry).temporal.new_client()


def request_temporal(request: Any) -> Temporal:
    """Return `request.temporal`: what it starts joins the request's transaction."""
    return Temporal(app_of(request.registry), getattr(request, "tm", None))


def _app(registry: Any) -> AppLike:
    return current_app() if registry is None else app_of(registry)
