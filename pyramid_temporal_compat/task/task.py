"""The task: a function, and how it is asked to run."""

from __future__ import annotations

import datetime
import inspect
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn

from ..canvas import chunks, signature, xmap, xstarmap
from ..canvas.replacement import add_member_to_chord, prepare_replacement, replacement_tree
from ..celery_names.refused_members import RefusedOfTasks
from ..context import Context, RequestStack, current_frame, pop, push, request_of, running
from ..current import current_app
from ..exceptions import (
    Ignore,
    InvalidArguments,
    InvalidCall,
    MaxRetriesExceededError,
    NoPyramidRequest,
    OperationalError,
    PayloadTooLarge,
    Reject,
    Replaced,
    Retry,
)
from ..message.backoff import exponential_pause
from ..payload.types import ascii_size, dumps, loads
from ..results.result import allow_join_result
from ..typed_calls import P, R
from .call_options import short_repr
from .task_annotations import annotate, wrap_method

if TYPE_CHECKING:
    from ..canvas.planner import PlannedCall
    from ..canvas.signature import Signature
    from ..interfaces import AppLike
    from ..results.result import AsyncResult, EagerResult


class FromConfig:
    """A task attribute that has the configuration's value until the task sets its own."""

    def __init__(self, setting: str) -> None:
        self.setting = setting

    def __get__(self, task: Task | None, owner: type[Task]) -> Any:
        return None if task is None else task.app.conf[self.setting]


class NameOfClass:
    """A task's `__name__`: its function's or its class's. What wraps functions or logs them asks for it."""

    def __get__(self, task: Any, cls: type) -> str:
        return cls.__name__


