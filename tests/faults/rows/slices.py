"""Workers and their processes are killed while they run slices: many members of a group in one activity."""

from __future__ import annotations

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

    def run(self, scene: Scene) -> None:
        scene.web()
        workers = [scene.worker(pool=pool) for pool in ("prefork", "threads")]
        scene.ready()
        crowds = always({"seconds": LONG})
        with scene.load(scene.rounds * 2, rate=1.0, mixture={"crowd": 1}, parameters=crowds) as load:
            for _ in range(scene.rounds):
                scene.pause(0.2, 1.5)
                scene.dice.choice(workers).kill_and_start()
            load.wait()
        scene.answered_as_expected(load)


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


SLICES = (SlicesWorkerKilled, SlicesKilledAtPoints)
