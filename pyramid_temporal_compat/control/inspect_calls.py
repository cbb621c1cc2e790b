"""`app.control.inspect()`: the questions that applications, scripts and consoles ask running workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .call_arguments import TIMEOUT, flatten_reply
from .refused_calls import refuse

if TYPE_CHECKING:
    from ..interfaces import AppLike

Reply = dict[str, Any]
Callback = Callable[[Reply], object]


class Inspect:
    """Asks workers questions. Each method returns `{node: answer}`, or None if no worker answered.

    If `destination` is one name, a method returns the answer of that worker alone.
    """

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
            raise ValueError("Inspect() has no app; use app.control.inspect(), or Inspect(app=app)")
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
        """Return `{"ok": "pong"}` for each worker."""
        if destination:
            self.destination = destination
        return self._request("ping")

    def active(self, safe: bool | None = None) -> Any:
        """Return the tasks that run now. With `safe`, their arguments are text and not decoded."""
        return self._request("active", safe=safe)

    def reserved(self, safe: bool | None = None) -> Any:
        """Return the tasks that a worker has taken and that wait for a place in its pool."""
        return self._request("reserved", safe=safe)

    def scheduled(self, safe: bool | None = None) -> Any:
        """Return the tasks that wait for their eta in the queues that a worker serves. The server holds these tasks."""
        return self._request("scheduled", safe=safe)

    def registered(self, *taskinfoitems: str) -> Any:
        """Return the names of the tasks that a worker knows, with the attributes that are asked for."""
        return self._request("registered", taskinfoitems=list(taskinfoitems))

    registered_tasks = registered

    def stats(self) -> Any:
        """Return what a worker is, has done and has used: pool, pid, counts of tasks, memory, CPU."""
        return self._request("stats")

    def query_task(self, *ids: Any) -> Any:
        """Return what a worker knows about the tasks with these ids: `{id: [state, info]}`."""
        if len(ids) == 1 and isinstance(ids[0], (list, tuple)):
            ids = tuple(ids[0])
        return self._request("query_task", ids=list(ids))

    def revoked(self) -> Any:
        """Return the ids of the tasks that a worker was told not to run."""
        return self._request("revoked")

    def active_queues(self) -> Any:
        """Return the queues that a worker serves."""
        return self._request("active_queues")

    def conf(self, with_defaults: bool = False) -> Any:
        """Return the settings of a worker; secrets are masked."""
        return self._request("conf", with_defaults=with_defaults)

    def report(self) -> Any:
        """Return versions and settings as text."""
        return self._request("report")

    def clock(self) -> Any:
        """Return a number that grows with each task that a worker takes and each control call that it answers."""
        return self._request("clock")

    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """Tell workers these revoked ids, and return the ids that they have revoked themselves."""
        return self._request("hello", from_node=from_node, revoked=list(revoked or ()))

    def memsample(self) -> Any:
        """Return the resident memory of a worker now."""
        return self._request("memsample")

    def memdump(self, samples: int = 10) -> Any:
        """Return the earlier results of `memsample`, as text."""
        return self._request("memdump", samples=samples)

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> NoReturn:
        refuse("Inspect.objgraph")
