"""Read the ledger, and count: committed, started, effects, lost and doubled.

A task counts as doubled if it has two effects or two workflows, or if one attempt of it has begun on both sides.

Some losses and doubles are Celery's or AMQP's own. They count apart, and only where the ledger shows the cause:

- *Never sent.* The old release publishes after its commit. A process that is killed between the two loses the task. The
  ledger marks a promise as sent after the publish, so this task has no mark and no effect. A task whose message is lost
  after its publish and before its mark looks the same. There is at most one such request for each kill.
- *Run again.* Celery acknowledges a message after the task. A worker that is killed before its acknowledgement has the
  task run again, and the next step of its chain, or its next attempt, may be published twice. Such a task has begun in
  a process of Celery's that was killed within the next `KILLED_WITHIN` seconds. The tasks of its order may run twice.
- *Published twice.* The switch gives a call of the new release to Celery. It may reach RabbitMQ twice: its process may
  be killed after the broker's confirmation, before the outbox row is deleted. Redis refuses the second message, so a
  task that Redis has twice counts as doubled.

All other losses and doubles are the move's doing, and must be zero.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psycopg
from temporalio.client import Client, WorkflowExecutionStatus

OLD, NEW = "old", "new"
KILLED_WITHIN = 10.0
LOOK_EVERY = 1.0
LATE = 2.0
"""Seconds to wait for a second effect."""
STANDSTILL = 60.0
"""Seconds without progress after which missing tasks count as lost."""


@dataclass(frozen=True)
class Promised:
    order_id: int
    queue: str
    kind: str
    release: str
    sent: bool


@dataclass(frozen=True)
class Begun:
    task_id: str
    order_id: int
    attempt: int
    release: str
    pid: int
    at: float


@dataclass(frozen=True)
class Effect:
    task_id: str
    order_id: int
    release: str


@dataclass(frozen=True)
class Ledger:
    """The ledger at one moment, with what the Temporal server has started, and which Celery processes were killed."""

    promised: Mapping[str, Promised]
    begun: tuple[Begun, ...]
    effects: tuple[Effect, ...]
    workflows: Counter[str]
    """How often each workflow was started, by its id."""
    running: int
    killed: Mapping[int, float]
    """When each killed process of Celery's was killed, by its pid."""
    publishes_once: bool = True
    """Whether Celery's broker refuses a call that is published a second time."""

    @property
    def runs(self) -> Counter[str]:
        return Counter(each.task_id for each in self.effects)

    @property
    def never_sent(self) -> set[str]:
        runs = self.runs
        return {task_id for task_id, each in self.promised.items() if not each.sent and not runs[task_id]}

    @property
    def committed(self) -> set[str]:
        """The tasks that must run."""
        return set(self.promised) - self.never_sent

    @property
    def started(self) -> set[str]:
        """The tasks that a worker of either side has begun, or the Temporal server has."""
        return {each.task_id for each in self.begun} | (set(self.workflows) & set(self.promised))

    @property
    def lost(self) -> set[str]:
        return self.committed - set(self.runs)

    @property
    def excused_orders(self) -> set[int]:
        """Orders of which a task was in the hands of a Celery process when that was killed."""
        return {
            each.order_id
            for each in self.begun
            if each.release == OLD and 0 <= self.killed.get(each.pid, 0) - each.at <= KILLED_WITHIN
        }

    @property
    def twice(self) -> set[str]:
        """Tasks with two effects, two workflows, or the same attempt on both sides."""
        sides: dict[tuple[str, int], set[str]] = {}
        for each in self.begun:
            sides.setdefault((each.task_id, each.attempt), set()).add(each.release)
        return {
            *(task_id for task_id, count in self.runs.items() if count > 1),
            *(task_id for task_id, count in self.workflows.items() if count > 1),
            *(task_id for (task_id, _), both in sides.items() if len(both) > 1),
        }

    @property
    def doubled(self) -> set[str]:
        return self.twice - self.doubled_by_celery - self.published_twice

    @property
    def doubled_by_celery(self) -> set[str]:
        excused = self.excused_orders
        return {each for each in self.twice if each in self.promised and self.promised[each].order_id in excused}

    @property
    def published_twice(self) -> set[str]:
        if self.publishes_once:
            return set()
        on_celery = {each.task_id for each in self.begun if each.release == OLD}
        return {each for each in self.twice & on_celery if self.promised[each].release == NEW} - self.doubled_by_celery

    @property
    def strange(self) -> set[str]:
        """Tasks that ran and were never committed, or that got the arguments of another task."""
        orders = {task_id: each.order_id for task_id, each in self.promised.items()}
        return {each.task_id for each in self.effects if orders.get(each.task_id) != each.order_id}

    @property
    def carried(self) -> Counter[str]:
        """How many tasks the old release has called and the new one has run, by kind."""
        return self._crossed(OLD, NEW)

    @property
    def returned(self) -> Counter[str]:
        return self._crossed(NEW, OLD)

    def _crossed(self, caller: str, runner: str) -> Counter[str]:
        ran = {each.task_id for each in self.effects if each.release == runner}
        found = ((task_id, each) for task_id, each in self.promised.items() if each.release == caller)
        return Counter(each.kind for task_id, each in found if task_id in ran)

    @property
    def problems(self) -> list[str]:
        """Say what was lost, doubled or strange, with some ids to look for in the logs."""
        found = {"lost": self.lost, "doubled": self.doubled, "ran without a commit": self.strange}
        told = [f"{len(ids)} {what}: {' '.join(sorted(ids)[:3])}" for what, ids in found.items() if ids]
        if self.running:
            told.append(f"{self.running} workflows still run")
        return told


