"""The app: tasks by name, a configuration, and the way to the server. Celery-shaped."""

from __future__ import annotations

import datetime
import functools
import sys
import threading
import warnings
import weakref
import zoneinfo
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .calling import make_message
from .context import worker_frame
from .control import Control
from .exceptions import DuplicateTaskNameWarning, ImproperlyConfigured, NotRegistered
from .payload.codecs import Encryption, parse_keys
from .result import AsyncResult
from .settings import Settings
from .task import Task as BaseTask
from .task import task_from_function

if TYPE_CHECKING:
    from .dispatch.client import Connection
    from .dispatch.dispatcher import Dispatcher
    from .message import Message
    from .payload.codecs import Codec

APP_KEY = "pyramid_temporal_compat.app"
"""Where a Pyramid registry keeps its app."""


class TaskRegistry(dict[str, BaseTask]):
    """Tasks by name."""

    def __missing__(self, name: str) -> BaseTask:
        raise NotRegistered(
            f"task {name!r} is not registered; {len(self)} tasks are known here "
            "(ptemporal-compat list tasks app.ini); add its module to ptemporal.include"
        )

    def register(self, task: BaseTask | type[BaseTask]) -> BaseTask:
        task = task() if isinstance(task, type) else task
        if not task.name:
            raise ImproperlyConfigured(f"task {task!r} has no name; set the class attribute `name`")
        known = self.get(task.name)
        if known is not None and _source(known) != _source(task):
            warnings.warn(
                DuplicateTaskNameWarning(
                    f"task name {task.name!r} stands for {_source(known)} and for {_source(task)}; the later one runs"
                ),
                stacklevel=3,
            )
        self[task.name] = task
        return task

    def unregister(self, name: str | BaseTask) -> None:
        self.pop(name if isinstance(name, str) else str(name.name))


def _source(task: BaseTask) -> str:
    origin = task.__wrapped__ or type(task)
    return f"{origin.__module__}.{origin.__qualname__}"


