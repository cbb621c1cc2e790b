"""Routing: chooses the queue of a call by `task_routes` and `task_queues`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..exceptions import ImproperlyConfigured, QueueNotFound
from ..settings.config_objects import import_object

if TYPE_CHECKING:
    from ..interfaces import AppLike, TaskLike


class Queues(dict[str, Any]):
    """The queues of `task_queues`. Calls may name others, unless `task_create_missing_queues` is off."""

    def __init__(self, declared: Any, default: str, create_missing: bool) -> None:
        super().__init__((queue_name(queue), queue) for queue in _declared_queues(declared))
        self.default = default
        self.create_missing = create_missing
        if not self:
            self[default] = default
        self.consume_from = dict(self)

    def check(self, name: str) -> str:
        """Return the name of a queue that a call may use. Raise `QueueNotFound` for any other name."""
        if name not in self and not self.create_missing:
            known = ", ".join(sorted(self))
            raise QueueNotFound(
                f"queue {name!r} is not in task_queues ({known}), and task_create_missing_queues is off; "
                "add it to task_queues"
            )
        return name

    def bound(self, exchange: Any, routing_key: str | None) -> str | None:
        """Return the queue that is bound to this exchange and routing key; None if the call names neither."""
        if exchange is None and routing_key is None:
            return None
        wanted = getattr(exchange, "name", exchange)
        for name, queue in self.items():
            its_exchange = getattr(getattr(queue, "exchange", None), "name", None)
            its_key = getattr(queue, "routing_key", name) or name
            if routing_key in (None, its_key) and wanted in (None, "", its_exchange, name):
                return name
        if routing_key is not None:
            return self.check(routing_key)  # Celery's default exchange uses the queue's name as routing key
        raise QueueNotFound(f"no queue of task_queues is bound to exchange {wanted!r}; name the queue: queue=...")

    def select(self, names: str | Sequence[str] | None) -> None:
        """Make the worker serve only these queues."""
        if names:
            chosen = names.split(",") if isinstance(names, str) else names
            self.consume_from = {name: self.get(self.check(name), name) for name in chosen}

    def deselect(self, names: str | Sequence[str] | None) -> None:
        """Make the worker serve all queues except these."""
        left_out = set((names.split(",") if isinstance(names, str) else names) or ())
        self.consume_from = {name: queue for name, queue in self.consume_from.items() if name not in left_out}


def queue_name(queue: Any) -> Any:
    """Return the name of a queue, which is a text or an object with a `name`, such as kombu's Queue."""
    return getattr(queue, "name", queue)


def _declared_queues(declared: Any) -> Iterator[Any]:
    """Yield the queues of `task_queues`: a list of queues and names, or a mapping from names to options."""
    if isinstance(declared, Mapping):
        for name, options in declared.items():
            yield options if getattr(options, "name", None) else name
    else:
        yield from declared or ()


class Router:
    """Asks the routes in their order, and takes the first answer."""

    def __init__(self, app: AppLike) -> None:
        self._app = app
        self.routes = [_prepare(route) for route in _as_routes(app.conf["task_routes"])]

    def route(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        task: TaskLike | None,
    ) -> dict[str, Any]:
        """Return the options that the first matching route gives to this call; an empty dict without one."""
        for route in self.routes:
            answer = route(name, args, kwargs, dict(options), task=task)
            if answer is not None:
                return {"queue": answer} if isinstance(answer, str) else dict(answer)
        return {}


def _as_routes(setting: Any) -> Sequence[Any]:
    """Return `task_routes` as a list. It holds functions, their dotted names, mappings, and lists of pairs."""
    if not setting:
        return ()
    return setting if isinstance(setting, (list, tuple)) else (setting,)


def _prepare(route: Any) -> Any:
    if isinstance(route, str):
        route = import_object(route)
        route = route() if isinstance(route, type) else route
    if isinstance(route, (Mapping, list, tuple)):
        return MapRoute(route)
    if hasattr(route, "route_for_task"):
        return lambda name, args, kwargs, options, task=None: route.route_for_task(name, args, kwargs)
    if not callable(route):
        raise ImproperlyConfigured(f"task_routes holds {route!r}; it takes mappings, functions and their dotted names")
    return route


class MapRoute:
    """Routes by the task's name. A key with `*` is a glob; a compiled pattern is a regular expression."""

    def __init__(self, entries: Any) -> None:
        pairs = entries.items() if isinstance(entries, Mapping) else entries
        self._names: dict[str, Any] = {}
        self._patterns: list[tuple[re.Pattern[str], Any]] = []
        for key, route in pairs:
            if isinstance(key, re.Pattern):
                self._patterns.append((key, route))
            elif "*" in key:
                self._patterns.append((re.compile(fnmatch.translate(key)), route))
            else:
                self._names[key] = route

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if name in self._names:
            return self._names[name]
        return next((route for pattern, route in self._patterns if pattern.match(name)), None)


class Amqp:
    """`app.amqp`: the queues and the routes. Celery's attributes that need a broker are absent."""

    def __init__(self, app: AppLike) -> None:
        conf = app.conf
        self.app = app
        self.queues = Queues(conf["task_queues"], conf["task_default_queue"], conf["task_create_missing_queues"])
        self.router = Router(app)

    @property
    def default_queue(self) -> Any:
        """Return the queue of calls that name none and match no route."""
        return self.queues.get(self.queues.default, self.queues.default)
