"""The worker dies."""

from __future__ import annotations

from ..application import TASK_POINTS
from ..counting import Count
from ..scene import Scene
from .fault import Fault
from .web import always

RATE = 30.0


class WorkerKilled(Fault):
    name = "worker-killed"
    does = "a worker is killed -9 at any moment, with its processes"
    holds = "it runs again; effects exactly once"
    rounds, short_rounds = 12, 2
    pool = "prefork"

    def run(self, scene: Scene) -> None:
        scene.web()
        workers = [scene.worker(pool=self.pool) for _ in range(2)]
        scene.ready()
        with scene.load(scene.rounds * 20, rate=RATE) as load:
            for _ in range(scene.rounds):
                scene.pause(0.3, 1.0)
                scene.dice.choice(workers).kill_and_start()
            load.wait()
        scene.answered_as_expected(load)


class WorkerKilledThreads(WorkerKilled):
    name = "worker-killed-threads"
    pool = "threads"


class WorkerKilledAtPoints(Fault):
    name = "worker-killed-at"
    does = "a worker is killed -9 before the task, in it, before its commit, after that, and before the reply"
    holds = "it runs again; effects exactly once"
    rounds, short_rounds = 20, 5
    pool = "prefork"
    whole = "1"

    def run(self, scene: Scene) -> None:
        scene.web()
        for _ in range(2):
            scene.worker(pool=self.pool, concurrency=2, supervised=True)
        scene.ready()
        points = [TASK_POINTS[number % len(TASK_POINTS)] for number in range(scene.rounds)]
        scene.dice.shuffle(points)
        for point in points:
            with scene.load(6, rate=RATE):
                deadly = {"point": point, "whole": self.whole}
                with scene.load(1, mixture={"one": 1}, parameters=always(deadly)) as load:
                    load.wait()

    def count(self, scene: Scene) -> Count:
        count = scene.settled()
        with scene.connect() as connection:
            [(deaths,)] = connection.execute("SELECT count(*) FROM deaths").fetchall()
        scene.expect(deaths == scene.rounds, f"{deaths} tasks died, and {scene.rounds} were to")
        return count


class ChildKilledAtPoints(WorkerKilledAtPoints):
    name = "child-killed-at"
    does = "one process of the pool is killed -9 at the same points"
    whole = ""


WORKER = (WorkerKilled, WorkerKilledThreads, WorkerKilledAtPoints, ChildKilledAtPoints)
