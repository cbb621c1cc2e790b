"""Makes the same random canvas twice: with Celery and with this package."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import celery
import celery.canvas
import celery.result

import pyramid_temporal_compat as ours
import pyramid_temporal_compat.canvas as our_canvas
from pyramid_temporal_compat.results import GroupResult


@dataclass(frozen=True)
class Side:
    """One of the two sides: Celery, or this package."""

    app: Any
    names: Any
    canvas: Any
    group_result: type

    @property
    def add(self) -> Any:
        return self.app.tasks["t.add"]

    @property
    def total(self) -> Any:
        return self.app.tasks["t.total"]

    @property
    def note(self) -> Any:
        return self.app.tasks["t.note"]

    @property
    def fail(self) -> Any:
        return self.app.tasks["t.fail"]


def theirs() -> Side:
    app = celery.Celery("theirs", broker="memory://", backend="cache+memory://", set_as_current=False)
    return Side(_with_tasks(app), celery, celery.canvas, celery.result.GroupResult)


def mine() -> Side:
    return Side(_with_tasks(ours.Celery("ours", set_as_current=False)), ours, our_canvas, GroupResult)


def flat(value: Any) -> int:
    return sum(map(flat, value)) if isinstance(value, (list, tuple)) else value


def _with_tasks(app: Any) -> Any:
    app.notes = []

    @app.task(name="t.add")
    def add(x: Any, y: Any = 1) -> Any:
        return flat(x) + flat(y)

    @app.task(name="t.total")
    def total(values: Any, more: int = 0) -> Any:
        return flat(values) + more

    @app.task(name="t.note")
    def note(*args: Any, **kwargs: Any) -> Any:
        app.notes.append((args, kwargs))
        return args

    @app.task(name="t.fail")
    def fail(*args: Any) -> None:
        raise ValueError("no")

    return app


Make = Callable[[Side], Any]


def some_canvas(dice: random.Random, depth: int = 3) -> Make:
    """Return a function that makes a random canvas, nested up to `depth`. It makes the same canvas on both sides."""
    n = dice.randint(1, 9)
    if depth == 0:
        make = dice.choice([lambda side: side.add.s(n), lambda side: side.add.si(n, n)])
    else:
        parts = [some_canvas(dice, depth - 1) for _ in range(dice.choice([0, 1, 2, 2, 3]))]
        make = dice.choice(KINDS)(parts, n)
    return dice.choice(CHANGES)(make, n) if dice.random() < 0.25 else make


def _parts(parts: list[Make], side: Side) -> list[Any]:
    return [part(side) for part in parts]


KINDS: list[Callable[[list[Make], int], Make]] = [
    lambda parts, n: lambda side: side.add.s(n),
    lambda parts, n: lambda side: side.names.chain(*_parts(parts, side), side.add.s(n)),
    lambda parts, n: lambda side: side.names.chain(side.add.s(n), *_parts(parts, side)),
    lambda parts, n: lambda side: _joined([side.add.s(n), *_parts(parts, side)]),
    lambda parts, n: lambda side: side.names.group(*_parts(parts, side)),
    lambda parts, n: lambda side: side.names.group(_parts(parts, side)),
    lambda parts, n: lambda side: side.names.group(_parts(parts, side)) | side.total.s(),
    lambda parts, n: lambda side: side.names.chord(_parts(parts, side), side.total.s(n)),
    lambda parts, n: lambda side: side.names.chord([side.add.s(n)], _joined([side.total.s(), *_parts(parts, side)])),
    lambda parts, n: lambda side: side.names.chord([side.add.s(n)], side.names.group(_parts(parts, side))),
]
CHANGES: list[Callable[[Make, int], Make]] = [
    lambda make, n: lambda side: make(side).set(priority=n),
    lambda make, n: lambda side: make(side).clone((n,)),
    lambda make, n: lambda side: make(side).set(immutable=True),
    lambda make, n: lambda side: side.canvas.signature(json.loads(json.dumps(make(side))), app=side.app),
    lambda make, n: lambda side: _linked(make(side), side.note.s(n)),
    lambda make, n: lambda side: make(side).on_error(side.note.si(n)),
    lambda make, n: lambda side: _stamped(make(side), n),
]


def _linked(made: Any, callback: Any) -> Any:
    made.link(callback)
    return made


def _stamped(made: Any, n: int) -> Any:
    made.stamp(colour=f"c{n}")
    return made


def _joined(parts: list[Any]) -> Any:
    made = parts[0]
    for part in parts[1:]:
        made = made | part
    return made


# --- comparing ---------------------------------------------------------------------------------------

IDS = ("task_id", "root_id", "parent_id", "group_id")


def form(signature: Any) -> Any:
    """Return a signature as plain JSON, without the options of Celery's broker in a frozen signature."""
    if isinstance(signature, dict):
        found = {key: form(value) for key, value in dict.items(signature)}
        if "options" in found and "task" in found:
            found["options"] = {
                key: value
                for key, value in found["options"].items()
                if key not in ("reply_to", "chord") and value is not None
            }
        return found
    if isinstance(signature, (list, tuple)) or type(signature).__name__ == "_regen":
        return [form(part) for part in signature]
    return signature


def renamed(value: Any, names: dict[str, str] | None = None) -> Any:
    """Return the value with each id replaced by a number, in the order in which the ids appear."""
    names = {} if names is None else names
    if isinstance(value, dict):
        return {
            key: names.setdefault(part, f"#{len(names)}") if key in IDS and part else renamed(part, names)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [renamed(part, names) for part in value]
    return value


def shape(result: Any, group_result: type, names: dict[str, str]) -> Any:
    """Return the structure of a result: its class, its members, its parent."""
    if result is None:
        return None
    number = names.setdefault(str(result.id), f"#{len(names)}")
    members = [shape(member, group_result, names) for member in result] if isinstance(result, group_result) else None
    return (number, members, shape(result.parent, group_result, names))
