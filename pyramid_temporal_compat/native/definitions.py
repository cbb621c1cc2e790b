"""Which workflows and activities an application has, on which queue, and where each one is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from temporalio import activity, workflow

from ..exceptions import ImproperlyConfigured
from ..message.message import LONGEST_ID, is_name, is_queue

Kind = Literal["workflow", "activity"]

DEFINITIONS_KEY = "pyramid_temporal_compat.definitions"
"""The key of the `Definitions` in a Pyramid registry."""


@dataclass(frozen=True)
class Definition:
    """A workflow or an activity of the application."""

    kind: Kind
    name: str
    """The name on the server."""
    target: Any
    """The workflow's class, or the activity's function."""
    queue: str | None = None
    """The task queue that serves it. None: every queue that a worker serves."""
    domain: str | None = None
    """The package of the domain that has it; None outside of domains."""

    @property
    def place(self) -> str:
        """Return where it is written, as `module:line`."""
        code = inspect.unwrap(self.target) if self.kind == "activity" else self.target
        module = getattr(code, "__module__", "?")
        try:
            return f"{module}:{inspect.getsourcelines(code)[1]}"
        except (OSError, TypeError):  # no source: a callable object, or code that was typed in
            return f"{module}:{getattr(code, '__qualname__', code)}"


def workflow_definition(cls: Any, queue: str | None = None, domain: str | None = None) -> Definition:
    """Return the definition of a class under `@workflow.defn`. Raise if it can't be served."""
    found = workflow._Definition.from_class(cls) if inspect.isclass(cls) else None
    if found is None:
        raise ImproperlyConfigured(f"{cls!r} is no workflow; decorate the class with @temporalio.workflow.defn")
    return _named("workflow", found.name, cls, queue, domain)


def activity_definition(function: Any, queue: str | None = None, domain: str | None = None) -> Definition:
    """Return the definition of a function or method under `@activity.defn`. Raise if it can't be served."""
    found = activity._Definition.from_callable(function) if callable(function) else None
    if found is None:
        raise ImproperlyConfigured(
            f"{function!r} is no activity; decorate the function with @pyramid_temporal_compat.activity.defn "
            "or @temporalio.activity.defn"
        )
    return _named("activity", found.name, function, queue, domain)


def _named(kind: Kind, name: str | None, target: Any, queue: str | None, domain: str | None) -> Definition:
    if name is None:
        raise ImproperlyConfigured(
            f"{kind} {target!r} is dynamic, and a worker has room for one dynamic {kind}: the one that runs tasks; "
            "give it a name, or serve it with a worker of its own (--factory)"
        )
    if queue is not None and not (is_name(queue) and is_queue(queue)):
        raise ImproperlyConfigured(
            f"{kind} {name!r}: task_queue={queue!r:.60} can't be served; a name is 1 to {LONGEST_ID} printable bytes"
        )
    return Definition(kind, name, target, queue, domain)


class Definitions:
    """The workflows and activities of one application, by name. Written while the application is configured."""

    def __init__(self, found: Iterable[Definition] = ()) -> None:
        self._found: dict[tuple[Kind, str], Definition] = {}
        for definition in found:
            self.add(definition)

    def add(self, definition: Definition) -> None:
        """Add a definition. The same one may be found twice: then a queue or domain that was missing is added.

        Raise if another one has the name.
        """
        key = definition.kind, definition.name
        known = self._found.get(key, definition)
        if known.target != definition.target:
            raise ImproperlyConfigured(
                f"two {PLURAL[definition.kind]} have the name {definition.name!r}: {known.place} and "
                f"{definition.place}; give one of them another name: @{definition.kind}.defn(name=…)"
            )
        self._found[key] = replace(
            known, queue=known.queue or definition.queue, domain=known.domain or definition.domain
        )

    def __iter__(self) -> Any:
        return iter(sorted(self._found.values(), key=lambda each: (each.kind, each.name)))

    def get(self, kind: Kind, name: str) -> Definition | None:
        """Return the definition of this name; None if the application has none."""
        return self._found.get((kind, name))

    def targets(self, kind: Kind, queue: str | None = None) -> list[Any]:
        """Return the classes or functions of one kind: of all queues, or of one `queue`."""
        return [each.target for each in self if each.kind == kind and (queue is None or each.queue in (None, queue))]

    def where(self, wanted: Callable[[Definition], bool]) -> Definitions:
        """Return the definitions for which `wanted` is true."""
        return Definitions(each for each in self if wanted(each))


PLURAL: dict[Kind, str] = {"workflow": "workflows", "activity": "activities"}


def definitions_of(registry: Any) -> Definitions:
    """Return the definitions of a Pyramid application, to read or to add to."""
    found: Definitions = registry.setdefault(DEFINITIONS_KEY, Definitions())
    return found


def queue_of(registry: Any, kind: Kind, name: str) -> str | None:
    """Return the queue that a definition names; None if it is served on every queue, or is not known here."""
    found = definitions_of(registry).get(kind, name)
    return None if found is None else found.queue
