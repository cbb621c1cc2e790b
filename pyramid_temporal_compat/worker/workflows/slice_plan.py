"""Plans slices: how many of the members that are ready run in one activity. Pure functions of values.

Nobody knows here how many places the workers have, or how long a task takes that has not run yet. So a plan makes about
`SPREAD` slices of members that may take long, and one of each member if there are few. It makes larger slices of tasks
that were measured to be short. The worker corrects a plan that was wrong: it gives back what it can't begin in time.

Like all workflow code, this is replayed: after the first release, other figures need `workflow.patched`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SPREAD = 10
"""Slices that are made of the members that are ready, about, so that as many places get work. Each costs the server
and the worker some 10 ms: a chord of 100 takes a quarter less CPU in 10 slices than in 17."""
GRAIN = 0.03
"""Seconds of measured work that are not divided any further: three times the cost of an activity."""
OF_AIM = 0.75
"""Part of the aim that a slice is filled to, because some members take longer than their mean. What a slice can't begin
in time comes back with its end, so it costs no signal."""
UNKNOWN = OF_AIM / 64
"""Part of the aim that a task is taken to need before it was measured, so that a first slice has up to 64 members. If
they take long, the worker gives most of them back after `aim` seconds."""
MOST = 100
"""Members of a slice."""
MOST_BYTES = 128 * 1024
"""Bytes of all messages of a slice."""


@dataclass
class Measured:
    """The runs of one task so far."""

    count: int = 0
    seconds: float = 0.0


class RunTimes:
    """How long each task takes, as far as runs were measured. Belongs to one workflow."""

    def __init__(self, aim: float) -> None:
        """
        :param aim: seconds that a slice should take.
        """
        self.aim = aim
        self._tasks: dict[str, Measured] = {}

    def add(self, task: str, seconds: float) -> None:
        """Count one run."""
        measured = self._tasks.setdefault(task, Measured())
        measured.count += 1
        measured.seconds += seconds

    def knows(self, task: str) -> bool:
        """Return whether a run of the task was measured."""
        return task in self._tasks

    def expected(self, task: str) -> float:
        """Return the seconds that a run is expected to take: the mean, or a guess."""
        measured = self._tasks.get(task)
        return self.aim * UNKNOWN if measured is None else measured.seconds / measured.count


def has_room(seconds: float, size: int, count: int, aim: float) -> bool:
    """Return whether a slice can have so many members, which are expected to take so long and have so many bytes."""
    return seconds <= aim * OF_AIM and size <= MOST_BYTES and count <= MOST


Unit = Sequence[tuple[str, int]]
"""Members that are in a slice together: the task of each, and the size of its messages in bytes."""


def plan(units: Sequence[Unit], times: RunTimes, beside: int = 1) -> list[list[int]]:
    """Return the slices, each as the places of its units. A slice of one member is an activity of its own.

    :param units: each member that is ready, with the steps behind it.
    :param beside: how many workflows make slices at the same time: the parts of a large group.
    """
    expected = [sum(times.expected(task) for task, _ in unit) for unit in units]
    least = GRAIN if all(times.knows(task) for unit in units for task, _ in unit) else 0.0
    room = min(times.aim * OF_AIM, max(least, sum(expected) * beside / SPREAD))
    slices: list[list[int]] = []
    left = bytes_left = 0.0
    members_left = 0
    for place, (seconds, unit) in enumerate(zip(expected, units, strict=True)):
        size = sum(size for _, size in unit)
        if not slices or left < seconds / 2 or size > bytes_left or len(unit) > members_left:
            slices.append([])
            left, bytes_left, members_left = room, MOST_BYTES, MOST
        slices[-1].append(place)
        left, bytes_left, members_left = left - seconds, bytes_left - size, members_left - len(unit)
    return slices
