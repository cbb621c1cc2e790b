"""The app, `Celery("shop")`: it makes tasks, calls them, and holds the connection to the server."""

from __future__ import annotations

import functools
import os
import platform
import sys
import threading
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Literal, overload

from .. import canvas, signals
from ..as_celery.backend import Backend
from ..as_celery.bugreport import bugreport
from ..as_celery.connections import ConnectionMethods
from ..canvas import builtin
from ..canvas.planner import Lineage, Planner, as_unit
from ..canvas.tree_ids import Ids
from ..celery_names.refused import NO_EVENTS, Unsupported
from ..celery_names.refused_members import RefusedOfApps
from ..context import current_frame, worker_frame
from ..control import Control
from ..current import APP_KEY, apps, set_app_class, set_current_app, set_default_app
from ..enlist.publish_signals import after_publish, before_publish
from ..enlist.publish_signals import is_watched as publishing_is_watched
from ..exceptions import AlwaysEagerIgnored
from ..interfaces import P, R
from ..log import Logging
from ..message.ids import new_id
from ..message.lane import WORKFLOW, lane_of_call
from ..message.nodes import TaskNode
from ..message.outgoing import Outgoing
from ..payload.codecs import Encryption, parse_keys
from ..payload.trace_carrier import trace_carrier
from ..results import result as results
from ..results import result_sets
from ..security import setup_security
from ..settings import Settings
from ..task.call_options import make_message
from ..task.routing import Amqp
from ..task.task import Task as BaseTask
from ..task.task_annotations import annotate, prepare_annotations
from ..task.task_from_function import task_from_function
from .app_classes import class_for
from .commands import Commands
from .configuration import Configuration
from .loading import Loader, resolve_packages
from .message_sender import MessageSender
from .registry import TaskRegistry, warn_of_duplicate
from .shared import SharedTask, decorate, shared_tasks, task_name

if TYPE_CHECKING:
    from ..client.client_options import ClientOptions
    from ..client.connection import Connection
    from ..client.lane_choice import LaneChoice
    from ..enlist.dispatcher import Dispatcher
    from ..interfaces import NativeWork
    from ..message.message import Message
    from ..outbox.writer import Outbox
    from ..payload.codecs import Codec
    from ..results.eager_result import EagerResult
    from ..results.old_results import OldResults
    from ..results.result import AsyncResult
    from ..switch.route import Switch
    from ..task.eager import EagerDispatch

__all__ = ["APP_KEY", "Celery"]