class Reader:
    """Reads the ledger from the database, and the workflows from the server."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        address: str,
        killed: Mapping[int, float],
        publishes_once: bool,
    ) -> None:
        self._connect = connect
        self._address = address
        self._killed = killed
        self._publishes_once = publishes_once

    def read(self) -> Ledger:
        # The database first: a task that commits after this query may be started before the next one.
        with self._connect() as connection:
            promised = connection.execute(
                "SELECT task_id, order_id, queue, kind, release, sent FROM promised"
            ).fetchall()
            begun = connection.execute(
                "SELECT task_id, order_id, attempt, release, pid, extract(epoch from at)::float FROM begun"
            ).fetchall()
            effects = connection.execute("SELECT task_id, order_id, release FROM effects").fetchall()
        workflows, running = asyncio.run(self._on_server())
        return Ledger(
            {task_id: Promised(*rest) for task_id, *rest in promised},
            tuple(Begun(*row) for row in begun),
            tuple(Effect(*row) for row in effects),
            workflows,
            running,
            dict(self._killed),
            self._publishes_once,
        )

    async def _on_server(self) -> tuple[Counter[str], int]:
        client = await Client.connect(self._address)
        found: dict[str, tuple[str, bool]] = {}  # by run, because new workflows move the pages
        async for each in client.list_workflows(page_size=1000):
            found[each.run_id] = each.id, each.status == WorkflowExecutionStatus.RUNNING
        return Counter(name for name, _ in found.values()), sum(runs for _, runs in found.values())

    def settled(self, within: float) -> Ledger:
        """Return the ledger when nothing is lost and nothing runs, when time is up, or after a standstill."""
        now = time.monotonic()
        deadline, standstill, before = now + within, now + STANDSTILL, (-1, -1)
        while now < min(deadline, standstill):
            found = self.read()
            if not found.lost and not found.running:
                time.sleep(LATE)
                return self.read()
            if (progress := (len(found.begun), len(found.effects))) != before:
                before, standstill = progress, now + STANDSTILL
            time.sleep(LOOK_EVERY)
            now = time.monotonic()
        return self.read()