class Celery:
    """An application: `app = Celery("shop")`, `@app.task`, `app.conf`."""

    Task: type[BaseTask] = BaseTask

    def __init__(
        self,
        main: str | None = None,
        *,
        set_as_current: bool = True,
        include: Iterable[str] | None = None,
        config_source: Any = None,
        namespace: str | None = None,
        task_cls: type[BaseTask] | None = None,
        strict_typing: bool = True,
        **settings: Any,
    ) -> None:
        self.main = main
        self.conf = Settings(namespace=namespace)
        self.strict_typing = strict_typing
        self.registry: Any = None
        """The Pyramid registry that tasks get their requests from."""
        self.tasks = TaskRegistry(_shared)
        if task_cls is not None:
            self.Task = task_cls
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._dispatcher: Dispatcher | None = None
        if config_source is not None:
            self.config_from_object(config_source)
        if include is not None:
            settings["include"] = list(include)
        renamed = {"broker": "broker_url", "backend": "result_backend"}
        self.conf.update({renamed.get(key, key): value for key, value in settings.items() if value is not None})
        _apps.add(self)
        if set_as_current:
            self.set_current()

    # --- tasks ---------------------------------------------------------------------------------------

    def task(self, *args: Any, **options: Any) -> Any:
        """Make a task of a function: `@app.task` or `@app.task(bind=True, …)`."""
        return _decorate(args, options, self._make_task)

    def _make_task(self, function: Callable[..., Any], options: dict[str, Any]) -> BaseTask:
        base = options.pop("base", None) or self.Task
        name = options.pop("name", None) or self.gen_task_name(function.__name__, function.__module__)
        options.setdefault("typing", self.strict_typing)
        return self.tasks.register(
            task_from_function(function, name, base, self, options.pop("bind", False), options),
        )

    def register_task(self, task: BaseTask | type[BaseTask], **options: Any) -> BaseTask:
        task = task(**options) if isinstance(task, type) else task
        if not task.name:
            task.name = self.gen_task_name(type(task).__name__, type(task).__module__)
        task._app = self
        return self.tasks.register(task)

    def gen_task_name(self, name: str, module: str) -> str:
        return task_name(self.main, name, module)

    def send_task(
        self,
        name: str | None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_type: BaseTask | None = None,
        transaction_manager: Any = None,
        **options: Any,
    ) -> AsyncResult:
        """Ask for a run of the task of this name, which need not be known here."""
        task = task_type or self.tasks.get(str(name))
        options = {**(task.own_options() if task else {}), **options}
        message = make_message(self, str(name), tuple(args or ()), dict(kwargs or {}), options, task)
        self.enlist(message, transaction_manager)
        result = self.AsyncResult(message.id, task_name=message.task)
        frame = worker_frame()
        if frame is not None and frame[0].trail:
            frame[1].children = [*(frame[1].children or ()), result]
        return result

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult:
        return AsyncResult(task_id, app=self, **kwargs)

    # --- configuration ---------------------------------------------------------------------------------

    def config_from_object(
        self, source: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Take the configuration from a module, an object, a dict, or the dotted name of one."""
        self.conf.config_from_object(source, silent=silent, force=force, namespace=namespace)

    def config_from_envvar(self, variable: str, silent: bool = False, force: bool = False) -> bool:
        return self.conf.config_from_envvar(variable, silent=silent, force=force)

    @property
    def naive_zone(self) -> datetime.tzinfo | None:
        """What a time without a zone means: `celery.timezone`, if the application sets it."""
        name = self.conf.timezone
        if name is None or isinstance(name, datetime.tzinfo):
            return name
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            raise ImproperlyConfigured(f"timezone = {name!r} is no time zone; write one like Europe/Paris") from None

    # --- being current -----------------------------------------------------------------------------------

    def set_current(self) -> None:
        """Make this the app of tasks that have none, in this process."""
        _current.app = self

    set_default = set_current

    # --- the way to the server -------------------------------------------------------------------------

    def enlist(self, message: Message, transaction_manager: Any = None) -> None:
        """Send `message` with the current transaction's commit, or now if there is none."""
        enlist, mode = _enlist(), self.conf["ptemporal_enlist"]
        if not enlist(message, self, self._after_commit, mode, transaction_manager):
            self.dispatcher.send([message])

    def _after_commit(self, messages: Sequence[Message]) -> None:
        self.dispatcher.after_commit(messages)

    @property
    def connection(self) -> Connection:
        """This process's connection to the Temporal server; it connects when it is first used."""
        with self._lock:
            if self._connection is None:
                from .dispatch.client import Connection  # the client library: 0.4 s, for who sends or asks
                from .payload.converter import data_converter
                from .settings import connection

                self._connection = Connection(connection(self.conf), lambda: data_converter(self.codecs()))
            return self._connection

    @property
    def dispatcher(self) -> Dispatcher:
        connection = self.connection
        with self._lock:
            if self._dispatcher is None:
                from .dispatch.dispatcher import Dispatcher  # the client library, as above

                self._dispatcher = Dispatcher(
                    connection,
                    timeout=self.conf.ptemporal_dispatch_timeout,
                    wait=self.conf.ptemporal_dispatch == "wait",
                )
            return self._dispatcher

    @functools.cached_property
    def control(self) -> Control:
        """Orders and questions to running workers: `app.control.revoke(…)`, `app.control.inspect().active()`."""
        return Control(self)

    def codecs(self) -> Sequence[Codec]:
        """What payloads pass through on their way: encryption, if keys are set."""
        keys = self.conf.ptemporal_encryption_keys
        return [Encryption(parse_keys(",".join(keys)))] if keys else []

    def close(self) -> None:
        """Let go of the server. The next call connects again, with the settings of then."""
        with self._lock:
            connection, self._connection, self._dispatcher = self._connection, None, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Celery:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Celery {self.main or '__main__'} at {id(self):#x}>"


# --- the current app -----------------------------------------------------------------------------------


@functools.cache  # an import statement, even of what is there, is a twentieth of `.delay()`
def _enlist() -> Callable[..., bool]:
    from .dispatch.transaction import enlist  # Pyramid and SQLAlchemy: 0.5 s, and not for who only defines tasks

    return enlist


class _Current:
    app: Celery | None = None


_current = _Current()
_apps: weakref.WeakSet[Celery] = weakref.WeakSet()
_shared: dict[str, BaseTask] = {}


def current_app() -> Celery:
    """The app of tasks that have none: the current Pyramid request's, else the one last made."""
    pyramid = sys.modules.get("pyramid.threadlocal")  # not imported: then no request is current either
    request = pyramid.get_current_request() if pyramid else None
    found: Celery | None = getattr(request, "registry", {}).get(APP_KEY) if request is not None else None
    if found is not None:
        return found
    if _current.app is None:
        Celery("default")
    assert _current.app is not None
    return _current.app


def latest_app() -> Celery | None:
    """The app that the application made last, if it made one."""
    return _current.app


def shared_task(*args: Any, **options: Any) -> Any:
    """Make a task of a function, for whichever app is current when it is called."""
    return _decorate(args, options, _make_shared)


def _make_shared(function: Callable[..., Any], options: dict[str, Any]) -> BaseTask:
    name = options.pop("name", None) or task_name(None, function.__name__, function.__module__)
    base = options.pop("base", None) or BaseTask
    task = task_from_function(function, name, base, None, options.pop("bind", False), options)
    _shared[name] = task
    for app in list(_apps):
        app.tasks.register(task)
    return task


def _decorate(args: tuple[Any, ...], options: dict[str, Any], make: Callable[..., BaseTask]) -> Any:
    if len(args) == 1 and callable(args[0]):
        return make(args[0], options)
    if args:
        raise TypeError(f"@task takes a function or keyword options, not {args!r}; write @task(name={args[0]!r})")
    return lambda function: make(function, dict(options))


def task_name(main: str | None, name: str, module: str) -> str:
    """A task's name: its module and its own name, with the app's name where the module is a script."""
    if module == "__main__" and main:
        module = main
    return f"{module}.{name}" if module else name
