"""Lets monitoring tools (Sentry, APM agents) wrap the run of a task, as they do in Celery.

Such tools replace `celery.app.trace.build_tracer` by a function that wraps the tracer. They set `task.run` or the
class's `__call__` to functions of their own. They replace methods of `billiard.pool.Worker`, to run code at the end of
a child process. All of this works here. Without such a tool, it costs one comparison.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from ..celery_names.einfo import ExceptionInfo
from .task import Task

if TYPE_CHECKING:
    from ..interfaces import EndingLike

Tracer = Callable[..., Any]
OnExit = Callable[[int, int], None]
"""Gets the id and the exit code of a process that ends."""


class TracedRun(Protocol):
    """A run, as a tracer needs it."""

    @property
    def task(self) -> Any: ...
    @property
    def request(self) -> Any: ...
    @property
    def args(self) -> Any: ...
    @property
    def kwargs(self) -> Any: ...


E = TypeVar("E", bound="EndingLike")


class trace_ok_t(NamedTuple):
    """The return value of a tracer, under Celery's name."""

    retval: Any
    info: Any
    runtime: float
    retstr: str | None


class _Run:
    """One run inside a tracer. `ending` is None until the tracer has called it."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make
        self.ending: Any = None


_runs: ContextVar[tuple[_Run, ...]] = ContextVar("ptemporal_traced", default=())


def task_has_custom(task: Any, attr: str) -> bool:
    """Return whether a subclass of `Task` defines `attr` for this task."""
    return any(attr in vars(cls) for cls in type(task).__mro__ if cls not in (Task, object) and issubclass(cls, Task))


def build_tracer(name: str, task: Any, loader: Any = None, hostname: str | None = None, **options: Any) -> Tracer:
    """Return a function that runs the task: `tracer(uuid, args, kwargs, request)`. The worker makes one per run."""

    def trace_task(uuid: str, args: Any, kwargs: Any, request: Any = None) -> trace_ok_t:
        began = time.monotonic()
        runs = _runs.get()
        if not runs or runs[-1].ending is not None:  # the application itself called the tracer: run the task here
            result = task.apply(args, kwargs, task_id=uuid)
            return trace_ok_t(result.result, None, time.monotonic() - began, repr(result.result))
        run = runs[-1]
        ending = run.ending = run.make(task)
        info = None if ending.error is None else ExceptionInfo(ending.error)
        return trace_ok_t(ending.value, info, time.monotonic() - began, None)

    return trace_task


_OWN_BUILD_TRACER = build_tracer


def traced(execution: TracedRun, make: Callable[[Any], E]) -> E:
    """Call `make(task)` inside the tracer of a monitoring tool, if a tool has replaced `build_tracer`.

    A tool may give `build_tracer` the task in a wrapper. Then `make` gets the wrapper.
    """
    task, request = execution.task, execution.request
    if build_tracer is _OWN_BUILD_TRACER:
        return make(task)
    run = _Run(make)
    token = _runs.set((*_runs.get(), run))
    try:
        tracer = build_tracer(task.name, task, task.app.loader, request.hostname, app=task.app)
        described = {**vars(request), "headers": dict(request.headers or {})}
        tracer(request.id, execution.args, execution.kwargs, described)
    finally:
        _runs.reset(token)
    if run.ending is None:
        raise RuntimeError(
            f"{build_tracer.__module__}.{build_tracer.__qualname__}, which replaces "
            f"celery.app.trace.build_tracer, did not run task {task.name!r}; "
            "its tracer must call the tracer that it wraps"
        )
    ended: E = run.ending
    return ended


class PoolProcess:
    """A child process of the pool. Tools know it as `billiard.pool.Worker`, and wrap its methods."""

    def __init__(self, live: Callable[[OnExit], int], on_exit: OnExit | None) -> None:
        self._live = live
        self._on_exit = on_exit

    def workloop(self, *args: Any, **kwargs: Any) -> int:
        """Run the child process from its start to its end. Return the exit code."""
        return self._live(self._do_exit)

    def _do_exit(self, pid: int, exitcode: int, exc: Any = None) -> None:
        """Call the hooks at the end of the child process."""
        if self._on_exit is not None:
            self._on_exit(pid, exitcode)
