"""Workers and their processes are killed while they run slices: many members of a group in one activity."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ..application import CROWD, TASK_POINTS
from ..counting import Count
from ..scene import Scene
from .fault import Fault
from .web import always

LONG = 0.6
"""Seconds that each tenth member takes: longer than a slice."""


class SlicesWorkerKilled(Fault):
    name = "slices-worker-killed"
    does = "a worker and its child processes are killed -9 while they run slices of large groups"
    holds = "members that had ended do not run again, the others do; effects happen exactly once"
    rounds, short_rounds = 10, 2
    canvas = "crowd"
    """What each request sends."""
    rate = 1.0
    """Requests a second."""
    requests = 2
    """Requests of each round."""

    def run(self, scene: Scene) -> None:
        scene.web()
        workers = [scene.worker(pool=pool) for pool in ("prefork", "threads")]
        scene.ready()
        count, long_members = scene.rounds * self.requests, always({"seconds": LONG})
        with scene.load(count, rate=self.rate, mixture={self.canvas: 1}, parameters=long_members) as load:
            for _ in range(scene.rounds):
                scene.pause(0.2, 1.5)
                scene.dice.choice(workers).kill_and_start()
            load.wait()
        scene.answered_as_expected(load)


class ChainsWorkerKilled(SlicesWorkerKilled):
    name = "chains-worker-killed"
    does = "a worker and its child processes are killed -9 while they run the steps of chains in slices"
    holds = "steps that had ended do not run again, the others do; effects happen exactly once"
    canvas, rate, requests = "chain", 20.0, 20


class SlicesKilledAtPoints(Fault):
    name = "slices-killed-at"
    does = "members of a slice kill their process, or the whole worker, at five points"
    holds = "each such member takes no other down with it twice; effects happen exactly once"
    rounds, short_rounds = 4, 2
    """Groups. Every second one kills whole workers."""

    def run(self, scene: Scene) -> None:
        scene.web()
        for _ in range(2):
            scene.worker(pool="prefork", concurrency=2, supervised=True)
        scene.ready()
        for number in range(scene.rounds):
            deadly = {"points": " ".join(TASK_POINTS), "whole": "1" if number % 2 else ""}
            with scene.load(1, mixture={"crowd": 1}, parameters=always(deadly)) as load:
                load.wait()
            scene.settled()

    def count(self, scene: Scene) -> Count:
        count = scene.settled()
        with scene.connect() as connection:
            [(deaths,)] = connection.execute("SELECT count(*) FROM deaths").fetchall()
        due = scene.rounds * len(TASK_POINTS)
        scene.expect(deaths == due, f"{deaths} members died, and {due} were to")
        scene.expect(count.committed == scene.rounds * CROWD, f"{count.committed} members were committed")
        return count


class SlicesWithoutReceipts(Fault):
    name = "slices-no-receipts"
    does = "as slices-worker-killed, with receipts off"
    holds = "no effect is lost; only what ended in the last moments before a kill may happen twice"
    rounds, short_rounds = 8, 1

    def run(self, scene: Scene) -> None:
        scene.settings["ptemporal.receipts"] = "false"
        scene.web()
        workers = [scene.worker(pool=pool) for pool in ("prefork", "threads")]
        scene.ready()
        self.kills: list[tuple[Any, Any]] = []
        """Times before and after each kill, by the database's clock."""
        with scene.load(scene.rounds * 3, rate=2.0, mixture={"crowd": 1}) as load, scene.connect() as database:
            for _ in range(scene.rounds):
                scene.pause(0.2, 1.0)
                worker = scene.dice.choice(workers)
                before = time_of(database)
                worker.kill()
                self.kills.append((before, time_of(database)))
                worker.start()
            load.wait()
        scene.answered_as_expected(load)

    def count(self, scene: Scene) -> Count:
        count = scene.settled()
        with scene.connect() as database:
            again = database.execute(EFFECTS_THAT_CAME_AGAIN).fetchall()
        allowed = {task_id for task_id, first in again if self._is_recent(first)}
        effects = Counter({task: 1 if task in allowed else number for task, number in count.effects.items()})
        return replace(count, effects=effects)

    def _is_recent(self, first: Any) -> bool:
        return any(before - LAST_MOMENTS <= first <= after for before, after in self.kills)


EFFECTS_THAT_CAME_AGAIN = "SELECT task_id, min(at) FROM effects GROUP BY task_id HAVING count(*) > 1"
LAST_MOMENTS = timedelta(seconds=0.25 + 1.0)
"""`ptemporal.slice`, and the time of one call to a server on a busy machine."""


def time_of(database: Any) -> Any:
    [(now,)] = database.execute("SELECT clock_timestamp()").fetchall()
    return now


SLICES = (SlicesWorkerKilled, ChainsWorkerKilled, SlicesKilledAtPoints, SlicesWithoutReceipts)
