"""`app.control` and `app.control.inspect()`: what applications, scripts and consoles ask of running workers."""

from __future__ import annotations

import fnmatch
import re
import signal as signals
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ..exceptions import CeleryError, DuplicateNodenameWarning

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from .channel import Channel

Reply = dict[str, Any]
Callback = Callable[[Reply], object]

TIMEOUT = 1.0
"""Seconds that workers get to answer, where the caller sets none: Celery's default."""
NO_TIMEOUT = 10.0
"""What `timeout=None` stands for: an end all the same, for the sake of workers that died."""
MATCHERS: dict[str | None, Callable[[str, str], object]] = {
    None: fnmatch.fnmatch,
    "glob": fnmatch.fnmatch,
    "pcre": lambda name, pattern: re.match(pattern, name),
}

NO_EVENTS = (
    "Workers send no event messages: the server keeps what happens to every task; see its web UI, "
    "app.control.inspect(), or the task signals."
)
UNSUPPORTED: dict[str, str] = {
    "celery.app.control.Control.enable_events": NO_EVENTS,
    "celery.app.control.Control.disable_events": NO_EVENTS,
    "celery.app.control.Control.heartbeat": "Workers send no heartbeat events: app.control.ping() says who answers.",
    "celery.app.control.Control.election": (
        "Workers hold no elections: give the task a fixed task_id, and it is started once, however many ask for it."
    ),
    "celery.app.control.Control.pool_restart": (
        "Restart the worker: its tasks finish or run again elsewhere, and none is lost."
    ),
    "celery.app.control.Control.Mailbox": (
        "Requests travel over Temporal, not through kombu's mailboxes: use app.control.broadcast()."
    ),
    "celery.app.control.Inspect.objgraph": (
        "A worker draws no graphs: attach memray or py-spy to its process (app.control.inspect().stats() has the pid)."
    ),
}


class CommandRefused(CeleryError):
    """A control call that has no meaning on Temporal; the message says why, and what to use instead."""


