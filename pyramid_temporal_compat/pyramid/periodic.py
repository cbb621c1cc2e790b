"""Periodic tasks of a Pyramid application: `config.add_periodic_task(...)` and `@periodic_task(...)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import venusian

from ..app import APP_KEY

T = TypeVar("T")


def add_periodic_task(
    config: Any, schedule: Any, sig: Any, args: Any = (), kwargs: Any = (), name: str | None = None, **options: Any
) -> None:
    """Declare what runs on a schedule, as `app.add_periodic_task` does. The directive `config.add_periodic_task`.

    Two declarations of one name are a conflict, as two views of one route are.

    :param sig: a signature, a task, a canvas, or the class of a hand-written workflow; or a dotted name of one of them.
    """
    found = config.maybe_dotted(sig)
    key = name or getattr(found, "name", None) or getattr(found, "__qualname__", None) or repr(found)

    def declare() -> None:
        config.registry[APP_KEY].add_periodic_task(schedule, found, args, kwargs, name=key, **options)

    about = config.introspectable("periodic tasks", key, f"{key}: {schedule!r}", "periodic task")
    about.update({"schedule": schedule, "name": key})
    config.action(("periodic task", key), declare, introspectables=(about,))


def periodic_task(
    schedule: Any, args: Any = (), kwargs: Any = (), name: str | None = None, **options: Any
) -> Callable[[T], T]:
    """Declare that a task runs on a schedule. It stands above `@shared_task` or `@workflow.defn`.

    As `@view_config`, it takes effect when the application calls `config.scan()`.
    """

    def decorate(found: T) -> T:
        def scanned(scanner: Any, attribute: str, target: Any) -> None:
            scanner.config.add_periodic_task(schedule, target, args, kwargs, name=name, **options)

        venusian.attach(found, scanned, category="pyramid")
        return found

    return decorate
