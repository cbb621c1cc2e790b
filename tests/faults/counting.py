"""The counts: what was committed and what took effect, by the database; what was started, by the server's history.

Nothing here reads what the package has written about itself, neither its logs nor its tables.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from temporalio.client import Client, WorkflowExecutionStatus

LOOK_EVERY = 0.5
LATE = 1.0
"""Seconds in which what comes twice has its chance to show."""
STANDSTILL = 40.0
"""Seconds after which what has not moved counts as lost. The longest pause of the relay, and of the server, is less."""
RUNNING = WorkflowExecutionStatus.RUNNING


@dataclass(frozen=True)
class Promised:
    task_id: str
    workflow_id: str
    effects: int


def bundle_of(task_id: str) -> str:
    """The workflow that a task is in which left its transaction together with many others."""
    return task_id[:-4] + "0000"


@dataclass(frozen=True)
class Count:
    """What a moment looks like."""

    promised: tuple[Promised, ...]
    runs: Counter[str]
    """How often each workflow was started, by its id."""
    effects: Counter[str]
    """How many effects each task had, by its id."""
    ends: Counter[str] = field(default_factory=Counter)
    """How many workflows are in which state."""

    @property
    def committed(self) -> int:
        return len(self.promised)

    @property
    def started(self) -> int:
        """How often the server has started a workflow for a committed task, and whatever else it has started."""
        return sum(self.starts(each) for each in self.promised) + len(self.strange)

    def starts(self, each: Promised) -> int:
        return self.runs[each.workflow_id] + self.runs[bundle_of(each.workflow_id)]

    @property
    def took_effect(self) -> int:
        return self.effects.total()

    @property
    def not_started(self) -> list[str]:
        return [each.task_id for each in self.promised if not self.starts(each)]

    @property
    def without_effect(self) -> list[str]:
        return [each.task_id for each in self.promised if self.effects[each.task_id] < each.effects]

    @property
    def lost(self) -> list[str]:
        return sorted({*self.not_started, *self.without_effect})

    @property
    def doubled(self) -> list[str]:
        """Started twice, or with more effects than it was to have."""
        due = {each.task_id: each.effects for each in self.promised}
        effects = [task_id for task_id, count in self.effects.items() if count > due.get(task_id, 0)]
        return sorted({*effects, *(each.workflow_id for each in self.promised if self.starts(each) > 1)})

    @property
    def strange(self) -> list[str]:
        """Workflows that no committed transaction has asked for."""
        asked = {each.workflow_id for each in self.promised}
        return sorted(set(self.runs) - asked - set(map(bundle_of, asked)))

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.strange)

    @property
    def running(self) -> int:
        return self.ends[RUNNING.name]

    @property
    def at_rest(self) -> bool:
        return not self.running

    @classmethod
    def of_nothing(cls) -> Count:
        return cls((), Counter(), Counter())


class Counting:
    """Counts a scene."""

    def __init__(self, database: Callable[[], psycopg.Connection], address: str, queue: str) -> None:
        self._database = database
        self._address = address
        self._queue = queue

    def count(self) -> Count:
        # The database first: what is committed after this look may be started before the next.
        promised, effects = self.in_database()
        runs, ends = asyncio.run(self._on_server())
        return Count(promised, runs, effects, ends)

    def in_database(self) -> tuple[tuple[Promised, ...], Counter[str]]:
        with self._database() as connection:
            promised = connection.execute("SELECT task_id, workflow_id, effects FROM promised").fetchall()
            effects = connection.execute("SELECT task_id, count(*) FROM effects GROUP BY task_id").fetchall()
        return tuple(Promised(*row) for row in promised), Counter(dict(effects))

    def backlog(self) -> int:
        """How many tasks have yet to take effect."""
        try:
            promised, effects = self.in_database()
        except psycopg.OperationalError:
            return 0
        return sum(effects[each.task_id] < each.effects for each in promised)

    async def _on_server(self) -> tuple[Counter[str], Counter[str]]:
        client = await Client.connect(self._address)
        runs: Counter[str] = Counter()
        ends: Counter[str] = Counter()
        seen = set()
        async for found in client.list_workflows(f"TaskQueue = '{self._queue}'", page_size=1000):
            if found.run_id in seen:  # a page may begin again where another has moved it
                continue
            seen.add(found.run_id)
            runs[found.id] += 1
            ends[found.status.name if found.status else "?"] += 1
        return runs, ends

    def settled(self, within: float) -> Count:
        """The count once nothing is lost and nothing runs; or when the time is over, or nothing has moved for long."""
        now = time.monotonic()
        deadline, standstill, before = now + within, now + STANDSTILL, None
        while now < min(deadline, standstill):
            # The server is asked only once the database says that all is done: to list workflows is work for it.
            promised, effects = self.in_database()
            if all(effects[each.task_id] >= each.effects for each in promised):
                count = self.count()
                if count.at_rest and not count.lost:
                    time.sleep(LATE)
                    return self.count()
            if (promised, effects) != before:
                before, standstill = (promised, effects), now + STANDSTILL
            time.sleep(LOOK_EVERY)
            now = time.monotonic()
        return self.count()
