"""`app.control`: the orders that applications, scripts and consoles give to running workers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ..celery_names.lists import as_list
from .call_arguments import TIMEOUT, matching, seconds, signal_name
from .inspect_calls import Callback, Inspect, Reply
from .refused_calls import refuse

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from .channel import Channel


DONE_BY_SERVER = frozenset({"revoke", "terminate"})
"""Orders that the server carries out as well. They hold even if no worker gets them."""


class Control:
    """Gives orders to workers. A call leaves at once, even inside a transaction, and takes a few milliseconds."""

    def __init__(self, app: AppLike) -> None:
        self.app = app
        self._lock = threading.Lock()
        self._last_channel: tuple[Any, Channel] | None = None

    @property
    def inspect(self) -> type[Inspect]:
        """The class behind `app.control.inspect(…)`: an `Inspect` for this app."""
        return type("Inspect", (Inspect,), {"app": self.app})

    # --- sending -----------------------------------------------------------------------------------

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
        """Send a command to all workers, or to some. With `reply`, return `[{node: reply}, …]` with the replies."""
        wanted = matching(destination, pattern, matcher)
        given = {**(arguments or {}), **extra_kwargs}
        if command in DONE_BY_SERVER:
            self._revoke_on_server(given, terminate=command == "terminate" or bool(given.get("terminate")))
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
        from .channel import (
            Channel,  # the client library takes 0.4 s to import, and a process that only has an app does not need it
        )

        connection = self.app.temporal
        with self._lock:
            if self._last_channel is None or self._last_channel[0] is not connection:
                self._last_channel = connection, Channel(connection, self.app.conf.ptemporal_dispatch_timeout)
            return self._last_channel[1]

    def _send_and_wait(
        self, command: str, arguments: dict[str, Any], reply: bool = False, timeout: float | None = None, **options: Any
    ) -> list[Reply] | None:
        """Send a command, and return only once the workers have it: the caller may send the task itself next."""
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
        """Keep tasks from starting; with `terminate`, stop running tasks too.

        The server does this in any worker that has the task, and workers learn it too. `destination` chooses the
        workers that learn it.
        """
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        arguments = {"task_id": ids, "terminate": terminate, "signal": signal_name(signal)}
        return self._send_and_wait("revoke", arguments, destination=destination, **kwargs)

    def _revoke_on_server(self, arguments: Mapping[str, Any], *, terminate: bool) -> None:
        from .waiting_tasks import revoke_all  # the client library, as in `_channel`

        ids = as_list(arguments.get("task_id"))
        if not all(isinstance(each, str) for each in ids):
            return  # the workers say what is wrong with the order
        signal_name(arguments.get("signal"))  # raises for a signal that workers would not know
        self.app.temporal.call(
            lambda client: revoke_all(client, ids, terminate), self.app.conf.ptemporal_dispatch_timeout
        )

    def terminate(
        self,
        task_id: str | Sequence[str],
        destination: str | Sequence[str] | None = None,
        signal: str | int | None = "SIGTERM",
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Do the same as `revoke(…, terminate=True)`."""
        return self.revoke(task_id, destination=destination, terminate=True, signal=signal, **kwargs)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any] | Sequence[str],
        destination: str | Sequence[str] | None = None,
        terminate: bool = False,
        signal: str | int | None = "SIGTERM",
        **kwargs: Any,
    ) -> list[Reply] | None:
        """From now on, start no task that has one of these stamps. `terminate` is as in `revoke`."""
        stamps = dict(headers) if isinstance(headers, Mapping) else list(headers)
        arguments = {"headers": stamps, "terminate": terminate, "signal": signal_name(signal)}
        return self._send_and_wait("revoke_by_stamped_headers", arguments, destination=destination, **kwargs)

    def rate_limit(
        self,
        task_name: str,
        rate_limit: str | float | None,
        destination: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Set how many of these tasks each worker may start: `"10/s"`, `"5/m"`, a number a second; 0 for no limit."""
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
        """Set the time limits, in seconds, for runs of this task that begin from now on."""
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments, destination=destination, **kwargs)

    def purge(self, connection: Any = None) -> int:
        """End every task that waits in the app's queues, also tasks with an eta. Return their number."""
        from .waiting_tasks import purge  # the client library, as in `_channel`

        queues = queue_names(self.app)
        return self.app.temporal.call(lambda client: purge(client, queues))

    discard_all = purge

    # --- workers -------------------------------------------------------------------------------------

    def ping(
        self, destination: str | Sequence[str] | None = None, timeout: float | None = TIMEOUT, **kwargs: Any
    ) -> list[Reply]:
        """Return `[{node: {"ok": "pong"}}, …]` for the workers that answer."""
        return self.broadcast("ping", {}, destination=destination, timeout=timeout, reply=True, **kwargs) or []

    def shutdown(self, destination: str | Sequence[str] | None = None, **kwargs: Any) -> list[Reply] | None:
        """Tell workers to take no new tasks, and to end once their running tasks have ended."""
        return self.broadcast("shutdown", {}, destination=destination, **kwargs)

    def pool_grow(
        self, n: int = 1, destination: str | Sequence[str] | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Tell workers to run `n` more tasks at a time."""
        return self.broadcast("pool_grow", {"n": n}, destination=destination, **kwargs)

    def pool_shrink(
        self, n: int = 1, destination: str | Sequence[str] | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Tell workers to run `n` fewer tasks at a time. Running tasks continue."""
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
        """Tell workers to serve one more queue. Only its name counts; exchange and routing key have no effect."""
        arguments = {"queue": getattr(queue, "name", queue), "exchange": exchange, "exchange_type": exchange_type}
        arguments |= {"routing_key": routing_key, **(options or {})}
        return self.broadcast("add_consumer", arguments, destination=destination, **kwargs)

    def cancel_consumer(
        self, queue: Any, destination: str | Sequence[str] | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Tell workers to take no more tasks from a queue."""
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


def queue_names(app: AppLike) -> list[str]:
    """Return the queues that a worker serves if it is given none."""
    declared = [str(getattr(entry, "name", entry)) for entry in app.conf.task_queues or ()]
    return declared or [app.conf.task_default_queue]