class Celery(Commands, Configuration, ConnectionMethods, RefusedOfApps):
    """An application: its tasks, its configuration, and its connection to the Temporal server."""

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
        self.loader_cls = class_for("loader_cls", loader or os.environ.get("CELERY_LOADER") or self.loader_cls, Loader)
        self.amqp_cls = class_for("amqp_cls", amqp or self.amqp_cls, Amqp)
        self.log_cls = class_for("log_cls", log or self.log_cls, Logging)
        self.control_cls = class_for("control_cls", control or self.control_cls, Control)
        self.backend_cls = class_for("backend_cls", self.backend_cls, Backend)
        self.main = main
        self.set_as_current = set_as_current
        self.autofinalize = autofinalize
        self.strict_typing = strict_typing
        self.finalized = False
        self.user_options: dict[str, set[Any]] = defaultdict(set)
        self.steps: dict[str, set[Any]] = {"worker": set(), "consumer": set()}
        self.fixups = set(fixups or ())
        self.registry: Any = None
        """The Pyramid registry. The request of each task is made from it."""
        self.native: NativeWork | None = None
        """The workflows and activities that a worker serves beside tasks."""
        if task_cls is not None:
            self.task_cls = _task_class(task_cls)
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
        self._lane_choice: LaneChoice | None = None
        self._sender = MessageSender(self)
        self._outbox: Outbox | None = None
        self._switch: Switch | None = None
        self._old_results: OldResults | None = None
        self._config_arguments = (config_source, config_source_silent, namespace)
        apps.add(self)
        if set_as_current:
            self.set_current()
        self.on_init()

    def on_init(self) -> None:
        """Do nothing. A subclass may override this: the app calls it at the end of `__init__`."""

    # --- being current -------------------------------------------------------------------------------

    def set_current(self) -> None:
        """Make this the current app."""
        set_current_app(self)

    def set_default(self) -> None:
        """Make this the current app of every thread that has not set its own."""
        set_default_app(self)

    # --- tasks ---------------------------------------------------------------------------------------

    @functools.cached_property
    def Task(self) -> type[BaseTask]:
        """Return the base class of this app's tasks."""
        return self.create_task_cls()

    def create_task_cls(self) -> type[BaseTask]:
        """Make the base class of this app's tasks: `task_cls`, bound to this app."""
        cls = _task_class(self.task_cls)
        return cls if cls is BaseTask else type("Task", (cls,), {"_app": self, "abstract": True})

    @property
    def tasks(self) -> TaskRegistry:
        """Return this app's tasks by name. The first use finalizes the app."""
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
        """Make a task of this app. If the name is taken, warn, and return the task that has the name."""
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
        """Make one of the tasks that every app has, such as `celery.chunks`."""
        return task_from_function(function, name, self, {"bind": bind, "typing": False, "ignore_result": False})

    def register_task(self, task: BaseTask | type[BaseTask], **options: Any) -> BaseTask:
        """Add a task that is written as a class, and return it."""
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
        """Return the name of a task that is given none."""
        return task_name(self.main, name, module)

    def adopt(self, shared: SharedTask) -> None:
        """Add a shared task to this app, unless the app has a task of that name."""
        name = str(shared.task.name)
        if name not in self._tasks:
            task = shared.for_app(self)
            self._tasks[name] = task
            self._bind(task)

    def finalize(self, auto: bool = False) -> None:
        """Add the built-in and the shared tasks, and apply `task_annotations` to every task. Done once."""
        with self._lock:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError(
                    f"{self!r} was made with autofinalize=False; call its finalize() before using its tasks"
                )
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
        """Return the setting `task_annotations` as a tuple of mappings and objects."""
        return prepare_annotations(self.conf["task_annotations"])

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> Any:
        """Import the module `related_name` of each package when a worker loads its tasks; with `force`, now."""
        if force:
            return self.loader.autodiscover_tasks(resolve_packages(packages), related_name)

        def discover(**kwargs: Any) -> Any:
            return self.loader.autodiscover_tasks(resolve_packages(packages), related_name)

        signals.import_modules.connect(discover, sender=self, weak=False)
        return None

    @functools.cached_property
    def backend(self) -> Backend:
        """Return an object with the methods of Celery's result backends. It reads task states from the server."""
        backend: Backend = self.backend_cls(self)
        return backend

    @functools.cached_property
    def control(self) -> Control:
        """Return what commands and inspects running workers: `app.control.revoke(…)`, `app.control.inspect()`."""
        control: Control = self.control_cls(self)
        return control

    @functools.cached_property
    def log(self) -> Logging:
        """Return what sets up logging as Celery does."""
        log: Logging = self.log_cls(self)
        return log

    def bugreport(self) -> str:
        """Return the text for a bug report: versions, and every setting that is not the default. Secrets are masked."""
        return bugreport(self)

    @functools.cached_property
    def loader(self) -> Loader:
        """Return the object that imports the modules with tasks."""
        loader: Loader = self.loader_cls(self)
        return loader

    @property
    def current_task(self) -> BaseTask | None:
        """Return the task that runs here, even if it was called directly."""
        frame = current_frame()
        return frame[0] if frame else None

    @property
    def current_worker_task(self) -> BaseTask | None:
        """Return the task that the worker started here, even while that task calls another one directly."""
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
        """Send a call of the task of this name. The task need not be registered in this process."""
        task = task_type or self._tasks.get(str(name))
        if self.conf["task_always_eager"]:
            warnings.warn(AlwaysEagerIgnored("task_always_eager has no effect on send_task"), stacklevel=2)
        message = self._enlist_call(
            str(name), tuple(args or ()), dict(kwargs or {}), options, task, transaction_manager
        )
        result = (result_cls or self.AsyncResult)(message.id, task_name=message.task)
        return self._add_to_trail(result, options)

    def call(self, task: BaseTask, args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult:
        """Send a call whose arguments `task.apply_async` has checked. With `task_always_eager`, run it."""
        manager = options.pop("transaction_manager", None)
        if self.conf["task_always_eager"]:
            local: dict[str, Any] = {key: options.pop(key) for key in EAGER_OPTIONS if key in options}
            message, _, _ = self.message(task.name, args, kwargs, options, task)
            return self._add_to_trail(self.eager.call(message, local, manager), options)
        message = self._enlist_call(task.name, args, kwargs, options, task, manager)
        result = task.AsyncResult(message.id)
        result.ignored = bool(message.ignore_result)
        return self._add_to_trail(result, options)

    async def execute_in_workflow(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Run the task of this name as an activity of the workflow that calls this."""
        from .tasks_in_workflows import run_in_workflow  # the client library, as for `temporal`

        return await run_in_workflow(self, name, args, kwargs, options, self._tasks.get(name))

    def apply(self, *call: Any) -> EagerResult:
        """Run a task here and now, for `task.apply`, which has checked the arguments."""
        from ..task.eager import apply_now  # imports Pyramid and SQLAlchemy: 0.5 s

        return apply_now(*call)

    def call_canvas_eagerly(self, signature: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
        """Run a canvas in this process: its `apply_async` calls this under `task_always_eager`."""
        return self.eager.call_canvas(signature, args, kwargs, dict(options))

    def _enlist_call(
        self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task: BaseTask | None, manager: Any
    ) -> Message:
        """Enlist the message of a single task, together with its callbacks and error callbacks."""
        message, links, errbacks = self.message(
            name, args, kwargs, options, task, lambda queue: self._sender.id_for(queue, manager)
        )
        if not links and not errbacks:
            self.enlist(self._in_lane(message, options, task), manager)
        else:
            planner, follows = Planner(self, Ids(message.id)), Lineage().after(message)
            planner.ids.claim()
            node = TaskNode(
                message, links=planner.callbacks(links, follows), errbacks=planner.linked(errbacks, follows)
            )
            self.enlist(as_unit(node, self), manager)
        return message

    def _in_lane(self, message: Message, options: Mapping[str, Any], task: BaseTask | None) -> Message:
        """Return the message of a single task with the lane that the task asks for and the call allows."""
        own = None if task is None else task.own("lane")
        asked = self.conf["ptemporal.lane"] if own is None else own
        if asked == WORKFLOW:
            return message
        lane = lane_of_call(
            message.task,
            asked,
            id_is_new=options.get("task_id") is None,
            needs_workflow=task is not None and task.needs_workflow,
            at_most_once=message.at_most_once,
        )
        return message.copy(lane=lane)

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
        if task is not None:
            options = {**task.own_options(), **options}
        message = make_message(self, name, args, kwargs, options, task, id_for)
        if self.conf["ptemporal.tracing"] != "off":
            message = message.copy(headers={**trace_carrier(), **message.headers})
        if publishing_is_watched():
            message = before_publish(message, args, kwargs)
        return message, links, errbacks

    @functools.cached_property
    def eager(self) -> EagerDispatch:
        """Return the stand-in for the server under `task_always_eager`."""
        from ..task.eager import EagerDispatch  # imports Pyramid and SQLAlchemy: 0.5 s, for tests only

        return EagerDispatch(self)

    def _add_to_trail(self, result: AsyncResult, options: Mapping[str, Any]) -> AsyncResult:
        frame = worker_frame()
        if frame is not None and options.get("add_to_parent", True):
            frame[0].add_trail(result)
        return result

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        """Return a signature that belongs to this app."""
        kwargs["app"] = self
        return canvas.signature(*args, **kwargs)

    subtask = signature

    @property
    def canvas(self) -> Any:
        """Return the module with `chain`, `group` and `chord`."""
        return canvas

    @functools.cached_property
    def amqp(self) -> Amqp:
        """Return the queues and the routes that the settings declare."""
        amqp: Amqp = self.amqp_cls(self)
        return amqp

    def select_queues(self, queues: Any = None) -> None:
        """Let a worker of this app serve only these queues."""
        self.amqp.queues.select(queues)

    @functools.cached_property
    def AsyncResult(self) -> Any:
        """Return `AsyncResult`, bound to this app."""
        return self.subclass_with_self(results.AsyncResult)

    @functools.cached_property
    def ResultSet(self) -> Any:
        """Return `ResultSet`, bound to this app."""
        return self.subclass_with_self(result_sets.ResultSet)

    @functools.cached_property
    def GroupResult(self) -> Any:
        """Return `GroupResult`, bound to this app."""
        return self.subclass_with_self(result_sets.GroupResult)

    # --- the connection to the server ----------------------------------------------------------------

    def enlist(self, message: Outgoing, transaction_manager: Any = None) -> None:
        """Send a message, a canvas or a workflow's call when the current transaction commits; without one, now."""
        self._sender.enlist(message, transaction_manager)

    @property
    def outbox(self) -> Outbox | None:
        """Return the writer of outbox rows; None if the setting `ptemporal.outbox` is not set."""
        if self.conf["ptemporal.outbox"] is None:
            return None
        with self._lock:
            if self._outbox is None:
                from ..outbox.writer import Outbox  # imports SQLAlchemy, for applications with an outbox only

                self._outbox = Outbox(self)
            return self._outbox

    @property
    def old_results(self) -> OldResults | None:
        """Return Celery's result backend, which is asked for old ids; None if it is not set."""
        url = self.conf["ptemporal.old_result_backend"]
        if url is None:
            return None
        with self._lock:
            if self._old_results is None:
                from ..results.old_results import OldResults  # the client library, as for `temporal`

                self._old_results = OldResults(url, self.conf["accept_content"])
            return self._old_results

    @property
    def switch(self) -> Switch | None:
        """Return what decides whether Temporal or Celery gets a call; None if `ptemporal.switch` is not set."""
        if self.conf["ptemporal.switch"] is None:
            return None
        with self._lock:
            if self._switch is None:
                from ..switch.route import Switch  # for applications that are being moved only

                self._switch = Switch(self)
            return self._switch

    @property
    def temporal(self) -> Connection:
        """Return this process's connection to the Temporal server. It connects on first use."""
        with self._lock:
            if self._connection is None:
                from ..client.connection import Connection  # imports the client library: 0.4 s
                from ..settings import connection

                self._connection = Connection(connection(self.conf), self.client_options)
            return self._connection

    @property
    def lane_choice(self) -> LaneChoice:
        """Return what knows whether the server takes tasks as standalone activities."""
        connection = self.temporal
        with self._lock:
            if self._lane_choice is None:
                from ..client.lane_choice import LaneChoice  # the client library, as above

                self._lane_choice = LaneChoice(connection)
            return self._lane_choice

    @property
    def dispatcher(self) -> Dispatcher:
        """Return what starts the workflows of messages on the server."""
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

    def client_options(self) -> ClientOptions:
        """Return what the application adds to temporalio's client and worker, by its settings and codecs."""
        from ..client.client_options import client_options  # the client library, as above

        return client_options(self.conf, self.codecs())

    def codecs(self) -> Sequence[Codec]:
        """Return the codecs of payloads: encryption, if keys are set."""
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
        """Sign messages, and read signed messages only, with the serialiser `auth`."""
        setup_security(self, allowed_serializers, key, key_password, cert, store, digest, serializer)

    def close(self) -> None:
        """Close the connection, the outbox and the switch. The next call reads the settings and opens them again."""
        with self._lock:
            connection, self._connection, self._dispatcher = self._connection, None, None
            self._lane_choice = None
            outbox, self._outbox = self._outbox, None
            switch, self._switch = self._switch, None
            self._old_results = None
        if switch is not None:
            switch.close()
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
        """Return an id of this app in this process."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{uuid.getnode():x}-{os.getpid()}-{id(self):x}"))

    @property
    def thread_oid(self) -> str:
        """Return an id of this app in this thread."""
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
        """Return a subclass of `Class` whose attribute `attribute` is this app."""
        return type(name or Class.__name__, (Class,), {attribute: self, "__module__": Class.__module__, **kw})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'} at {id(self):#x}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (type(self), self.__reduce_keys__())

    def __reduce_keys__(self) -> dict[str, Any]:
        """Return the arguments that make this app again when it is unpickled."""
        source, silent, namespace = self._config_arguments
        return {
            "main": self.main,
            "changes": dict(self.conf.changes),
            "config_source": source,
            "config_source_silent": silent,
            "namespace": namespace,
            "task_cls": self.task_cls,
        }


set_app_class(Celery)

EAGER_OPTIONS = ("link", "link_error", "throw")
"""Options that an eager run takes directly, because no message carries them."""


def _unpickle(cls: type[Celery], arguments: dict[str, Any]) -> Celery:
    return cls(**{**arguments, "set_as_current": False})


def _task_class(cls: type[BaseTask] | str) -> type[BaseTask]:
    from ..settings.config_objects import import_object  # only for a class that is given by its dotted name

    found: type[BaseTask] = import_object(cls) if isinstance(cls, str) else cls
    return found


def _module_names(include: Iterable[str] | str | None) -> list[str] | None:
    if include is None:
        return None
    return [include] if isinstance(include, str) else list(include)
