"""The task: `delay`, `apply_async`, `retry`, `replace`, and the hooks that a subclass may define."""

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
    Retry,
    TaskReplaced,
)
from ..interfaces import P, R
from ..message.backoff import exponential_pause
from ..payload.types import ascii_size, dumps, loads
from ..results.join_guard import allow_join_result
from .call_options import short_repr
from .parameters import Parameters
from .task_annotations import annotate, wrap_method

if TYPE_CHECKING:
    from ..canvas.planner import PlannedCall
    from ..canvas.signature import Signature
    from ..interfaces import AppLike
    from ..results.eager_result import EagerResult
    from ..results.result import AsyncResult


class FromConfig:
    """A task attribute with the value of a setting, unless the task sets its own value."""

    def __init__(self, setting: str) -> None:
        self.setting = setting

    def __get__(self, task: Task | None, owner: type[Task]) -> Any:
        return None if task is None else task.app.conf[self.setting]


class NameOfClass:
    """The `__name__` of a task: the name of its function or class. Decorators and loggers read it."""

    def __get__(self, task: Any, cls: type) -> str:
        return cls.__name__


class Task(RefusedOfTasks, Generic[P, R]):
    """The object that `@task` makes of a function. Subclass it for behaviour that several tasks share.

    Each process has one instance of a task, so an attribute that is set on it stays until the process ends.
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
    needs_workflow = False
    """Whether only a workflow can do what the task needs, whatever its `lane`."""

    acks_late: Any = FromConfig("task_acks_late")
    acks_on_failure: Any = FromConfig("task_acks_on_failure")
    acks_on_failure_or_timeout: Any = FromConfig("task_acks_on_failure_or_timeout")
    acks_on_timeout: Any = FromConfig("task_acks_on_timeout")
    ignore_result: Any = FromConfig("task_ignore_result")
    lane: Any = FromConfig("ptemporal.lane")
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
    _parameters_of_run: Parameters | None = None
    _idle_request: Context | None = None

    # --- for subclasses ----------------------------------------------------------------------------

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work of the task. A class-based task defines this; in a decorated task, it is the function."""
        raise TypeError(f"task {self.name!r} has no run(); define it in {type(self).__qualname__}")

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Do nothing. A subclass may override this: called before each run, in its transaction."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Do nothing. A subclass may override this: called after a run has committed, in a transaction of its own."""

    def on_retry(self, exc: BaseException | None, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Do nothing. A subclass may override this: called when a run asks for a retry, in a transaction of its own."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Do nothing. A subclass may override this: called after a failed run, in a transaction of its own."""

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Do nothing. A subclass may override this: called after `on_success` or `on_failure`."""

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Return another name of this call for logs and the web UI; None keeps the task's name."""
        return None

    @classmethod
    def on_bound(cls, app: AppLike) -> None:
        """Do nothing. A subclass may override this: called when the task is added to `app`."""

    # --- calling it here -------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task here and now, in the caller's transaction, and return its value."""
        frame = current_frame()
        if frame is not None and frame[0] is self and frame[1].called_directly is False and not frame[1].entered:
            frame[1].entered = True  # a worker calls through a subclass's own __call__: the request exists
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
        """Run the task here and now, with all the steps of a run in a worker. Return a result that is ready."""
        args, kwargs = self._plain_arguments(args, kwargs)
        options.update((key, value) for key, value in (("link", link), ("link_error", link_error)) if value)
        app = self.app
        result: EagerResult[R] = app.apply(self._in(app), args, kwargs, task_id, retries or 0, throw, headers, options)
        return result

    # --- sending a call ----------------------------------------------------------------------------

    def delay(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send a call with these arguments: `apply_async` without options."""
        _check_instance(self, "delay")
        return self.apply_async(args, kwargs)

    async def execute(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task as an activity of the workflow that calls this, and return its result.

        `execute_task` takes options, too.
        """
        result: R = await self.app.execute_in_workflow(self.name, args, kwargs, {})
        return result

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
        """Send a call when the current transaction commits; without a begun transaction, now.

        `pyramid_temporal_compat.task.call_options.OPTIONS` lists the options and describes each in a line.
        """
        _check_instance(self, "apply_async")
        if not self.name:
            raise InvalidCall(f"{type(self).__qualname__} has no task name; add it with app.register_task()")
        app = self.app
        task = self._in(app)
        if task is not self:  # a shared task, for which the current app has a task of its own
            asked: AsyncResult[R] = task.apply_async(
                args, kwargs, task_id, producer, link, link_error, shadow, **options
            )
            return asked
        if task_id is not None:
            options["task_id"] = task_id
        if producer is not None:
            options["producer"] = producer
        if link is not None:
            options["link"] = link
        if link_error is not None:
            options["link_error"] = link_error
        if shadow is not None:
            options["shadow"] = shadow
        return self._send_or_plan(app, args, kwargs, options, options.pop("planned", None))

    def plan_call(self, call: PlannedCall, args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult[R]:
        """Make the message of a call that is part of a canvas, and give it to `call`.

        If a subclass or a monitoring tool has replaced `apply_async`, the replacement is called, because it may change
        the arguments or the options.
        """
        app = self.app
        task = self._in(app)
        # Asked of the class, because the wrapper of a tool shows the attributes of the method that it wraps.
        if type(task).apply_async is not OWN_APPLY_ASYNC or "apply_async" in vars(task):
            return task.apply_async(args, kwargs, planned=call, **options)
        return task._send_or_plan(app, args, kwargs, options, call)

    def _send_or_plan(
        self, app: AppLike, args: Any, kwargs: Any, options: dict[str, Any], planned: PlannedCall | None
    ) -> AsyncResult[R]:
        """Check a call's arguments. Then send its message, or give it to the canvas that plans the call."""
        args, kwargs = self._plain_arguments(args, kwargs)
        # A task that follows another task also gets the other's result: its arguments are not complete yet.
        if self.typing is not False and (planned is None or not planned.lineage.follows):
            self.check_arguments(args, kwargs)
        shadow = options.pop("shadow", None) or self.shadow_name(args, kwargs, options)
        if shadow is not None:
            options["shadow"] = shadow
        result: AsyncResult[R]
        if planned is None:
            result = app.call(self, args, kwargs, options)
        else:
            message, *linked = app.message(self.name, args, kwargs, options, self)
            planned.take(message, *linked)
            result = self.AsyncResult(message.id)
            result.ignored = bool(message.ignore_result)
        return result

    def signature(self, args: Any = None, *starargs: Any, **starkwargs: Any) -> Signature[R]:
        """Return a signature of this task with arguments and options: `signature((1, 2), countdown=10)`."""
        if self._app is not None:
            starkwargs.setdefault("app", self._app)
        made: Signature[R] = signature(self, args, *starargs, **starkwargs)
        return made

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Return a signature with these arguments and no options."""
        return self.signature(args, kwargs)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """Return an immutable signature: a canvas adds no arguments to it."""
        return self.signature(args, kwargs, immutable=True)

    def chunks(self, it: Any, n: int) -> Any:
        """Return a group of runs. Each run calls the task for `n` of the arguments in `it`."""
        return chunks(self.s(), it, n, app=self._app)

    def map(self, it: Any) -> Any:
        """Return a signature of one run that calls the task for each argument in `it`."""
        return xmap(self.s(), it, app=self._app)

    def starmap(self, it: Any) -> Any:
        """Return a signature of one run that calls the task for each list of arguments in `it`."""
        return xstarmap(self.s(), it, app=self._app)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R]:
        """Return the result of the call with this id."""
        result: AsyncResult[R] = self.app.AsyncResult(task_id, task_name=self.name, **kwargs)
        return result

    def own_options(self) -> dict[str, Any]:
        """Return the options of `apply_async` that the task itself sets."""
        own = self.own
        return {name: value for name in OWN_OPTIONS if (value := own(name)) is not None}

    def own(self, name: str) -> Any:
        """Return the value that the task itself sets for an attribute; None if the configuration decides."""
        value = self.__dict__.get(name)
        return getattr(type(self), name) if value is None else value

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` if the function does not take these arguments."""
        parameters = self._parameters
        try:
            parameters.check(args, kwargs)
        except TypeError as error:
            raise InvalidArguments(
                f"{self.name}{parameters.signature} can't be called with args={short_repr(tuple(args))}, "
                f"kwargs={short_repr(dict(kwargs))}: {error}"
            ) from None

    def positional_names(self, count: int) -> list[str]:
        """Return the parameter names of the first `count` positional arguments."""
        names: list[str] = []
        for parameter in self.__signature__.parameters.values():
            if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
                names.append(parameter.name)
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                names += [f"{parameter.name}[{index}]" for index in range(count - len(names))]
        return names[:count]

    @property
    def __signature__(self) -> inspect.Signature:
        """Return the signature that a caller sees: the function's, without `self`."""
        return self._parameters.signature

    @property
    def _parameters(self) -> Parameters:
        """Return the parameters that a caller passes: the function's, without `self`."""
        header = self.__dict__.get("__header__")
        if header is not None:  # a class may pass arguments to its tasks that callers don't pass
            return Parameters.of(inspect.signature(header))
        if self._parameters_of_run is None:
            own = inspect.signature(self.run).replace(return_annotation=inspect.Signature.empty)
            type(self)._parameters_of_run = Parameters.of(own)
        assert self._parameters_of_run is not None
        return self._parameters_of_run

    @property
    def called_as(self) -> Callable[..., Any]:
        """Return the callable that takes the caller's arguments: the function, or the `__header__` of a class."""
        header: Callable[..., Any] = self.__dict__.get("__header__") or self.run
        return header

    def _plain_arguments(self, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if type(args) is tuple and type(kwargs) is dict:  # as from `delay`
            return args, dict(kwargs)
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
        """Return the app of this task; for a shared task, the current app."""
        return self._app or current_app()

    @app.setter
    def app(self, app: AppLike) -> None:
        self._app = app

    @property
    def backend(self) -> Any:
        """Return the app's `backend`, which reads task states from the server."""
        return self.app.backend

    @property
    def request(self) -> Context:
        """Return the context of the current run of this task: its id, its arguments, its retries, and more."""
        own = self.__dict__.get("_request_stack")
        found = request_of(self) if own is None else own.top
        if (
            found is None
        ):  # outside a run, the task keeps one request, as in Celery: an attribute set on it is found again
            found = self._idle_request = self._idle_request or Context()
        return found

    @property
    def request_stack(self) -> RequestStack:
        """Return the stack of the requests of this task's runs in this thread, as in Celery."""
        own: RequestStack | None = self.__dict__.get("_request_stack")
        return RequestStack(self) if own is None else own

    @request_stack.setter
    def request_stack(self, stack: Any) -> None:
        self.__dict__["_request_stack"] = stack

    @property
    def pyramid_request(self) -> Any:
        """Return the Pyramid request of this run, with its registry, its transaction and every request method."""
        frame = current_frame()
        request = self.request.pyramid_request or (frame[1].pyramid_request if frame else None)
        if request is None:  # a plain call uses the caller's request
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
        """Report the progress of this run. `AsyncResult.state` and `.info` show it while the task runs."""
        request = self.request
        if task_id is not None and task_id != request.id:
            raise ValueError(
                f"task {self.name!r}: update_state(task_id={task_id!r}) names another run than {request.id!r}; "
                "a run can report only its own state"
            )
        if request.report is not None:
            written = dumps(meta, "meta")
            size, limit = ascii_size(written), self.app.conf["ptemporal.payload_limit"]
            if size > limit:
                # The server would treat the run as failed, and start it again.
                raise PayloadTooLarge(
                    f"task {self.name!r}: update_state(meta=...) takes {size:,} bytes, and the limit is {limit:,} "
                    "(ptemporal.payload_limit): store the data, and report its address"
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
        """Run the task again later: `raise self.retry(...)`. This run's database changes are rolled back."""
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
        """Return the retry that `autoretry_for` makes of this error; None if the error is not retried."""
        if not isinstance(error, tuple(self.autoretry_for)) or isinstance(error, tuple(self.dont_autoretry_for)):
            return None
        options = dict(self.retry_kwargs)
        if self.retry_backoff:
            options["countdown"] = self.backoff(self.request.retries)
        return self.retry(exc=error, **options)

    def _arguments_of_retry(self, request: Context, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the arguments of the next run: those given to `retry`, and this run's others.

        An argument that was positional and is now given by name is not passed twice.
        """
        parameters = self.__signature__.parameters
        if args is not None and kwargs is None and request.kwargs:
            taken = [name for name, parameter in parameters.items() if parameter.kind in BY_POSITION][: len(args)]
            named = {name for name in taken if parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD}
            return args, {name: value for name, value in request.kwargs.items() if name not in named}
        if kwargs is not None and args is None and request.args:
            try:
                bound = self.__signature__.bind_partial(*request.args)
            except TypeError:  # the next run's own check reports it
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
        """Return a signature of this run, with the given arguments and options in place of its own."""
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
        """Replace this run by `sig`, which gets its id: `return self.replace(sig)`. The run ends here."""
        return self.on_replace(prepare_replacement(self, sig))

    def on_replace(self, sig: Any) -> Any:
        """End the run, with `sig` as its replacement. A subclass that overrides this calls it at the end."""
        if self.request.is_eager:
            with allow_join_result():
                return sig.apply().get()
        raise TaskReplaced(replacement_tree(self, sig))

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Add `sig` to the header of the chord that has this run, and return its result.

        `sig` is sent when this run commits. With `lazy`, return the signature: `sig.delay()` adds it and returns the
        result.
        """
        return add_member_to_chord(self, sig, lazy)

    def backoff(self, retries: int) -> float:
        """Return the seconds until the next retry, after `retries` earlier retries, for `autoretry_for`."""
        if not self.retry_backoff:
            return float(self.retry_kwargs.get("countdown", self.default_retry_delay))
        seconds = exponential_pause(float(self.retry_backoff), retries, self.retry_backoff_max)
        return random.uniform(0, seconds) if self.retry_jitter else seconds

    def add_trail(self, result: Any) -> Any:
        """Add the result of a task that this run called to `self.request.children`."""
        if self.trail:
            request = self.request
            request.children = [*(request.children or ()), result]
        return result

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Give the task a request, for tests of a bound task."""
        push(self, Context(*args, **kwargs))

    def pop_request(self) -> None:
        """Remove the request that `push_request` gave."""
        pop()

    # --- the object ----------------------------------------------------------------------------------

    @classmethod
    def bind(cls, app: AppLike) -> AppLike:
        """Add the task to `app`."""
        cls._app = app
        cls.on_bound(app)
        return app

    @classmethod
    def annotate(cls) -> None:
        """Set the attributes that the app's `task_annotations` has for this task."""
        task = cls()
        annotate(task.app, task)

    @classmethod
    def add_around(cls, attr: str, around: Callable[[Any], Any]) -> None:
        """Replace the method `attr` by `around(method)`."""
        wrap_method(cls, attr, around)

    def _in(self, app: AppLike) -> Task:
        """Return the task that `app` has for this task. For a shared task, this may be a task of its own."""
        if self._app is not None:
            return self
        found: Task = app.tasks.get(self.name, self)
        return found

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        module = type(self).__module__
        return by_name, (self.name, module if module in sys.modules else None)


Task.from_config = tuple((name, value.setting) for name, value in vars(Task).items() if isinstance(value, FromConfig))

OWN_APPLY_ASYNC = Task.apply_async
"""Our own method. Monitoring tools replace the method on the class."""
BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
OWN_OPTIONS = ("queue", "priority", "serializer", "compression", "expires")


class RetryChanges:
    """The arguments and options that a retry changes."""

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
            f"make the task with task = app.register_task(TheClass()), and call task.{method}()"
        )


def _raise_cause(error: BaseException) -> NoReturn:
    """Raise `error`, with the exception that is being handled as its cause, unless it is that exception."""
    handled = sys.exc_info()[1]
    if handled is None or handled is error:
        raise error
    raise error from handled


def _current_pyramid_request() -> Any:
    from pyramid.threadlocal import get_current_request  # 0.2 s, so only when a task needs a request

    return get_current_request()


def by_name(name: str, module: str | None = None) -> Task:
    """Return the current app's task of this name. A pickled task is loaded by it."""
    if module is not None:
        __import__(module)
    task: Task = current_app().tasks[name]
    return task
