"""Count tasks: committed tasks and effects by the database, started tasks by the server's lists.

The server lists workflows, and tasks that are standalone activities.

Nothing here reads the package's own logs or tables.
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
"""Seconds to wait for a second effect or a second start."""
STANDSTILL = 40.0
"""Seconds without progress after which missing tasks count as lost. All pauses of relay and server are shorter."""
RUNNING = WorkflowExecutionStatus.RUNNING


@dataclass(frozen=True)
class Promised:
    task_id: str
    workflow_id: str
    effects: int


def bundle_of(task_id: str) -> str:
    """Return the id of the bundle that the task would be in. Repeated here, because nothing of the package is used."""
    return task_id[:-4] + "0000"


@dataclass(frozen=True)
class Count:
    """The counts at one moment."""

    promised: tuple[Promised, ...]
    runs: Counter[str]
    """How often each workflow or standalone activity was started, by its id."""
    effects: Counter[str]
    """How many effects each task had, by its id."""
    ends: Counter[str] = field(default_factory=Counter)
    """How many workflows are in each state."""

    @property
    def committed(self) -> int:
        return len(self.promised)

    @property
    def started(self) -> int:
        """How many workflows the server has started for committed tasks, plus workflows that nobody has asked for."""
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
        """Tasks that were started twice, or have more effects than they should."""
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
    """Count the tasks of a scene."""

    def __init__(self, database: Callable[[], psycopg.Connection], address: str, queue: str) -> None:
        self._database = database
        self._address = address
        self._queue = queue

    def count(self) -> Count:
        # The database first: a task that commits after this query may be started before the next one.
        promised, effects = self.in_database()
        runs, ends = asyncio.run(self._on_server())
        return Count(promised, runs, effects, ends)

    def in_database(self) -> tuple[tuple[Promised, ...], Counter[str]]:
        with self._database() as connection:
            promised = connection.execute("SELECT task_id, workflow_id, effects FROM promised").fetchall()
            effects = connection.execute("SELECT task_id, count(*) FROM effects GROUP BY task_id").fetchall()
        return tuple(Promised(*row) for row in promised), Counter(dict(effects))

    def backlog(self) -> int:
        """Return how many tasks have not taken effect yet."""
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
        query = f"TaskQueue = '{self._queue}'"
        workflows = [
            (found.id, found.run_id, found.status) async for found in client.list_workflows(query, page_size=1000)
        ]
        activities = [
            (found.activity_id, found.activity_run_id, found.status)
            async for found in client.list_activities(query, page_size=1000)
        ]
        for task_id, run_id, status in (*workflows, *activities):
            if run_id in seen:  # it may be listed twice, because new ones move the pages
                continue
            seen.add(run_id)
            runs[task_id] += 1
            ends[status.name if status else "?"] += 1
        return runs, ends

    def settled(self, within: float) -> Count:
        """Return the count when nothing is lost and nothing runs, when time is up, or after a standstill."""
        now = time.monotonic()
        deadline, standstill, before = now + within, now + STANDSTILL, None
        while now < min(deadline, standstill):
            # Ask the server only once the database has all effects, because listing workflows is work for the server.
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
