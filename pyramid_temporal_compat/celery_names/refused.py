"""The public names of Celery that are refused here, with the reason and what to use instead.

A refused name can be imported, used in annotations and `isinstance`, and subclassed, so that a module that only
mentions it still loads. Any use raises `Unsupported` with the sentence of the name: a call, an instance of a subclass,
an attribute, an item, a `with`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NoReturn

from .. import settings
from ..exceptions import CeleryError


class Unsupported(CeleryError, AttributeError):
    """A Celery name that is refused here was used; the message says why, and what to use instead."""


NO_BROKER = (
    "There is no broker: the Temporal server takes the tasks. Send with task.apply_async() or app.send_task(). To see "
    "whether a worker answers, use app.control.ping(). If the application sends messages of its own through a broker, "
    "keep the real kombu for them: install_as_celery(kombu=False)."
)
NO_TRANSPORT = (
    "Tasks travel through the Temporal server only: set ptemporal.address. There is no transport to add or to choose. "
    "If the application sends messages of its own, keep the real kombu for them: install_as_celery(kombu=False)."
)
NO_BACKEND = (
    "Temporal keeps the results, in each task's workflow: read them with AsyncResult; there is no store to choose."
)
NO_CONSUMER = (
    "A worker here is a Temporal worker, without Celery's boot steps. Use the worker_* signals to run code when a "
    "worker starts and stops, and the task signals or a Task base class to run code around each task."
)
NO_POOL_CLASSES = "The pools are prefork, threads and solo, by these names (`worker -P`): there is no class to replace."
NO_SCHEDULER = (
    "The server keeps the schedules and starts the tasks, so there is no scheduler: `ptemporal-compat beat` copies "
    "beat_schedule to the server, and ptemporal.schedules names a callable that reads entries from a database."
)
NO_LAZY_ARGUMENTS = (
    "The server holds the arguments of a periodic task, and sends the same ones each time. Compute them in the task."
)
NO_DEFAULTS = "pyramid_temporal_compat.settings.SETTINGS declares each setting once, with type, default and old names."
NO_EVENTS = (
    "The server keeps what happens to every task as history: see its web UI, app.control.inspect(), or the signals."
)
NO_LOADER = "There is no loader: the app reads its settings itself, from config_from_object() or the ini."
NO_TRACE = "Tasks are not run by Celery's tracer: use the task signals, or a Task class's hooks, such as on_failure()."
NO_APP_TRACE = "The use of the default app is not traced. Pass an app explicitly: app_or_default(app) then returns it."
NO_PICKLER = "An app pickles itself. A subclass of Celery adds its own attributes in __reduce_keys__()."
NO_REQUEST_CLASS = (
    "No Request object is made from a message. Move the code of its on_timeout and on_failure into the Task class's "
    "on_failure(), or into a receiver of task_failure."
)
NO_WORKER_STATE = (
    "The state of a worker can't be read from outside. Ask with app.control.inspect().active(), reserved() or stats()."
)
NO_ROUTER = "Routes are read from task_routes when a task is called: write a route function, a glob or a name there."
NO_PLATFORM = "Leave daemons, pid files and users to what runs the process: systemd, supervisor, a container."
NO_COMMAND_CLASSES = (
    "The commands are those of `ptemporal-compat`, made with click: start one with app.start(argv) or "
    "app.worker_main(argv)."
)
NO_SIGNING_CLASSES = "Call app.setup_security() to sign messages, or set ptemporal.encryption_keys to encrypt them."
NO_DJANGO = "This package is for Pyramid: a task that is called in a transaction starts when that commits, by itself."
NO_DEBUGGER = "A debugger needs the task's process for itself: run the worker with `-P solo` and use breakpoint()."
NOT_AN_INTERFACE = (
    "This is an internal helper of Celery, which its documentation does not offer to applications. "
    "Use Python's library instead."
)
NO_BROADCAST = (
    "A task here runs once, on one worker, so a queue can't reach all workers. Write a command of your own with "
    "celery.worker.control.control_command, and call app.control.broadcast()."
)

NAMES: dict[str, str] = {
    "celery.app.AppPickler": NO_PICKLER,
    "celery.app.disable_trace": NO_APP_TRACE,
    "celery.app.enable_trace": NO_APP_TRACE,
    "celery.beat.BeatLazyFunc": NO_LAZY_ARGUMENTS,
    "celery.beat.BeatPidbox": NO_SCHEDULER,
    "celery.beat.EmbeddedService": NO_SCHEDULER,
    "celery.messaging.TaskConsumer": NO_BROKER,
    "celery.messaging.establish_connection": NO_BROKER,
    "celery.messaging.get_consumer_set": NO_BROKER,
    "celery.worker.WorkController": NO_CONSUMER,
    "kombu.BrokerConnection": NO_BROKER,
    "kombu.Connection": NO_BROKER,
    "kombu.Consumer": NO_BROKER,
    "kombu.Message": NO_BROKER,
    "kombu.Producer": NO_BROKER,
    "kombu.connections": NO_BROKER,
    "kombu.eventloop": NO_BROKER,
    "kombu.producers": NO_BROKER,
    "kombu.common.Broadcast": NO_BROADCAST,
    "kombu.common.eventloop": NO_BROKER,
}

# Modules that are refused with all modules below them, except for names that `name_table.MODULES` has.
MODULES: dict[str, str] = {
    "celery.app.amqp": NO_ROUTER,
    "celery.app.autoretry": NO_TRACE,
    "celery.app.backends": NO_BACKEND,
    "celery.app.defaults": NO_DEFAULTS,
    "celery.app.builtins": NO_TRACE,
    "celery.app.events": NO_EVENTS,
    "celery.app.routes": NO_ROUTER,
    "celery.app.trace": NO_TRACE,
    "celery.apps": NO_COMMAND_CLASSES,
    "celery.backends": NO_BACKEND,
    "celery.bin": NO_COMMAND_CLASSES,
    "celery.bootsteps": NO_CONSUMER,
    "celery.concurrency": NO_POOL_CLASSES,
    "celery.contrib.django": NO_DJANGO,
    "celery.contrib.migrate": NO_BROKER,
    "celery.contrib.rdb": NO_DEBUGGER,
    "celery.events": NO_EVENTS,
    "celery.fixups": NO_DJANGO,
    "celery.loaders": NO_LOADER,
    "celery.platforms": NO_PLATFORM,
    "celery.security": NO_SIGNING_CLASSES,
    "celery.utils": NOT_AN_INTERFACE,
    "celery.worker.autoscale": settings.SETTINGS["worker_autoscaler"].sentence,
    "celery.worker.components": NO_CONSUMER,
    "celery.worker.consumer": NO_CONSUMER,
    "celery.worker.request": NO_REQUEST_CLASS,
    "celery.worker.state": NO_WORKER_STATE,
    "celery.worker.strategy": NO_CONSUMER,
    "kombu.asynchronous": NO_TRANSPORT,
    "kombu.connection": NO_BROKER,
    "kombu.message": NO_BROKER,
    "kombu.messaging": NO_BROKER,
    "kombu.mixins": NO_BROKER,
    "kombu.pidbox": NO_BROKER,
    "kombu.pools": NO_BROKER,
    "kombu.simple": NO_BROKER,
    "kombu.transport": NO_TRANSPORT,
    "kombu.utils": NOT_AN_INTERFACE,
}


NO_STEPS = (
    "Celery's worker sends a chain step by step, so it prepares the steps. Here a chain is sent as one. freeze() "
    "returns the ids of its results, and unchain_tasks() its steps."
)
NO_CHECKER = (
    "A call is checked against the task function's own signature. typing=False in the decorator turns this off."
)
NO_EVENT_OF_A_TASK = (
    "No events are sent: tell how far a task is with self.update_state(), which AsyncResult.state and .info show."
)

OF_TASKS = {
    "Request": NO_REQUEST_CLASS,
    "Strategy": NO_CONSUMER,
    "send_event": NO_EVENT_OF_A_TASK,
    "start_strategy": NO_CONSUMER,
}
MEMBERS: dict[str, str] = {
    "celery.Celery.Beat": NO_SCHEDULER,
    "celery.Celery.Pickler": NO_PICKLER,
    "celery.Celery.events": NO_EVENTS,
    "celery.Celery.events_cls": NO_EVENTS,
    "celery.Celery.type_checker": NO_CHECKER,
    "celery.canvas.chain.prepare_steps": NO_STEPS,
    **{
        f"{task}.{name}": sentence
        for task in ("celery.Task", "celery.app.task.Task", "celery.contrib.abortable.AbortableTask")
        for name, sentence in OF_TASKS.items()
    },
}
"""Refused members of classes that exist here. `refused_members.py` has the objects that stand for them."""


def is_module(name: str) -> bool:
    """Return whether the whole module is refused."""
    return _covering(name) is not None


def sentence_of(dotted: str) -> str | None:
    """Return the sentence that says why a name is refused; None if it is not refused."""
    return NAMES.get(dotted) or _covering(dotted)


def _covering(dotted: str) -> str | None:
    parts = dotted.split(".")
    return next((found for end in range(len(parts), 1, -1) if (found := MODULES.get(".".join(parts[:end])))), None)


# --- the objects that stand for refused names ------------------------------------------------------


class RefusedName(type):
    """The metaclass of refused names. They are classes, because annotations and isinstance() need a class."""

    __refused__: str
    __sentence__: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        _refuse(cls)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # inspect, venusian and copy read such attributes of any object
            raise AttributeError(name)
        _refuse(cls)

    def __getitem__(cls, key: Any) -> Any:
        _refuse(cls)

    def __iter__(cls) -> Iterator[Any]:
        _refuse(cls)

    def __enter__(cls) -> Any:
        _refuse(cls)

    def __exit__(cls, *error: object) -> None:
        _refuse(cls)

    def __repr__(cls) -> str:
        return f"<refused {cls.__module__}.{cls.__qualname__}>"


def take_headers(producer: Any, body: Any, headers: Any = None, **options: Any) -> None:
    """Keep the headers with which a message of a task leaves, for the code that publishes it."""
    producer.headers = headers


def receive_nothing(consumer: Any, message: Any) -> None:
    """Stand for the method of kombu's consumer that gets a message. It is never called."""


WATCHED: dict[str, dict[str, Any]] = {
    "kombu.Producer": {"publish": take_headers},
    "kombu.messaging.Consumer": {"_receive_callback": receive_nothing},
}
"""Methods that monitoring tools wrap when they start. `producer.py` calls the first for the messages of tasks."""


@functools.cache
def placeholder(dotted: str, sentence: str) -> RefusedName:
    """Return the object that stands for a refused name."""
    module, _, name = dotted.rpartition(".")
    about: dict[str, Any] = {"__module__": module, "__refused__": dotted, "__sentence__": sentence, "__doc__": sentence}
    about |= WATCHED.get(dotted, {})
    return RefusedName(name, (), about)


def _refuse(cls: RefusedName) -> NoReturn:
    name = f"{cls.__module__}.{cls.__qualname__}"
    subject = name if name == cls.__refused__ else f"{name} derives from {cls.__refused__}, which"
    raise Unsupported(f"{subject} is refused here. {cls.__sentence__}")
