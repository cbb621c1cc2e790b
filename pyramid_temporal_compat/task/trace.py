"""The seam around a run, where tools that watch Celery's tasks (Sentry, APM agents) put theirs.

They replace `celery.app.trace.build_tracer` with a function that wraps what it returns, set `task.run` or the
class's `__call__` to a function of their own, and replace `billiard.pool.Worker.workloop` to have the last word of
a child process. All of that works here; with nothing put in between, it costs a comparison.
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


class Execution(Protocol):
    """The run that is traced."""

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
    """What a tracer returns, by Celery's name."""

    retval: Any
    info: Any
    runtime: float
    retstr: str | None


class _Run:
    """One run on its way through a tracer."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.ending: Any = None


_runs: ContextVar[tuple[_Run, ...]] = ContextVar("ptemporal_traced", default=())


def task_has_custom(task: Any, attr: str) -> bool:
    """Whether the task's class, or one between it and `Task`, defines `attr` itself."""
    return any(attr in vars(cls) for cls in type(task).__mro__ if cls not in (Task, object) and issubclass(cls, Task))


def build_tracer(name: str, task: Any, loader: Any = None, hostname: str | None = None, **options: Any) -> Tracer:
    """A function that runs the task: `tracer(uuid, args, kwargs, request)`. The worker makes one for each run."""

    def trace_task(uuid: str, args: Any, kwargs: Any, request: Any = None) -> trace_ok_t:
        began = time.monotonic()
        runs = _runs.get()
        if not runs or runs[-1].ending is not None:  # called by the application itself: a run here and now
            result = task.apply(args, kwargs, task_id=uuid)
            return trace_ok_t(result.result, None, time.monotonic() - began, repr(result.result))
        run = runs[-1]
        ending = run.ending = run.make()
        info = None if ending.error is None else ExceptionInfo(ending.error)
        return trace_ok_t(ending.value, info, time.monotonic() - began, None)

    return trace_task


_OWN_BUILD_TRACER = build_tracer


def traced(execution: Execution, make: Callable[[], E]) -> E:
    """`make()`, by way of the tracer that stands in for ours, if one does."""
    if build_tracer is _OWN_BUILD_TRACER:
        return make()
    task, request = execution.task, execution.request
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
            f"{build_tracer.__module__}.{build_tracer.__qualname__}, which stands in for "
            f"celery.app.trace.build_tracer, did not run task {task.name!r}: "
            "its tracer has to call the one that it wraps"
        )
    ended: E = run.ending
    return ended


class Worker:
    """A child process of the pool, by the name of billiard's class. `workloop` is its life, from start to end."""

    def __init__(self, live: Callable[[], int]) -> None:
        self._live = live

    def workloop(self, *args: Any, **kwargs: Any) -> int:
        return self._live()
