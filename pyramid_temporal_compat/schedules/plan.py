"""The difference between the declared schedules and the server's. A plain value: nothing here asks the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .declaration import Declared

Kind = Literal["create", "update", "delete", "unchanged", "undeclared"]


@dataclass(frozen=True)
class OnServer:
    """A Schedule on the server that this application owns."""

    id: str
    entry: str
    is_as_declared: bool
    """Whether it holds what is declared. False if nothing of its name is declared."""


@dataclass(frozen=True)
class Change:
    """What becomes of one schedule."""

    kind: Kind
    id: str
    entry: str
    declared: Declared | None = None

    @property
    def is_difference(self) -> bool:
        """Whether the server differs from the declaration, in a way that this plan ends."""
        return self.kind in ("create", "update", "delete")


@dataclass(frozen=True)
class Plan:
    """The changes that make the server equal to the declaration, by name."""

    changes: Sequence[Change]

    @property
    def differences(self) -> Sequence[Change]:
        return [change for change in self.changes if change.is_difference]

    def count(self, kind: Kind) -> int:
        return sum(change.kind == kind for change in self.changes)

    def summary(self, *, done: bool) -> str:
        """Return the numbers of changes in one line: of changes that were made, or that are to be made."""
        words = DONE if done else WORDS
        return ", ".join(f"{self.count(kind)} {word}" for kind, word in words.items() if self.count(kind)) or "none"

    def __str__(self) -> str:
        return self.summary(done=False)


WORDS: Mapping[Kind, str] = {
    "create": "to create",
    "update": "to update",
    "delete": "to delete",
    "unchanged": "unchanged",
    "undeclared": "not declared, and kept",
}
DONE: Mapping[Kind, str] = {**WORDS, "create": "created", "update": "updated", "delete": "deleted"}


def make_plan(declared: Sequence[Declared], found: Sequence[OnServer], *, prune: bool) -> Plan:
    """Return what has to change on the server.

    :param found: the Schedules that this application owns.
    :param prune: delete what is no longer declared.
    """
    known = {each.id: each for each in found}
    changes = [_change(each, known.pop(each.id, None)) for each in declared]
    rest: Kind = "delete" if prune else "undeclared"
    changes += [Change(rest, each.id, each.entry) for each in known.values()]
    return Plan(sorted(changes, key=lambda change: change.entry))


def _change(declared: Declared, found: OnServer | None) -> Change:
    kind: Kind = "create"
    if found is not None:
        kind = "unchanged" if found.is_as_declared else "update"
    return Change(kind, declared.id, declared.entry.name, declared)
