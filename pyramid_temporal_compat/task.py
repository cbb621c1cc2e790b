"""The task: a function, and how it is asked to run."""

from __future__ import annotations

import datetime
import functools
import inspect
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .calling import brief
from .context import Context, current_frame, pop, push, request_of, running
from .exceptions import InvalidArguments, InvalidCall, MaxRetriesExceededError, Retry

if TYPE_CHECKING:
    from .app import Celery
    from .result import AsyncResult


class Task:
    """What `@task` makes of a function. Subclass it for behaviour that several tasks share.

    Attributes that are None take their value from the app's configuration.
    """

    MaxRetriesExceededError = MaxRetriesExceededError

    name: str | None = None
    abstract = True
    typing: bool | None = None
    max_retries: int | None = 3
    default_retry_delay: float = 3 * 60
    rate_limit: str | None = None
    ignore_result: bool | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    acks_late: bool | None = None
    priority: int | None = None
    queue: str | None = None
    serializer: str | None = None
    compression: str | None = None
    expires: float | datetime.datetime | None = None
    throws: tuple[type[BaseException], ...] = ()
    trail = True
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter = True

    _app: Celery | None = None
    __wrapped__: Callable[..., Any] | None = None
    __signature__: inspect.Signature

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The body. A class-based task defines it; a decorated function is it."""
        raise TypeError(f"task {self.name!r} has no body: define run() in {type(self).__qualname__}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A plain call: runs here and now, in the caller's transaction."""
        with running(self, Context(args=args, kwargs=kwargs)):
            return self.run(*args, **kwargs)

    @property
    def app(self) -> Celery:
        return self._app or _current_app()

    @property
    def request(self) -> Context:
        return request_of(self) or Context()

    @property
    def pyramid_request(self) -> Any:
        """The Pyramid request of this run: its registry, its transaction, and every request method."""
        frame = current_frame()
        request = self.request.pyramid_request or (frame[1].pyramid_request if frame else None)
        if request is None:  # a plain call: the caller's own request
            request = _current_pyramid_request()
        if request is None:
            raise RuntimeError(
                f"task {self.name!r} asked for a Pyramid request outside a worker and outside a Pyramid request; "
                "call it inside pyramid.scripting.prepare()"
            )
        return request

    # --- asking for a run --------------------------------------------------------------------------

    def delay(self, /, *args: Any, **kwargs: Any) -> AsyncResult:
        """`apply_async` with the arguments alone."""
        _check_instance(self, "delay")
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult:
        """Ask for a run: with the current transaction's commit if one has begun, else now.

        The options, each with a line on what it does, are `pyramid_temporal_compat.calling.OPTIONS`.
        """
        _check_instance(self, "apply_async")
        if not self.name:
            raise InvalidCall(f"{type(self).__qualname__} has no task name; app.register_task() gives it one")
        args, kwargs = self._plain_arguments(args, kwargs)
        if self.typing is not False:
            self.check_arguments(args, kwargs)
        if task_id is not None:
            options["task_id"] = task_id
        return self.app.send_task(self.name, args, kwargs, task_type=self, **options)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult:
        return self.app.AsyncResult(task_id, task_name=self.name, **kwargs)

    def own_options(self) -> dict[str, Any]:
        """The options of `apply_async` that the task itself sets."""
        names = ("queue", "priority", "serializer", "compression", "expires")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        try:
            self._parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(
                f"{self.name}{self._parameters} can't be called with args={brief(tuple(args))}, "
                f"kwargs={brief(dict(kwargs))}: {error}"
            ) from None

    def positional_names(self, count: int) -> list[str]:
        """What the first `count` positional arguments are called."""
        names: list[str] = []
        for parameter in self._parameters.parameters.values():
            if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
                names.append(parameter.name)
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                names += [f"{parameter.name}[{index}]" for index in range(count - len(names))]
        return names[:count]

    @functools.cached_property
    def _parameters(self) -> inspect.Signature:
        # A class-based task has its own `run`; a decorated function's signature was read when it was decorated.
        declared: inspect.Signature | None = getattr(type(self), "__signature__", None)
        return (declared or inspect.signature(self.run)).replace(return_annotation=inspect.Signature.empty)

    def _plain_arguments(self, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if isinstance(args, (Mapping, set, frozenset)):
            raise InvalidArguments(
                f"task {self.name!r}: args={brief(args)} is a {type(args).__name__}; args takes a list, kwargs a dict"
            )
        if isinstance(args, (str, bytes)):
            raise InvalidArguments(
                f"task {self.name!r}: args={args!r} is one {type(args).__name__}; args takes a list: args=[{args!r}]"
            )
        try:
            return tuple(args or ()), dict(kwargs or {})
        except (TypeError, ValueError):
            raise InvalidArguments(
                f"task {self.name!r}: args={args!r}, kwargs={kwargs!r}: args takes a list, kwargs a dict"
            ) from None

    # --- from within a run -------------------------------------------------------------------------

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime.datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Run again later: `raise self.retry(...)`. What this run wrote to the database is rolled back."""
        request = self.request
        if request.called_directly:
            _raise_cause(exc or Retry("Task can be retried", None))
        limit = self.max_retries if max_retries is None else max_retries
        if limit is not None and request.retries + 1 > limit:
            if exc:
                _raise_cause(exc)
            again_args, again_kwargs = args or request.args, kwargs or request.kwargs
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{again_args} kwargs:{again_kwargs}",
                task_args=again_args,
                task_kwargs=again_kwargs,
            )
        if countdown is None and eta is None:
            countdown = self.default_retry_delay
        asked = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager)
        asked.changes = RetryChanges(args, kwargs, options)
        if throw:
            raise asked
        request.retry_asked = asked
        return asked

    def backoff(self, retries: int) -> float:
        """Seconds until the retry after `retries` earlier ones, for `autoretry_for`."""
        if not self.retry_backoff:
            return float(self.retry_kwargs.get("countdown", self.default_retry_delay))
        seconds = min(float(self.retry_backoff) * 2**retries, self.retry_backoff_max)
        return random.uniform(0, seconds) if self.retry_jitter else seconds

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        push(self, Context(*args, **kwargs))

    def pop_request(self) -> None:
        pop()

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_name, (self.name,)


class RetryChanges:
    """What a retry asks to be different from the run before."""

    def __init__(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.options = dict(options)

    def __bool__(self) -> bool:
        return self.args is not None or self.kwargs is not None or bool(self.options)


def _check_instance(task: Any, method: str) -> None:
    if not isinstance(task, Task):
        raise InvalidCall(
            f"{method}() was called on a task's class, with {brief(task)} in place of the task; "
            f"task = app.register_task(TheClass()) makes the task, whose {method}() it is"
        )


def task_from_function(
    function: Callable[..., Any], name: str, base: type[Task], app: Celery | None, bind: bool, options: dict[str, Any]
) -> Task:
    """A task whose body is `function`."""
    attributes = {
        "_app": app,
        "name": name,
        "abstract": False,
        "run": function if bind else staticmethod(function),
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__wrapped__": staticmethod(function),
        "__signature__": _signature(function, bind),
        **options,
    }
    made: Task = type(function.__name__, (base,), attributes)()
    return made


def _signature(function: Callable[..., Any], bound: bool) -> inspect.Signature:
    signature = inspect.signature(function)
    if not bound:
        return signature
    parameters = list(signature.parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    ):
        raise TypeError(f"{function.__qualname__}{signature}: bind=True passes the task as first argument; add `self`")
    if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return signature
    return signature.replace(parameters=parameters[1:])


def _raise_cause(error: BaseException) -> NoReturn:
    """Raise `error` with the exception that is being handled as its cause; that one itself, if it is the same."""
    handled = sys.exc_info()[1]
    if handled is None or handled is error:
        raise error
    raise error from handled


def _current_app() -> Celery:
    return _ask_current_app()()


@functools.cache  # an import statement, even of what is there, is a twentieth of `.delay()`
def _ask_current_app() -> Callable[[], Celery]:
    from .app import current_app  # app imports task: a task without an app of its own asks when it is used

    return current_app


def _current_pyramid_request() -> Any:
    from pyramid.threadlocal import get_current_request  # 0.2 s: not before a task wants a request

    return get_current_request()


def _by_name(name: str) -> Task:
    task: Task = _current_app().tasks[name]
    return task
