"""`self.request` of a running task, and which task is running in this thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .message.message import CARRIED_OPTIONS

if TYPE_CHECKING:
    from .interfaces import TaskLike


class Context:
    """`self.request`: Celery's attributes, and the Pyramid request of this run."""

    args: Any = None
    argsrepr: str | None = None
    callbacks: Any = None
    called_directly = True
    chain: Any = None
    children: Any = None
    chord: Any = None
    correlation_id: str | None = None
    delivery_info: Any = None
    errbacks: Any = None
    entered = False
    """Whether a worker's run has reached the function. After that, the task itself makes every call."""
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    headers: Any = None
    hostname: str | None = None
    id: str | None = None
    ignore_result = False
    is_eager = False
    kwargs: Any = None
    kwargsrepr: str | None = None
    logfile: str | None = None
    loglevel: int | None = None
    origin: str | None = None
    own_headers: Any = None
    """All headers of the application and its tools, as they were sent. `headers` shows the same, or the inner ones."""
    parent_id: str | None = None
    periodic_task_name: str | None = None
    """The entry of the schedule that started the run."""
    properties: Any = None
    pyramid_request: Any = None
    replaced_task_nesting = 0
    added: Any = None
    """The trees that this run has added to the header of its chord."""
    report: Callable[[str, Any], None] | None = None
    """Reports a state and its details to the worker, for `update_state`."""
    reply_to: str | None = None
    retries = 0
    retry_asked: Any = None
    """The retry that `retry(throw=False)` asked for. If the function returns, the run ends as this retry."""
    root_id: str | None = None
    shadow: str | None = None
    soft_time_limit: float | None = None
    stamped_headers: Any = None
    stamps: Any = None
    task: str | None = None
    taskset: str | None = None
    time_limit: float | None = None
    timelimit: Any = None
    utc: bool | None = True
    workflow_id: str | None = None
    """The workflow that runs this task as an activity, if the task's id does not name the workflow."""
    workflow_run_id: str | None = None
    """The run of that workflow."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.update(*args, **kwargs)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set attributes, from the arguments of a dict."""
        values = dict(*args, **kwargs)
        if "timelimit" in values:
            hard, soft = tuple(values["timelimit"] or (None, None))[:2]
            values |= {"time_limit": hard, "soft_time_limit": soft}
        if "own_headers" in values:
            values = {**self._views_of(values["own_headers"] or {}), **values}
        self.__dict__.update(values)

    def _views_of(self, headers: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes that show a message's own headers: each header by its name, and all as `headers`.

        If there is a header `headers`, then the attribute `headers` is that header. Tracing tools put their headers in
        both places, because versions of Celery differ. A header can't replace an attribute that the class has.
        """
        attributes = {name: value for name, value in headers.items() if not hasattr(type(self), name)}
        return {**attributes, "headers": headers.get("headers") or dict(headers) or None}

    def _headers_to_send(self) -> dict[str, Any]:
        """Return the message's own headers, with what the task has changed in `headers`."""
        if self.own_headers and self.own_headers.get("headers"):
            return {**self.own_headers, "headers": self.headers}
        return dict(self.headers or {})

    def clear(self) -> None:
        """Set all attributes back to their defaults."""
        self.__dict__.clear()

    def get(self, key: str, default: Any = None) -> Any:
        """Return an attribute, or `default` if there is no such attribute."""
        return getattr(self, key, default)

    def as_execution_options(self) -> dict[str, Any]:
        """Return the options of `apply_async` that would send this call again."""
        return {
            "task_id": self.id,
            **{option: getattr(self, part) for option, part in CARRIED_OPTIONS.items()},
            "headers": self._headers_to_send(),
            **({"stamped_headers": self.stamped_headers, **(self.stamps or {})} if self.stamped_headers else {}),
        }

    def __repr__(self) -> str:
        return f"<Context: {vars(self)!r}>"


for _part in CARRIED_OPTIONS.values():
    if not hasattr(Context, _part):  # an option of this package, which Celery's request lacks
        setattr(Context, _part, None)

_Frame = tuple[Any, Context]
_stack: ContextVar[tuple[_Frame, ...]] = ContextVar("ptemporal_tasks", default=())


@contextmanager
def running(task: TaskLike, request: Context) -> Iterator[Context]:
    """While this lasts, make `task` the current task, and `request` its `task.request`."""
    token = _stack.set((*_stack.get(), (task, request)))
    try:
        yield request
    finally:
        _stack.reset(token)


def push(task: TaskLike, request: Context) -> None:
    """Make `task` the current task until `pop`, for callers that can't use `with running(…)`."""
    _stack.set((*_stack.get(), (task, request)))


def pop() -> Context | None:
    """Undo the last `push`. Return its request; None if no task is current."""
    frames = _stack.get()
    _stack.set(frames[:-1])
    return frames[-1][1] if frames else None


class RequestStack:
    """`task.request_stack`: the requests of one task's runs in this thread. The innermost run is the last."""

    def __init__(self, task: TaskLike) -> None:
        self._task = task

    @property
    def stack(self) -> list[Context]:
        """Return the requests as a list."""
        return [request for owner, request in _stack.get() if owner is self._task]

    @property
    def top(self) -> Context | None:
        """Return the request of the innermost run; None without a run."""
        return request_of(self._task)

    def push(self, request: Context) -> None:
        """Add a request on top."""
        push(self._task, request)

    def pop(self) -> Context | None:
        """Remove and return this task's innermost request, even if other tasks were called after it."""
        frames = _stack.get()
        for place in reversed(range(len(frames))):
            if frames[place][0] is self._task:
                _stack.set((*frames[:place], *frames[place + 1 :]))
                return frames[place][1]
        return None

    def __len__(self) -> int:
        return len(self.stack)


def current_frame() -> _Frame | None:
    """Return the innermost task that runs here, with its request; None outside of a task."""
    frames = _stack.get()
    return frames[-1] if frames else None


def worker_frame() -> _Frame | None:
    """Return the task that the worker started here, with its request, even while it calls another task directly."""
    for frame in reversed(_stack.get()):
        if not frame[1].called_directly:
            return frame
    return None


def request_of(task: TaskLike) -> Context | None:
    """Return the request of the innermost run of a task in this thread; None if the task does not run here."""
    return next((request for owner, request in reversed(_stack.get()) if owner is task), None)