class Task(RefusedOfTasks, Generic[P, R]):
    """What `@task` makes of a function. Subclass it for behaviour that several tasks share.

    One instance stands for the task in each process: attributes set on it last as long as the process.
    """

    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError

    name: Any = None
    abstract = True
    typing: bool | None = None
    queue: Any = None
    expires: Any = None
    compression: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    max_retries: int | None = 3
    default_retry_delay: float = 3 * 60
    throws: tuple[type[BaseException], ...] = ()
    trail = True
    resultrepr_maxsize = 1024

    acks_late: Any = FromConfig("task_acks_late")
    acks_on_failure: Any = FromConfig("task_acks_on_failure")
    acks_on_failure_or_timeout: Any = FromConfig("task_acks_on_failure_or_timeout")
    acks_on_timeout: Any = FromConfig("task_acks_on_timeout")
    ignore_result: Any = FromConfig("task_ignore_result")
    priority: Any = FromConfig("task_default_priority")
    rate_limit: Any = FromConfig("task_default_rate_limit")
    reject_on_worker_lost: Any = FromConfig("task_reject_on_worker_lost")
    retry_on_worker_lost: Any = FromConfig("task_retry_on_worker_lost")
    send_events: Any = FromConfig("worker_send_task_events")
    serializer: Any = FromConfig("task_serializer")
    store_eager_result: Any = FromConfig("task_store_eager_result")
    store_errors_even_if_ignored: Any = FromConfig("task_store_errors_even_if_ignored")
    track_started: Any = FromConfig("task_track_started")

    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter = True

    from_config: ClassVar[tuple[tuple[str, str], ...]]
    __name__ = NameOfClass()
    __wrapped__: Callable[..., Any] | None = None
    _app: AppLike | None = None
    _signature: inspect.Signature | None = None
    _idle_request: Context | None = None

    # --- for subclasses ----------------------------------------------------------------------------

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The body. A class-based task defines it; a decorated function is it."""
        raise TypeError(f"task {self.name!r} has no body: define run() in {type(self).__qualname__}")

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called before each run, in its transaction."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called when a run has committed, in a transaction of its own."""

    def on_retry(self, exc: BaseException | None, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called when a run is to be repeated, in a transaction of its own."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called when a run has failed and was rolled back, in a transaction of its own."""

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called after every run, after those above."""

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Another name for logs and the web UI, for this call."""
        return None

    @classmethod
    def on_bound(cls, app: AppLike) -> None:
        """Called when the task has become one of `app`'s."""

    # --- calling it here -------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """A plain call: runs here and now, in the caller's transaction."""
        frame = current_frame()
        if frame is not None and frame[0] is self and frame[1].called_directly is False and not frame[1].entered:
            frame[1].entered = True  # a worker's run, by way of a subclass's own __call__: it has its request
            result: R = self.run(*args, **kwargs)
            return result
        with running(self, Context(args=args, kwargs=kwargs)):
            try:
                result = self.run(*args, **kwargs)
                return result
            except (Retry, Ignore, Reject):
                raise
            except Exception as error:
                asked = self.autoretry(error)
                if asked is None:
                    raise
                raise asked from error

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        headers: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run here and now, with all that a worker does around a run; gives a result that is ready."""
        args, kwargs = self._plain_arguments(args, kwargs)
        options.update((key, value) for key, value in (("link", link), ("link_error", link_error)) if value)
        result: EagerResult[R] = self.app.apply(
            self._in_app(), args, kwargs, task_id, retries or 0, throw, headers, options
        )
        return result

    # --- asking for a run --------------------------------------------------------------------------

    def delay(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """`apply_async` with the arguments alone."""
        _check_instance(self, "delay")
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Ask for a run: with the current transaction's commit if one has begun, else now.

        The options, each with a line on what it does, are `pyramid_temporal_compat.task.call_options.OPTIONS`.
        """
        _check_instance(self, "apply_async")
        if not self.name:
            raise InvalidCall(f"{type(self).__qualname__} has no task name; app.register_task() gives it one")
        task = self._in_app()
        if task is not self:  # a shared task, and its current app has one of its own
            asked: AsyncResult[R] = task.apply_async(
                args, kwargs, task_id, producer, link, link_error, shadow, **options
            )
            return asked
        named = {"task_id": task_id, "link": link, "link_error": link_error, "producer": producer, "shadow": shadow}
        options.update((key, value) for key, value in named.items() if value is not None)
        return self._send_or_plan(args, kwargs, options, options.pop("planned", None))

    def plan_call(self, call: PlannedCall, args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult[R]:
        """Make the message of a call that is part of a canvas, and give it to `call`.

        An `apply_async` that a subclass or a monitoring tool has put in the place of ours is called: it may change
        the arguments or the options.
        """
        task = self._in_app()
        if getattr(task.apply_async, "__func__", None) is not OWN_APPLY_ASYNC:
            return task.apply_async(args, kwargs, planned=call, **options)
        return task._send_or_plan(args, kwargs, options, call)

    def _send_or_plan(
        self, args: Any, kwargs: Any, options: dict[str, Any], planned: PlannedCall | None
    ) -> AsyncResult[R]:
        """Check a call's arguments. Then send its message, or give it to the canvas that plans the call."""
        args, kwargs = self._plain_arguments(args, kwargs)
        # A task that follows another one gets that one's result as well: its arguments are not complete yet.
        if self.typing is not False and (planned is None or not planned.lineage.follows):
            self.check_arguments(args, kwargs)
        shadow = options.pop("shadow", None) or self.shadow_name(args, kwargs, options)
        if shadow is not None:
            options["shadow"] = shadow
        result: AsyncResult[R]
        if planned is None:
            result = self.app.call(self, args, kwargs, options)
        else:
            message, *linked = self.app.message(self.name, args, kwargs, options, self)
            planned.take(message, *linked)
            result = self.AsyncResult(message.id)
            result.ignored = bool(message.ignore_result)
        return result

    def signature(self, args: Any = None, *starargs: Any, **starkwargs: Any) -> Signature[R]:
        """This task with arguments and options, as a value: `signature((1, 2), countdown=10)`."""
        if self._app is not None:
            starkwargs.setdefault("app", self._app)
        made: Signature[R] = signature(self, args, *starargs, **starkwargs)
        return made

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """`signature` with the arguments alone."""
        return self.signature(args, kwargs)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """A signature that takes no arguments but these."""
        return self.signature(args, kwargs, immutable=True)

    def chunks(self, it: Any, n: int) -> Any:
        """A group of runs that each call the task for `n` of the arguments in `it`."""
        return chunks(self.s(), it, n, app=self._app)

    def map(self, it: Any) -> Any:
        """One run that calls the task for each argument in `it`."""
        return xmap(self.s(), it, app=self._app)

    def starmap(self, it: Any) -> Any:
        """One run that calls the task for each list of arguments in `it`."""
        return xstarmap(self.s(), it, app=self._app)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R]:
        """The result of this task's run with this id."""
        result: AsyncResult[R] = self.app.AsyncResult(task_id, task_name=self.name, **kwargs)
        return result

    def own_options(self) -> dict[str, Any]:
        """The options of `apply_async` that the task itself sets."""
        return {name: value for name in OWN_OPTIONS if (value := self.own(name)) is not None}

    def own(self, name: str) -> Any:
        """What the task itself sets for an attribute; None where that is left to the configuration."""
        value = self.__dict__.get(name)
        return getattr(type(self), name) if value is None else value

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for what the function can't be called with."""
        signature = self.__signature__
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(
                f"{self.name}{signature} can't be called with args={short_repr(tuple(args))}, "
                f"kwargs={short_repr(dict(kwargs))}: {error}"
            ) from None

    def positional_names(self, count: int) -> list[str]:
        """What the first `count` positional arguments are called."""
        names: list[str] = []
        for parameter in self.__signature__.parameters.values():
            if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
                names.append(parameter.name)
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                names += [f"{parameter.name}[{index}]" for index in range(count - len(names))]
        return names[:count]

    @property
    def __signature__(self) -> inspect.Signature:
        """What a caller passes: the function's parameters, without `self`."""
        header = self.__dict__.get("__header__")
        if header is not None:  # a class that gives its tasks arguments which callers don't
            return inspect.signature(header)
        if self._signature is None:
            type(self)._signature = inspect.signature(self.run).replace(return_annotation=inspect.Signature.empty)
        assert self._signature is not None
        return self._signature

    @property
    def called_as(self) -> Callable[..., Any]:
        """What takes the arguments that a caller passes: the function, or what a class has put in its place."""
        header: Callable[..., Any] = self.__dict__.get("__header__") or self.run
        return header

    def _plain_arguments(self, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if isinstance(args, (Mapping, set, frozenset)):
            raise InvalidArguments(
                f"task {self.name!r}: args={short_repr(args)} is a {type(args).__name__}; "
                "args takes a list, kwargs a dict"
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

    @property
    def app(self) -> AppLike:
        return self._app or current_app()

    @app.setter
    def app(self, app: AppLike) -> None:
        self._app = app

    @property
    def backend(self) -> Any:
        return self.app.backend

    @property
    def request(self) -> Context:
        own = self.__dict__.get("_request_stack")
        found = request_of(self) if own is None else own.top
        if found is None:  # one that stays, as Celery's does: what is put there outside a run is found there again
            found = self._idle_request = self._idle_request or Context()
        return found

    @property
    def request_stack(self) -> RequestStack:
        """The requests of this task's runs in this thread, as Celery keeps them."""
        own: RequestStack | None = self.__dict__.get("_request_stack")
        return RequestStack(self) if own is None else own

    @request_stack.setter
    def request_stack(self, stack: Any) -> None:
        self.__dict__["_request_stack"] = stack

    @property
    def pyramid_request(self) -> Any:
        """The Pyramid request of this run: its registry, its transaction, and every request method."""
        frame = current_frame()
        request = self.request.pyramid_request or (frame[1].pyramid_request if frame else None)
        if request is None:  # a plain call: the caller's own request
            request = _current_pyramid_request()
        if request is None:
            raise NoPyramidRequest(
                f"task {self.name!r} asked for a Pyramid request outside a worker and outside a Pyramid request; "
                "call it inside pyramid.scripting.prepare()"
            )
        return request

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Say how far this run is: what `AsyncResult.state` and `.info` show while it runs."""
        request = self.request
        if task_id is not None and task_id != request.id:
            raise ValueError(
                f"task {self.name!r}: update_state(task_id={task_id!r}) is for another run than this, {request.id!r}; "
                "a run's state travels with that run"
            )
        if request.report is not None:
            written = dumps(meta, "meta")
            size, limit = ascii_size(written), self.app.conf["ptemporal_payload_limit"]
            if size > limit:
                # The server would take it for the end of the run, and have it begin again.
                raise PayloadTooLarge(
                    f"task {self.name!r}: update_state(meta=...) takes {size:,} bytes, and the limit is {limit:,} "
                    "(ptemporal.payload_limit): store the data and say where it is"
                )
            request.report(state or "", loads(written))

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
        args, kwargs = self._arguments_of_retry(request, args, kwargs)
        asked.changes = RetryChanges(args, kwargs, options)
        if throw:
            _raise_cause(asked)
        request.retry_asked = asked
        return asked

    def autoretry(self, error: Exception) -> Retry | None:
        """The retry that `autoretry_for` asks for after this error; None if it asks for none."""
        if not isinstance(error, tuple(self.autoretry_for)) or isinstance(error, tuple(self.dont_autoretry_for)):
            return None
        options = dict(self.retry_kwargs)
        if self.retry_backoff:
            options["countdown"] = self.backoff(self.request.retries)
        return self.retry(exc=error, **options)

    def _arguments_of_retry(self, request: Context, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """What `retry` is given; the rest stays as it was, each argument in one place."""
        parameters = self.__signature__.parameters
        if args is not None and kwargs is None and request.kwargs:
            taken = [name for name, parameter in parameters.items() if parameter.kind in BY_POSITION][: len(args)]
            named = {name for name in taken if parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD}
            return args, {name: value for name, value in request.kwargs.items() if name not in named}
        if kwargs is not None and args is None and request.args:
            try:
                bound = self.__signature__.bind_partial(*request.args)
            except TypeError:  # for the run's own check to tell
                return args, kwargs
            moved = {
                name: value
                for name, value in kwargs.items()
                if name in bound.arguments and parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            }
            bound.arguments.update(moved)
            return bound.args, {name: value for name, value in kwargs.items() if name not in moved}
        return args, kwargs

    def signature_from_request(
        self, request: Context | None = None, args: Any = None, kwargs: Any = None, queue: Any = None, **options: Any
    ) -> Any:
        """A signature of this very run, with other arguments or options where they are given."""
        request = self.request if request is None else request
        delivery = request.delivery_info or {}
        own = {**request.as_execution_options(), "priority": delivery.get("priority"), **options}
        own["queue"] = queue or (None if request.is_eager else delivery.get("routing_key"))
        return self.signature(
            request.args if args is None else args,
            request.kwargs if kwargs is None else kwargs,
            {key: value for key, value in own.items() if value is not None},
        )

    subtask_from_request = signature_from_request

    def replace(self, sig: Any) -> Any:
        """Have `sig` take this run's place, with its id: `return self.replace(sig)`. The run ends here."""
        return self.on_replace(prepare_replacement(self, sig))

    def on_replace(self, sig: Any) -> Any:
        """Called with the signature that takes the run's place. A subclass calls this one at its end."""
        if self.request.is_eager:
            with allow_join_result():
                return sig.apply().get()
        raise Replaced(replacement_tree(self, sig))

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Add `sig` to the header of the chord that this run is in; gives its result.

        It is sent as this run commits; with `lazy` only when `sig.delay()` says so, which gives the result then.
        """
        return add_member_to_chord(self, sig, lazy)

    def backoff(self, retries: int) -> float:
        """Seconds until the retry after `retries` earlier ones, for `autoretry_for`."""
        if not self.retry_backoff:
            return float(self.retry_kwargs.get("countdown", self.default_retry_delay))
        seconds = exponential_pause(float(self.retry_backoff), retries, self.retry_backoff_max)
        return random.uniform(0, seconds) if self.retry_jitter else seconds

    def add_trail(self, result: Any) -> Any:
        """Note a task that this run asked for: one of `self.request.children`."""
        if self.trail:
            request = self.request
            request.children = [*(request.children or ()), result]
        return result

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Give the task a request, as tests of a bound task do."""
        push(self, Context(*args, **kwargs))

    def pop_request(self) -> None:
        pop()

    # --- the object ----------------------------------------------------------------------------------

    @classmethod
    def bind(cls, app: AppLike) -> AppLike:
        """Make this a task of `app`."""
        cls._app = app
        cls.on_bound(app)
        return app

    @classmethod
    def annotate(cls) -> None:
        """Set the attributes that the app's `task_annotations` have for this task."""
        task = cls()
        annotate(task.app, task)

    @classmethod
    def add_around(cls, attr: str, around: Callable[[Any], Any]) -> None:
        """Put `around` about the method `attr`."""
        wrap_method(cls, attr, around)

    def _in_app(self) -> Task:
        """This task as the current app has it."""
        if self._app is not None:
            return self
        found: Task = self.app.tasks.get(self.name, self)
        return found

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        module = type(self).__module__
        return by_name, (self.name, module if module in sys.modules else None)


Task.from_config = tuple((name, value.setting) for name, value in vars(Task).items() if isinstance(value, FromConfig))

OWN_APPLY_ASYNC = Task.apply_async
"""Ours. Monitoring tools replace the method on the class."""
BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
OWN_OPTIONS = ("queue", "priority", "serializer", "compression", "expires")


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
            f"{method}() was called on a task's class, with {short_repr(task)} in place of the task; "
            f"task = app.register_task(TheClass()) makes the task, whose {method}() it is"
        )


def _raise_cause(error: BaseException) -> NoReturn:
    """Raise `error` with the exception that is being handled as its cause; that one itself, if it is the same."""
    handled = sys.exc_info()[1]
    if handled is None or handled is error:
        raise error
    raise error from handled


def _current_pyramid_request() -> Any:
    from pyramid.threadlocal import get_current_request  # 0.2 s: not before a task wants a request

    return get_current_request()


def by_name(name: str, module: str | None = None) -> Task:
    """The current app's task of this name: what a pickled task becomes."""
    if module is not None:
        __import__(module)
    task: Task = current_app().tasks[name]
    return task
