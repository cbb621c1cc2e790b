"""The app: `Celery("shop")`."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import sys
import threading
import uuid
import warnings
import zoneinfo
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Literal, overload

from .. import canvas, signals
from ..as_celery.backend import Backend
from ..as_celery.bugreport import bugreport
from ..as_celery.connections import Connections
from ..canvas import builtin
from ..canvas.planner import Lineage, Planner, as_unit
from ..canvas.tree_ids import Ids
from ..celery_names.refused import NO_EVENTS, Unsupported
from ..celery_names.refused_members import RefusedOfApps
from ..context import current_frame, worker_frame
from ..control import Control
from ..current import APP_KEY, apps, set_app_class, set_current_app, set_default_app
from ..enlist.publish_signals import after_publish, before_publish
from ..exceptions import AlwaysEagerIgnored, ImproperlyConfigured
from ..log import Logging
from ..message.ids import new_id
from ..message.nodes import TaskNode
from ..message.tree import Unit
from ..payload.codecs import Encryption, parse_keys
from ..results import result as results
from ..results import result_sets
from ..security import setup_security
from ..settings import Settings
from ..settings.command_line import from_words
from ..task.annotations import annotate, prepare_annotations
from ..task.call_options import make_message
from ..task.routing import Amqp
from ..task.task import Task as BaseTask
from ..task.task import task_from_function
from ..typed_calls import P, R
from .app_classes import part
from .commands import Commands
from .loading import Loader, lazily
from .periodic import PeriodicTasks
from .registry import TaskRegistry, warn_of_duplicate
from .sending import Sending
from .shared import SharedTask, decorate, shared_tasks, task_name

if TYPE_CHECKING:
    from ..client.connection import Connection
    from ..enlist.dispatcher import Dispatcher
    from ..message.message import Message
    from ..outbox.writer import Outbox
    from ..payload.codecs import Codec
    from ..results.eager_result import EagerResult
    from ..results.result import AsyncResult
    from ..task.eager import EagerDispatch

__all__ = ["APP_KEY", "Celery"]


class Celery(Commands, PeriodicTasks, Connections, RefusedOfApps):
    """An application: its tasks, its configuration, and its way to the Temporal server."""

    IS_macOS = sys.platform == "darwin"
    IS_WINDOWS = sys.platform == "win32"
    SYSTEM = platform.system()

    builtin_fixups: ClassVar[frozenset[str]] = frozenset()
    task_cls: type[BaseTask] = BaseTask
    registry_cls = TaskRegistry
    amqp_cls: Any = Amqp
    backend_cls: Any = Backend
    control_cls: Any = Control
    loader_cls: Any = Loader
    log_cls: Any = Logging
    on_configure: Any = None

    def __init__(
        self,
        main: str | None = None,
        loader: Any = None,
        backend: Any = None,
        amqp: Any = None,
        events: Any = None,
        log: Any = None,
        control: Any = None,
        set_as_current: bool = True,
        tasks: Mapping[str, BaseTask] | None = None,
        broker: Any = None,
        include: Iterable[str] | None = None,
        changes: Mapping[str, Any] | None = None,
        config_source: Any = None,
        fixups: Any = None,
        task_cls: type[BaseTask] | str | None = None,
        autofinalize: bool = True,
        namespace: str | None = None,
        strict_typing: bool = True,
        config_source_silent: bool = False,
        **settings: Any,
    ) -> None:
        if events is not None and events != "celery.app.events:Events":
            raise Unsupported(f"Celery(events={events!r}) is refused here. {NO_EVENTS}")
        self.loader_cls = part("loader_cls", loader or self.loader_cls, Loader)
        self.amqp_cls = part("amqp_cls", amqp or self.amqp_cls, Amqp)
        self.log_cls = part("log_cls", log or self.log_cls, Logging)
        self.control_cls = part("control_cls", control or self.control_cls, Control)
        self.backend_cls = part("backend_cls", self.backend_cls, Backend)
        self.main = main
        self.set_as_current = set_as_current
        self.autofinalize = autofinalize
        self.strict_typing = strict_typing
        self.finalized = False
        self.user_options: dict[str, set[Any]] = {"preload": set(), "worker": set(), "beat": set()}
        self.steps: dict[str, set[Any]] = {"worker": set(), "consumer": set()}
        self.fixups = set(fixups or ())
        self.registry: Any = None
        """The Pyramid registry that tasks get their requests from."""
        if task_cls is not None:
            self.task_cls = _class(task_cls)
        if self.on_configure is None:
            self.on_configure = signals.Signal(name="app.on_configure")
        self.on_after_configure = signals.Signal({"source"}, name="app.on_after_configure")
        self.on_after_finalize = signals.Signal(name="app.on_after_finalize")
        self.on_after_fork = signals.Signal(name="app.on_after_fork")
        given = {"broker_url": broker, "result_backend": backend, "include": _module_names(include), **settings}
        self.conf = Settings(
            changes,
            given={key: value for key, value in given.items() if value is not None},
            source=config_source,
            silent=config_source_silent,
            namespace=namespace,
            before_load=self._about_to_configure,
            after_load=self._has_configured,
            prepare=self.prepare_config,
        )
        self._tasks = tasks if isinstance(tasks, TaskRegistry) else TaskRegistry(tasks or {})
        self._periodic: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._dispatcher: Dispatcher | None = None
        self._sending = Sending(self)
        self._outbox: Outbox | None = None
        self._rest = (config_source, config_source_silent, namespace)
        apps.add(self)
        if set_as_current:
            self.set_current()
        self.on_init()

    def on_init(self) -> None:
        """For subclasses: called when the app has been made."""

    # --- being current -------------------------------------------------------------------------------

    def set_current(self) -> None:
        """Make this the current app."""
        set_current_app(self)

    def set_default(self) -> None:
        """Make this the current app of threads that chose none."""
        set_default_app(self)

    # --- tasks ---------------------------------------------------------------------------------------

    @functools.cached_property
    def Task(self) -> type[BaseTask]:
        """The base class of this app's tasks."""
        return self.create_task_cls()

    def create_task_cls(self) -> type[BaseTask]:
        cls = _class(self.task_cls)
        return cls if cls is BaseTask else type("Task", (cls,), {"_app": self, "abstract": True})

    @property
    def tasks(self) -> TaskRegistry:
        """This app's tasks by name. Asking for it finalizes the app."""
        if not self.finalized:
            self.finalize(auto=True)
        return self._tasks

    @overload
    def task(self, function: Callable[P, R], /) -> BaseTask[P, R]: ...
    @overload
    def task(
        self, *, bind: Literal[True], **options: Any
    ) -> Callable[[Callable[Concatenate[Any, P], R]], BaseTask[P, R]]: ...
    @overload
    def task(self, *, bind: Literal[False] = ..., **options: Any) -> Callable[[Callable[P, R]], BaseTask[P, R]]: ...
    def task(self, *args: Any, **options: Any) -> Any:
        """Make a task of a function: `@app.task` or `@app.task(bind=True, …)`."""
        return decorate(args, options, self.make_task)

    def make_task(self, function: Callable[..., Any], options: Mapping[str, Any]) -> BaseTask:
        """A task of this app. A name that is taken keeps the task that it has."""
        name = options.get("name") or self.gen_task_name(function.__name__, function.__module__)
        if name in self._tasks:
            warn_of_duplicate(self._tasks[name], function, stacklevel=4)
            return self._tasks[name]
        task = task_from_function(function, name, self, {"typing": self.strict_typing, **options})
        self._tasks[name] = task
        if self.finalized:
            self._bind(task)
        return task

    def make_builtin(self, function: Callable[..., Any], name: str, bind: bool) -> BaseTask:
        """A task that every app has."""
        return task_from_function(function, name, self, {"bind": bind, "typing": False, "ignore_result": False})

    def register_task(self, task: BaseTask | type[BaseTask], **options: Any) -> BaseTask:
        """Add a task that is a class."""
        made: BaseTask = task() if isinstance(task, type) else task
        if not made.name:
            made.name = self.gen_task_name(type(made).__name__, type(made).__module__)
        for name, value in options.items():
            setattr(made, name, value)
        made._app = self
        self._tasks[made.name] = made
        if self.finalized:
            self._bind(made)
        return made

    def gen_task_name(self, name: str, module: str) -> str:
        return task_name(self.main, name, module)

    def adopt(self, shared: SharedTask) -> None:
        """Make a shared task one of this app's, unless the app has one of that name."""
        name = str(shared.task.name)
        if name not in self._tasks:
            task = shared.for_app(self)
            self._tasks[name] = task
            self._bind(task)

    def finalize(self, auto: bool = False) -> None:
        """Take in the shared tasks, and what the configuration says of each task."""
        with self._lock:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError(f"{self!r} was made with autofinalize=False: call finalize() before it is used")
            self.finalized = True
            builtin.add_to(self, self._tasks)
            for task in list(self._tasks.values()):
                self._bind(task)
            for shared in shared_tasks():
                self.adopt(shared)
            self.on_after_finalize.send(sender=self)

    def _bind(self, task: BaseTask) -> None:
        annotate(self, task)
        type(task).on_bound(self)

    @functools.cached_property
    def annotations(self) -> tuple[Any, ...]:
        return prepare_annotations(self.conf["task_annotations"])

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> Any:
        """Import the module `related_name` of each package: now with `force`, else when a worker loads its tasks."""
        if force:
            return self.loader.autodiscover_tasks(lazily(packages), related_name)

        def discover(**kwargs: Any) -> Any:
            return self.loader.autodiscover_tasks(lazily(packages), related_name)

        signals.import_modules.connect(discover, sender=self, weak=False)
        return None

    @functools.cached_property
    def backend(self) -> Backend:
        """What the server knows of tasks, by the names of Celery's result backends."""
        backend: Backend = self.backend_cls(self)
        return backend

    @functools.cached_property
    def control(self) -> Control:
        """Orders and questions to running workers: `app.control.revoke(…)`, `app.control.inspect().active()`."""
        control: Control = self.control_cls(self)
        return control

    @functools.cached_property
    def log(self) -> Logging:
        """Logging, as Celery sets it up."""
        log: Logging = self.log_cls(self)
        return log

    def bugreport(self) -> str:
        """What a bug report needs: versions, and the settings that are not the default, secrets masked."""
        return bugreport(self)

    @functools.cached_property
    def loader(self) -> Loader:
        loader: Loader = self.loader_cls(self)
        return loader

    @property
    def current_task(self) -> BaseTask | None:
        frame = current_frame()
        return frame[0] if frame else None

    @property
    def current_worker_task(self) -> BaseTask | None:
        """The task that a worker runs here, past those that it called itself."""
        frame = worker_frame()
        return frame[0] if frame else None

    # --- calling -------------------------------------------------------------------------------------

    def send_task(
        self,
        name: str | None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_type: BaseTask | None = None,
        transaction_manager: Any = None,
        result_cls: Any = None,
        **options: Any,
    ) -> AsyncResult:
        """Ask for a run of the task of this name, which need not be known here."""
        task = task_type or self._tasks.get(str(name))
        if self.conf["task_always_eager"]:
            warnings.warn(AlwaysEagerIgnored("task_always_eager has no effect on send_task"), stacklevel=2)
        message = self._request(str(name), tuple(args or ()), dict(kwargs or {}), options, task, transaction_manager)
        result = (result_cls or self.AsyncResult)(message.id, task_name=message.task)
        return self._trailed(result, options)

    def call(self, task: BaseTask, args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult:
        """What `task.apply_async` does, once the arguments are checked."""
        manager = options.pop("transaction_manager", None)
        if self.conf["task_always_eager"]:
            local: dict[str, Any] = {key: options.pop(key) for key in LOCAL if key in options}
            message = self._message(task.name, args, kwargs, options, task)
            return self._trailed(self.eager.call(message, local, manager), options)
        message = self._request(task.name, args, kwargs, options, task, manager)
        result = task.AsyncResult(message.id)
        result.ignored = bool(message.ignore_result)
        return self._trailed(result, options)

    def apply(self, *call: Any) -> EagerResult:
        """Do what `task.apply` does, once its arguments are checked: run the task here and now."""
        from ..task.eager import apply_now  # Pyramid and SQLAlchemy: 0.5 s, and not for who only defines tasks

        return apply_now(*call)

    def call_canvas_eagerly(self, signature: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
        """What a canvas's `apply_async` is under `task_always_eager`."""
        return self.eager.call_canvas(signature, args, kwargs, dict(options))

    def _request(
        self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task: BaseTask | None, manager: Any
    ) -> Message:
        """Enlist a single task, with the callbacks that are linked to it."""
        id_for = functools.partial(self._sending.id_for, manager=manager)
        message, links, errbacks = self.message(name, args, kwargs, options, task, id_for)
        if not links and not errbacks:
            self.enlist(message, manager)
        else:
            planner, follows = Planner(self, Ids(message.id)), Lineage().after(message)
            planner.ids.claim()
            node = TaskNode(
                message, links=planner.callbacks(links, follows), errbacks=planner.linked(errbacks, follows)
            )
            self.enlist(as_unit(node, self), manager)
        return message

    def message(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        options: dict[str, Any],
        task: BaseTask | None,
        id_for: Callable[[str], str] = lambda queue: new_id(),
    ) -> tuple[Message, Any, Any]:
        """Make the message of one call. Return it with the callbacks and the error callbacks that the call names."""
        links, errbacks = options.pop("link", None), options.pop("link_error", None)
        options.pop("transaction_manager", None)
        return self._message(name, args, kwargs, options, task, id_for), links, errbacks

    def _message(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        options: dict[str, Any],
        task: BaseTask | None,
        id_for: Callable[[str], str] = lambda queue: new_id(),
    ) -> Message:
        if task is not None:
            options = {**task.own_options(), **options}
        message = make_message(self, name, args, kwargs, options, task, id_for)
        return before_publish(message, args, kwargs) if signals.before_task_publish.receivers else message

    @functools.cached_property
    def eager(self) -> EagerDispatch:
        """What stands for the server under `task_always_eager`."""
        from ..task.eager import EagerDispatch  # Pyramid and SQLAlchemy: 0.5 s, and only for tests

        return EagerDispatch(self)

    def _trailed(self, result: AsyncResult, options: Mapping[str, Any]) -> AsyncResult:
        frame = worker_frame()
        if frame is not None and options.get("add_to_parent", True):
            frame[0].add_trail(result)
        return result

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        """A signature for this app."""
        kwargs["app"] = self
        return canvas.signature(*args, **kwargs)

    subtask = signature

    @property
    def canvas(self) -> Any:
        """The module of the canvas."""
        return canvas

    @functools.cached_property
    def amqp(self) -> Amqp:
        """Queues and routes."""
        amqp: Amqp = self.amqp_cls(self)
        return amqp

    def select_queues(self, queues: Any = None) -> None:
        """Have a worker of this app serve these queues only."""
        self.amqp.queues.select(queues)

    @functools.cached_property
    def AsyncResult(self) -> Any:
        """`AsyncResult` for this app's tasks."""
        return self.subclass_with_self(results.AsyncResult)

    @functools.cached_property
    def ResultSet(self) -> Any:
        return self.subclass_with_self(result_sets.ResultSet)

    @functools.cached_property
    def GroupResult(self) -> Any:
        return self.subclass_with_self(result_sets.GroupResult)

    # --- configuration -------------------------------------------------------------------------------

    @property
    def namespace(self) -> str | None:
        return self.conf.namespace or None

    def _about_to_configure(self) -> None:
        if isinstance(self.on_configure, signals.Signal):
            self.on_configure.send(sender=self)
        else:
            self.on_configure()

    def _has_configured(self) -> None:
        self._keep_early_periodic()
        self.on_after_configure.send(sender=self, source=self.conf)

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Take the configuration from a module, an object, a dict, or the dotted name of one."""
        self.conf.config_from_object(obj, silent=silent, force=force, namespace=namespace)

    def config_from_envvar(self, variable_name: str, silent: bool = False, force: bool = False) -> bool:
        """Take it from the module that an environment variable names."""
        return self.conf.config_from_envvar(variable_name, silent=silent, force=force)

    def config_from_cmdline(self, argv: Sequence[str], namespace: str = "celery") -> None:
        """Take settings as Celery's commands do: `worker.concurrency=2`; `.x=1` is a setting of the namespace."""
        self.conf.update(from_words(argv, namespace))

    def prepare_config(self, c: Mapping[str, Any]) -> Mapping[str, Any]:
        """For subclasses: given what the configuration object holds, gives what is taken of it."""
        return c

    def add_defaults(self, fun: Any) -> None:
        """Add defaults: a mapping, or a function that gives one when settings are first read."""
        self.conf.add_defaults(fun)

    def either(self, default_key: str, *defaults: Any) -> Any:
        """The first of `defaults` that is not None, else the setting."""
        return next((value for value in defaults if value is not None), self.conf.get(default_key))

    @property
    def timezone(self) -> datetime.tzinfo:
        """The application's time zone."""
        return self.naive_zone or datetime.timezone.utc

    @property
    def naive_zone(self) -> datetime.tzinfo | None:
        """What a time without a zone means: `timezone`, if the application sets it."""
        name = self.conf["timezone"]
        if name is None or isinstance(name, datetime.tzinfo):
            return name
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ImproperlyConfigured(f"timezone = {name!r} is no time zone; write one like Europe/Paris") from None

    def uses_utc_timezone(self) -> bool:
        return self.timezone.utcoffset(None) == datetime.timedelta(0) or str(self.timezone) == "UTC"

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(self.timezone)

    # --- the way to the server -----------------------------------------------------------------------

    def enlist(self, message: Unit, transaction_manager: Any = None) -> None:
        """Send a message or a canvas with the current transaction's commit, or now if there is none."""
        self._sending.enlist(message, transaction_manager)

    @property
    def outbox(self) -> Outbox | None:
        """What keeps messages between commit and dispatch, if `ptemporal.outbox` asks for it."""
        if self.conf["ptemporal.outbox"] is None:
            return None
        with self._lock:
            if self._outbox is None:
                from ..outbox.writer import Outbox  # SQLAlchemy: only for applications that have an outbox

                self._outbox = Outbox(self)
            return self._outbox

    @property
    def temporal(self) -> Connection:
        """This process's connection to the Temporal server; it connects when it is first used."""
        with self._lock:
            if self._connection is None:
                from ..client.connection import Connection  # the client library: 0.4 s, for who sends or asks
                from ..payload.converter import data_converter
                from ..settings import connection

                self._connection = Connection(connection(self.conf), lambda: data_converter(self.codecs()))
            return self._connection

    @property
    def dispatcher(self) -> Dispatcher:
        connection = self.temporal
        with self._lock:
            if self._dispatcher is None:
                from ..enlist.dispatcher import Dispatcher  # the client library, as above

                self._dispatcher = Dispatcher(
                    connection,
                    timeout=self.conf["ptemporal.dispatch_timeout"],
                    wait=self.conf["ptemporal.dispatch"] == "wait",
                    on_started=after_publish,
                )
            return self._dispatcher

    def codecs(self) -> Sequence[Codec]:
        """What payloads pass through on their way: encryption, if keys are set."""
        keys, required = self.conf["ptemporal.encryption_keys"], self.conf["ptemporal.encryption_required"]
        if not keys and not required:
            return []
        return [Encryption(parse_keys(",".join(keys)), required)]

    def setup_security(
        self,
        allowed_serializers: Any = None,
        key: str | None = None,
        key_password: bytes | None = None,
        cert: str | None = None,
        store: str | None = None,
        digest: str | None = None,
        serializer: str = "json",
    ) -> None:
        """Sign messages, and read only signed ones: the serialiser `auth`."""
        setup_security(self, allowed_serializers, key, key_password, cert, store, digest, serializer)

    def close(self) -> None:
        """Let go of the server. The next call connects again, with the settings of then."""
        with self._lock:
            connection, self._connection, self._dispatcher = self._connection, None, None
            outbox, self._outbox = self._outbox, None
        if connection is not None:
            connection.close()
        if outbox is not None:
            outbox.close()

    def __enter__(self) -> Celery:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- the object ----------------------------------------------------------------------------------

    @functools.cached_property
    def oid(self) -> str:
        """This app in this process."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{uuid.getnode():x}-{os.getpid()}-{id(self):x}"))

    @property
    def thread_oid(self) -> str:
        """This app in this thread."""
        return str(uuid.uuid5(uuid.UUID(self.oid), str(threading.get_ident())))

    def subclass_with_self(
        self,
        Class: Any,
        name: str | None = None,
        attribute: str = "app",
        reverse: str | None = None,
        keep_reduce: bool = False,
        **kw: Any,
    ) -> Any:
        """A subclass of `Class` whose attribute `attribute` is this app."""
        return type(name or Class.__name__, (Class,), {attribute: self, "__module__": Class.__module__, **kw})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'} at {id(self):#x}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (type(self), self.__reduce_keys__())

    def __reduce_keys__(self) -> dict[str, Any]:
        """The arguments that make this app again."""
        source, silent, namespace = self._rest
        return {
            "main": self.main,
            "changes": dict(self.conf.changes),
            "config_source": source,
            "config_source_silent": silent,
            "namespace": namespace,
            "task_cls": self.task_cls,
        }


set_app_class(Celery)

LOCAL = ("link", "link_error", "throw")
"""Options that an eager run has of its own: no message carries them."""


def _unpickle(cls: type[Celery], arguments: dict[str, Any]) -> Celery:
    return cls(**{**arguments, "set_as_current": False})


def _class(cls: type[BaseTask] | str) -> type[BaseTask]:
    from ..settings.config_objects import import_object  # only for a class that is named by a text

    found: type[BaseTask] = import_object(cls) if isinstance(cls, str) else cls
    return found


def _module_names(include: Iterable[str] | str | None) -> list[str] | None:
    if include is None:
        return None
    return [include] if isinstance(include, str) else list(include)
