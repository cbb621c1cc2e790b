"""Signals: an application's functions, called at the moments and with the arguments that Celery documents.

A receiver that raises is logged and passed over: it can't change what becomes of the task.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from .exceptions import CDeprecationWarning

log = logging.getLogger(__name__)

Receiver = Callable[..., Any]

RETRY_PAUSES = (2.0, 4.0, 6.0, 8.0)
LONGEST_RETRY_PAUSE = 10.0


class Signal:
    """A moment at which the connected receivers are called."""

    def __init__(self, providing_args: Iterable[str] | None = None, use_caching: bool = False, name: str = "") -> None:
        self.name = name
        self.providing_args = set(providing_args or ())
        self.receivers: list[tuple[Hashable, Any]] = []
        self._lock = threading.Lock()

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect a function, or decorate one: `connect(receiver)`, `@connect`, `@connect(sender=task)`."""
        if args and callable(args[0]):
            return self._connect(args[0], *args[1:], **kwargs)
        return lambda receiver: self._connect(receiver, *args, **kwargs)

    def _connect(
        self,
        receiver: Receiver,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
        retry: bool = False,
    ) -> Receiver:
        if not _takes_keywords(receiver):
            raise ValueError(f"the receiver {receiver!r} of signal {self.name!r} must take **kwargs: signals may grow")
        key = _key(receiver, sender, dispatch_uid)
        kept: Any = receiver
        if retry:
            kept = _Retrying(receiver)
        elif weak:
            kept = weakref.WeakMethod(receiver) if inspect.ismethod(receiver) else weakref.ref(receiver)
        with self._lock:
            alive = [entry for entry in self.receivers if _resolve(entry[1]) is not None]
            if all(entry[0] != key for entry in alive):
                alive.append((key, kept))
            self.receivers = alive
        return receiver

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: Any = None,
        weak: bool | None = None,
        dispatch_uid: Hashable | None = None,
    ) -> bool:
        """Disconnect a receiver. Return whether it was connected."""
        if weak is not None:
            warnings.warn(CDeprecationWarning("disconnect() needs no `weak`"), stacklevel=2)
        key = _key(receiver, sender, dispatch_uid)
        with self._lock:
            kept = [entry for entry in self.receivers if entry[0] != key]
            found = len(kept) < len(self.receivers)
            self.receivers = kept
        return found

    def has_listeners(self, sender: Any = None) -> bool:
        return bool(self._live(sender))

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call the receivers. Return each receiver with its result, or with the exception that it raised."""
        if not self.receivers:
            return []
        responses: list[tuple[Receiver, Any]] = []
        for receiver in self._live(sender):
            try:
                responses.append((receiver, receiver(signal=self, sender=sender, **named)))
            except Exception as error:
                log.exception("the receiver %r of signal %s raised", receiver, self.name)
                responses.append((receiver, error))
        return responses

    send_robust = send

    def _live(self, sender: Any) -> list[Receiver]:
        wanted = (_identity(None), _identity(sender))
        found = (_resolve(kept) for key, kept in list(self.receivers) if key[1] in wanted)  # type: ignore[index]
        return [receiver for receiver in found if receiver is not None]

    def __repr__(self) -> str:
        return f"<Signal: {self.name} providing_args={self.providing_args!r}>"


class _Retrying:
    """Calls a receiver again until it raises no exception."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def __call__(self, **named: Any) -> Any:
        pauses = iter(RETRY_PAUSES)
        while True:
            try:
                return self._receiver(**named)
            except Exception as error:
                pause = next(pauses, LONGEST_RETRY_PAUSE)
                log.error("the receiver %r raised %r; again in %g s", self._receiver, error, pause)
                time.sleep(pause)


def _takes_keywords(receiver: Receiver) -> bool:
    parameters = inspect.signature(receiver).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _key(receiver: Any, sender: Any, dispatch_uid: Hashable | None) -> Hashable:
    return (dispatch_uid or _identity(receiver), _identity(sender))


def _identity(target: Any) -> Hashable:
    """Return the key of a receiver or a sender. The senders of publish signals are texts, and a text is its own key."""
    if isinstance(target, (str, bytes)):
        return target
    if inspect.ismethod(target):
        return (id(target.__self__), id(target.__func__))
    return id(target)


def _resolve(kept: Any) -> Receiver | None:
    receiver: Receiver | None = kept() if isinstance(kept, weakref.ReferenceType) else kept
    return receiver


def _signal(name: str, *providing: str) -> Signal:
    return Signal(providing, name=name)


# Calling
before_task_publish = _signal(
    "before_task_publish", "body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"
)
after_task_publish = _signal("after_task_publish", "body", "exchange", "routing_key")
task_sent = _signal("task_sent", "task_id", "task", "args", "kwargs", "eta", "taskset")

# Running
task_received = _signal("task_received", "request")
task_prerun = _signal("task_prerun", "task_id", "task", "args", "kwargs")
task_postrun = _signal("task_postrun", "task_id", "task", "args", "kwargs", "retval")
task_success = _signal("task_success", "result")
task_retry = _signal("task_retry", "request", "reason", "einfo")
task_failure = _signal("task_failure", "task_id", "exception", "args", "kwargs", "traceback", "einfo")
task_internal_error = _signal(
    "task_internal_error", "task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"
)
task_revoked = _signal("task_revoked", "request", "terminated", "signum", "expired")
task_rejected = _signal("task_rejected", "message", "exc")
task_unknown = _signal("task_unknown", "message", "exc", "name", "id")

# The worker
celeryd_init = _signal("celeryd_init", "instance", "conf", "options")
celeryd_after_setup = _signal("celeryd_after_setup", "instance", "conf")
import_modules = _signal("import_modules")
worker_init = _signal("worker_init")
worker_before_create_process = _signal("worker_before_create_process")
worker_process_init = _signal("worker_process_init")
worker_process_shutdown = _signal("worker_process_shutdown")
worker_ready = _signal("worker_ready")
worker_shutdown = _signal("worker_shutdown")
worker_shutting_down = _signal("worker_shutting_down")
heartbeat_sent = _signal("heartbeat_sent")

# Logging
setup_logging = _signal("setup_logging", "loglevel", "logfile", "format", "colorize")
after_setup_logger = _signal("after_setup_logger", "logger", "loglevel", "logfile", "format", "colorize")
after_setup_task_logger = _signal("after_setup_task_logger", "logger", "loglevel", "logfile", "format", "colorize")

# Schedules
beat_init = _signal("beat_init")
beat_embedded_init = _signal("beat_embedded_init")

# Commands
user_preload_options = _signal("user_preload_options", "app", "options")

# Pools that are refused never reach these moments; a handler may still be connected.
eventlet_pool_started = _signal("eventlet_pool_started")
eventlet_pool_preshutdown = _signal("eventlet_pool_preshutdown")
eventlet_pool_postshutdown = _signal("eventlet_pool_postshutdown")
eventlet_pool_apply = _signal("eventlet_pool_apply", "target", "args", "kwargs")
