"""Which tasks a person asks for, as conditions for the server and as tests of what the server returns."""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from .. import states
from ..client import list_filter
from ..client.saved_groups import SAVED
from ..exceptions import InvalidCall
from ..message import wire_names as wire
from ..message.tree import TREE_TYPES

_RUNNING, _FAILED = ("Running",), ("Failed", "TimedOut")
STATUSES = {
    states.PENDING: _RUNNING,
    states.STARTED: _RUNNING,
    states.RETRY: _RUNNING,
    states.SUCCESS: ("Completed",),
    states.FAILURE: _FAILED,
    states.REVOKED: ("Failed", "Canceled", "Terminated"),
}
"""The statuses that the workflow of a task in each state can have, as the server names them."""


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks. A field that is empty excludes no task."""

    name: str = ""
    """A glob: `app.tasks.*`."""
    states: frozenset[str] = frozenset()
    queue: str = ""
    since: datetime.datetime | None = None
    """The task began or ended since then."""
    error: str = ""
    """A glob for `Type: text` of the error. It matches anywhere in this text."""
    arguments: str = ""
    """Text that occurs in the arguments, as the list shows them."""
    members: bool = False
    """Whether the members of canvases and bundles are listed one by one. Most filters need that and do it anyway."""

    def __post_init__(self) -> None:
        if unknown := sorted(self.states - STATUSES.keys()):
            raise InvalidCall(f"there is no state {unknown[0]!r:.80}; there are {', '.join(STATUSES)}")

    @property
    def lists_members(self) -> bool:
        """Whether each member of a canvas or bundle is a row of its own.

        A bundle succeeds although a member fails, and its type says nothing of its members' names. So a filter of
        names, states, errors or arguments has to look at the members.
        """
        return self.members or bool(self.name or self.states or self.error or self.arguments)

    @property
    def wanted_states(self) -> frozenset[str]:
        """The states that fulfil the filter. A filter of errors wants failed tasks, and tasks that wait for a retry."""
        return self.states or (frozenset({states.FAILURE, states.RETRY}) if self.error else frozenset())

    def query(self) -> str:
        """Return the condition for the server. It may select too many workflows, and never too few."""
        return list_filter.all_of(
            [
                f"NOT WorkflowType STARTS_WITH {list_filter.quoted(wire.OWN)}",
                f"WorkflowType != {list_filter.quoted(SAVED)}",
                self._with_trees(list_filter.like_glob("WorkflowType", self.name)) if self.name else None,
                self._with_trees(list_filter.one_of("ExecutionStatus", self._statuses())) if self._statuses() else None,
                list_filter.one_of("TaskQueue", [self.queue]) if self.queue else None,
                self._recent(),
            ]
        )

    def query_of_standalone(self) -> str:
        """Return the condition for tasks that are standalone activities."""
        statuses = [*self._statuses(), *(["Paused"] if "Running" in self._statuses() else [])]
        recent = (
            [] if self.since is None else [list_filter.since(name, self.since) for name in ("StartTime", "CloseTime")]
        )
        return list_filter.all_of(
            [
                f"NOT ActivityType STARTS_WITH {list_filter.quoted(wire.OWN)}",
                list_filter.like_glob("ActivityType", self.name) if self.name else None,
                list_filter.one_of("ExecutionStatus", statuses) if statuses else None,
                list_filter.one_of("TaskQueue", [self.queue]) if self.queue else None,
                list_filter.any_of(recent) or None,
            ]
        )

    def _statuses(self) -> list[str]:
        return list(dict.fromkeys(status for state in sorted(self.wanted_states) for status in STATUSES[state]))

    def _with_trees(self, condition: str | None) -> str | None:
        """Return the condition, or that the workflow may have members which fulfil it."""
        return None if condition is None else list_filter.any_of([condition, _MAY_HAVE_MEMBERS])

    def _recent(self) -> str | None:
        if self.since is None:
            return None
        recent = [list_filter.since("StartTime", self.since), list_filter.since("CloseTime", self.since)]
        running = list_filter.all_of(["ExecutionStatus = 'Running'", _MAY_HAVE_MEMBERS])
        return list_filter.any_of([*recent, running] if self.lists_members else recent)

    def matches_name(self, name: str) -> bool:
        return not self.name or fnmatch.fnmatchcase(name, self.name)

    def matches_state(self, state: str) -> bool:
        return not self.wanted_states or state in self.wanted_states

    def matches_error(self, error: str) -> bool:
        return not self.error or fnmatch.fnmatchcase(error.lower(), f"*{self.error.lower()}*")

    def matches_arguments(self, shown: str) -> bool:
        return self.arguments.lower() in shown.lower()

    def matches_time(self, moments: Iterable[datetime.datetime | None]) -> bool:
        return self.since is None or any(moment is not None and moment >= self.since for moment in moments)


_MAY_HAVE_MEMBERS = list_filter.one_of("WorkflowType", TREE_TYPES)