def flatten_reply(reply: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`[{"a@host": x}, {"b@host": y}]` as one dict; warns of a node that answered twice."""
    nodes: dict[str, Any] = {}
    twice = set()
    for item in reply:
        twice |= nodes.keys() & item.keys()
        nodes.update(item)
    if twice:
        warnings.warn(
            DuplicateNodenameWarning(
                f"more than one worker answered as {', '.join(sorted(twice))}; give each a node name of its own (-n)"
            ),
            stacklevel=2,
        )
    return nodes


def matching(
    destination: str | Sequence[str] | None, pattern: str | None, matcher: str | None
) -> Callable[[str], bool]:
    """Which nodes a call is for."""
    if matcher not in MATCHERS:
        known = ", ".join(sorted(name for name in MATCHERS if name))
        raise ValueError(f"matcher={matcher!r} is not there; there are {known}")
    if destination is not None:
        if not isinstance(destination, (str, list, tuple, set, frozenset)):
            raise ValueError(f"destination={destination!r}; it takes a list of node names, such as ['w1@host']")
        chosen = {destination} if isinstance(destination, str) else set(destination)
        return lambda node: node in chosen
    if pattern is not None:
        match = MATCHERS[matcher]
        return lambda node: bool(match(node, pattern))
    return lambda node: True


class Inspect:
    """Questions to workers. Each method gives `{node: answer}`, or None if no worker answered."""

    app: AppLike | None = None

    def __init__(
        self,
        destination: str | Sequence[str] | None = None,
        timeout: float | None = TIMEOUT,
        callback: Callback | None = None,
        connection: Any = None,
        app: AppLike | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        self.app = app or self.app
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def _request(self, command: str, **arguments: Any) -> Any:
        if self.app is None:
            raise ValueError("Inspect() has no app to ask for; use app.control.inspect(), or Inspect(app=app)")
        replies = self.app.control.broadcast(
            command,
            arguments,
            destination=self.destination,
            reply=True,
            timeout=self.timeout,
            limit=self.limit,
            callback=self.callback,
            pattern=self.pattern,
            matcher=self.matcher,
        )
        if not replies:
            return None
        by_node = flatten_reply(replies)
        return by_node.get(self.destination) if isinstance(self.destination, str) else by_node

    def ping(self, destination: str | Sequence[str] | None = None) -> Any:
        """`{"ok": "pong"}` of each worker."""
        if destination:
            self.destination = destination
        return self._request("ping")

    def active(self, safe: bool | None = None) -> Any:
        """The tasks that run now; `safe`: their arguments as text, not rebuilt."""
        return self._request("active", safe=safe)

    def reserved(self, safe: bool | None = None) -> Any:
        """The tasks that a worker has taken and that wait for their turn in its pool."""
        return self._request("reserved", safe=safe)

    def scheduled(self, safe: bool | None = None) -> Any:
        """The tasks that wait for their eta, in the queues that a worker serves. The server holds them."""
        return self._request("scheduled", safe=safe)

    def registered(self, *taskinfoitems: str) -> Any:
        """The names of the tasks that a worker knows, with the attributes asked for."""
        return self._request("registered", taskinfoitems=list(taskinfoitems))

    registered_tasks = registered

    def stats(self) -> Any:
        return self._request("stats")

    def query_task(self, *ids: Any) -> Any:
        """What a worker knows of the tasks with these ids: `{id: [state, info]}`."""
        if len(ids) == 1 and isinstance(ids[0], (list, tuple)):
            ids = tuple(ids[0])
        return self._request("query_task", ids=list(ids))

    def revoked(self) -> Any:
        """The ids that a worker was told not to run."""
        return self._request("revoked")

    def active_queues(self) -> Any:
        """The queues that a worker serves."""
        return self._request("active_queues")

    def conf(self, with_defaults: bool = False) -> Any:
        """The settings of a worker; secrets are masked."""
        return self._request("conf", with_defaults=with_defaults)

    def report(self) -> Any:
        """Versions and settings as text."""
        return self._request("report")

    def clock(self) -> Any:
        """A number that grows with all that a worker does."""
        return self._request("clock")

    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """Exchange revoked ids, as starting workers do."""
        return self._request("hello", from_node=from_node, revoked=list(revoked or ()))

    def memsample(self) -> Any:
        """The resident memory of a worker now."""
        return self._request("memsample")

    def memdump(self, samples: int = 10) -> Any:
        """The earlier results of `memsample`, as text."""
        return self._request("memdump", samples=samples)

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> NoReturn:
        refuse("Inspect.objgraph")


class Control:
    """Orders to workers. A call leaves at once, whatever transaction is open, and is a few milliseconds' work."""

    def __init__(self, app: AppLike) -> None:
        self.app = app
        self._lock = threading.Lock()
        self._used: tuple[Any, Channel] | None = None

    @property
    def inspect(self) -> type[Inspect]:
        """`app.control.inspect(…)` makes an `Inspect` of this app."""
        return type("Inspect", (Inspect,), {"app": self.app})

    # --- the one way out ---------------------------------------------------------------------------

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: str | Sequence[str] | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float | None = TIMEOUT,
        limit: int | None = None,
        callback: Callback | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> list[Reply] | None:
        """Send a command to all workers, or to some; with `reply`, `[{node: reply}, …]` of those that answered."""
        wanted = matching(destination, pattern, matcher)
        given = {**(arguments or {}), **extra_kwargs}
        if not reply:
            self._channel.tell(command, given, wanted)
            return None
        replies = []
        for answer in self._channel.ask(command, given, wanted, seconds(timeout), limit):
            if callback is not None:
                callback(answer)
            replies.append(answer)
        return replies

    @property
    def _channel(self) -> Channel:
        from .channel import Channel  # the client library: 0.4 s, and not for who only has an app

        connection = self.app.temporal
        with self._lock:
            if self._used is None or self._used[0] is not connection:
                self._used = connection, Channel(connection, self.app.conf.ptemporal_dispatch_timeout)
            return self._used[1]

    def _tell_and_see(
        self, command: str, arguments: dict[str, Any], reply: bool = False, timeout: float | None = None, **options: Any
    ) -> list[Reply] | None:
        """As `broadcast`, but return only once the workers have it: what follows may be the call it is about."""
        replies = self.broadcast(
            command, arguments, reply=True, timeout=TIMEOUT if timeout is None else timeout, **options
        )
        return replies if reply else None

    # --- tasks ---------------------------------------------------------------------------------------

    def revoke(
        self,
        task_id: str | Sequence[str],
        destination: str | Sequence[str] | None = None,
        terminate: bool = False,
        signal: str | int | None = "SIGTERM",
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Keep tasks from starting; with `terminate`, stop those that run. The server does so, and workers are told.

        `destination` says which workers are told; the server's part concerns the task wherever it is.
        """
        from .waiting_tasks import revoke_all  # the client library, as above

        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        signum = signal_name(signal)
        self.app.temporal.call(
            lambda client: revoke_all(client, ids, terminate), self.app.conf.ptemporal_dispatch_timeout
        )
        arguments = {"task_id": ids, "terminate": terminate, "signal": signum}
        return self._tell_and_see("revoke", arguments, destination=destination, **kwargs)

    def terminate(
        self,
        task_id: str | Sequence[str],
        destination: str | Sequence[str] | None = None,
        signal: str | int | None = "SIGTERM",
        **kwargs: Any,
    ) -> list[Reply] | None:
        """`revoke(…, terminate=True)`."""
        return self.revoke(task_id, destination=destination, terminate=True, signal=signal, **kwargs)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any] | Sequence[str],
        destination: str | Sequence[str] | None = None,
        terminate: bool = False,
        signal: str | int | None = "SIGTERM",
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Keep every task from starting that carries one of these stamps, from now on; `terminate` as in `revoke`."""
        stamps = dict(headers) if isinstance(headers, Mapping) else list(headers)
        arguments = {"headers": stamps, "terminate": terminate, "signal": signal_name(signal)}
        return self._tell_and_see("revoke_by_stamped_headers", arguments, destination=destination, **kwargs)

    def rate_limit(
        self,
        task_name: str,
        rate_limit: str | float | None,
        destination: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """How many of these tasks each worker may start: `"10/s"`, `"5/m"`, a number a second; 0 for no limit."""
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", arguments, destination=destination, **kwargs)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """The limits, in seconds, of the runs of this task that begin from now on."""
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments, destination=destination, **kwargs)

    def purge(self, connection: Any = None) -> int:
        """End every task that waits in the app's queues, those with an eta too; gives their number."""
        from .waiting_tasks import purge  # the client library, as above

        queues = queue_names(self.app)
        return self.app.temporal.call(lambda client: purge(client, queues))

    discard_all = purge

    # --- workers -------------------------------------------------------------------------------------

    def ping(
        self, destination: str | Sequence[str] | None = None, timeout: float | None = TIMEOUT, **kwargs: Any
    ) -> list[Reply]:
        """`[{node: {"ok": "pong"}}, …]`."""
        return self.broadcast("ping", {}, destination=destination, timeout=timeout, reply=True, **kwargs) or []

    def shutdown(self, destination: str | Sequence[str] | None = None, **kwargs: Any) -> list[Reply] | None:
        """Have workers take no new tasks, and end when the running ones have."""
        return self.broadcast("shutdown", {}, destination=destination, **kwargs)

    def pool_grow(
        self, n: int = 1, destination: str | Sequence[str] | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Run `n` more tasks at a time."""
        return self.broadcast("pool_grow", {"n": n}, destination=destination, **kwargs)

    def pool_shrink(
        self, n: int = 1, destination: str | Sequence[str] | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Run `n` fewer tasks at a time; what runs goes on running."""
        return self.broadcast("pool_shrink", {"n": n}, destination=destination, **kwargs)

    def autoscale(
        self, max: int, min: int, destination: str | Sequence[str] | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Change the bounds of workers that were started with `--autoscale`."""
        return self.broadcast("autoscale", {"max": max, "min": min}, destination=destination, **kwargs)

    def add_consumer(
        self,
        queue: Any,
        exchange: str | None = None,
        exchange_type: str | None = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Have workers serve one more queue. A queue here is its name; exchange and routing key name nothing."""
        arguments = {"queue": getattr(queue, "name", queue), "exchange": exchange, "exchange_type": exchange_type}
        arguments |= {"routing_key": routing_key, **(options or {})}
        return self.broadcast("add_consumer", arguments, destination=destination, **kwargs)

    def cancel_consumer(
        self, queue: Any, destination: str | Sequence[str] | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Have workers take no more tasks from a queue."""
        return self.broadcast(
            "cancel_consumer", {"queue": getattr(queue, "name", queue)}, destination=destination, **kwargs
        )

    # --- refused ---------------------------------------------------------------------------------------

    def enable_events(self, *args: Any, **kwargs: Any) -> NoReturn:
        refuse("Control.enable_events")

    def disable_events(self, *args: Any, **kwargs: Any) -> NoReturn:
        refuse("Control.disable_events")

    def heartbeat(self, *args: Any, **kwargs: Any) -> NoReturn:
        refuse("Control.heartbeat")

    def election(self, *args: Any, **kwargs: Any) -> NoReturn:
        refuse("Control.election")

    def pool_restart(self, *args: Any, **kwargs: Any) -> NoReturn:
        refuse("Control.pool_restart")

    def Mailbox(self, *args: Any, **kwargs: Any) -> NoReturn:
        refuse("Control.Mailbox")


def refuse(name: str) -> NoReturn:
    raise CommandRefused(f"{name.rpartition('.')[2]}: {UNSUPPORTED[f'celery.app.control.{name}']}")


def seconds(timeout: float | None) -> float:
    if timeout is None:
        return NO_TIMEOUT
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise ValueError(f"timeout={timeout!r}; it takes a number of seconds above 0, or None")
    return timeout


def signal_name(signal: str | int | None) -> str:
    """A signal by its name; takes `"SIGKILL"`, `"kill"` and 9."""
    if signal is None:
        return signals.SIGTERM.name
    try:
        if not isinstance(signal, str):
            return signals.Signals(signal).name
        name = signal.upper()
        return signals.Signals[name if name.startswith("SIG") else f"SIG{name}"].name
    except (KeyError, ValueError):
        raise ValueError(f"signal={signal!r} is no signal here; it takes a name such as 'SIGKILL'") from None


def queue_names(app: AppLike) -> list[str]:
    """The queues that a worker serves which is given none."""
    declared = [str(getattr(entry, "name", entry)) for entry in app.conf.task_queues or ()]
    return declared or [app.conf.task_default_queue]
