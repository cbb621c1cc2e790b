"""A worker, or a part of it, is killed or frozen."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping

from ..application import TASK_POINTS
from ..counting import Count
from ..load import MIXTURE
from ..scene import HEARTBEAT_TIMEOUT, Scene
from .fault import Fault
from .web import always

RATE = 30.0
RETRIES = 2
ORPHANS_END_WITHIN = 10.0


class WorkerKilled(Fault):
    name = "worker-killed"
    does = "a worker and its child processes are killed -9 at any moment"
    holds = "the task runs again; its effects happen exactly once"
    rounds, short_rounds = 12, 1
    pool = "prefork"
    mixture = MIXTURE
    parameters: Mapping[str, object] = {}

    def run(self, scene: Scene) -> None:
        scene.web()
        workers = [scene.worker(pool=self.pool) for _ in range(2)]
        scene.ready()
        how = {"mixture": self.mixture, "parameters": always(self.parameters)}
        with scene.load(scene.rounds * 20, rate=RATE, **how) as load:
            for _ in range(scene.rounds):
                scene.pause(0.3, 1.0)
                scene.dice.choice(workers).kill_and_start()
            load.wait()
        scene.answered_as_expected(load)


class LaneWorkerKilled(WorkerKilled):
    name = "lane-worker-killed"
    does = "a worker whose tasks are standalone activities is killed -9 at any moment"
    rounds, short_rounds = 12, 1

    def run(self, scene: Scene) -> None:
        scene.settings["ptemporal.lane"] = "activity"
        super().run(scene)


class RetriesKilled(WorkerKilled):
    """Each attempt that was lost must count as a lost worker, and each other attempt as a retry."""

    name = "retries-killed"
    does = "a worker is killed -9 at any moment; each task retries twice before it takes effect"
    holds = "each task retries exactly twice; its effects happen exactly once"
    pool = "threads"
    mixture: Mapping[str, float] = {"one": 1}
    parameters: Mapping[str, object] = {"retries": RETRIES}

    def count(self, scene: Scene) -> Count:
        count = scene.settled()
        with scene.connect() as connection:
            query = "SELECT task_id, attempt FROM effects WHERE attempt <> %s"
            wrong = connection.execute(query, (RETRIES,)).fetchall()
        scene.expect(not wrong, f"{len(wrong)} tasks did not retry {RETRIES} times, such as {wrong[:3]}")
        return count


class WorkerKilledThreads(WorkerKilled):
    name = "worker-killed-threads"
    short_rounds = 0
    pool = "threads"


class WorkerKilledAtPoints(Fault):
    name = "worker-killed-at"
    does = "a worker is killed -9 before the task, in it, before its commit, after its commit, or before the reply"
    holds = "the task runs again; its effects happen exactly once"
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


class MainKilled(Fault):
    name = "main-killed"
    does = "only the worker's main process is killed -9; its child processes are left behind"
    holds = "the child processes end by themselves; effects happen exactly once"
    rounds, short_rounds = 12, 1

    def run(self, scene: Scene) -> None:
        scene.web()
        workers = [scene.worker(pool="prefork") for _ in range(2)]
        scene.ready()
        with scene.load(scene.rounds * 20, rate=RATE) as load:
            for _ in range(scene.rounds):
                scene.pause(0.3, 1.0)
                worker = scene.dice.choice(workers)
                scene.expect(worker.kill_alone(ORPHANS_END_WITHIN), "children of a killed worker live on")
                worker.kill_and_start()
            load.wait()
        scene.answered_as_expected(load)


class WorkerFrozen(Fault):
    name = "worker-frozen"
    does = "a worker is stopped (SIGSTOP) for longer than heartbeat_timeout, is taken for dead, and then goes on"
    holds = "its tasks run elsewhere meanwhile; effects happen exactly once"
    rounds, short_rounds = 8, 1

    def run(self, scene: Scene) -> None:
        scene.web()
        workers = [scene.worker(pool=pool) for pool in ("prefork", "threads")]
        scene.ready()
        long = always({"seconds": 0.3})
        with scene.load(scene.rounds * 60, rate=15, mixture={"one": 1}, parameters=long) as load:
            for number in range(scene.rounds):
                scene.pause(0.3, 0.6)
                worker = workers[number % len(workers)]
                worker.send(signal.SIGSTOP, group=True)
                time.sleep(HEARTBEAT_TIMEOUT * 1.5)
                worker.send(signal.SIGCONT, group=True)
            load.wait()
        scene.answered_as_expected(load)


WORKER = (
    WorkerKilled,
    LaneWorkerKilled,
    WorkerKilledThreads,
    RetriesKilled,
    MainKilled,
    WorkerKilledAtPoints,
    ChildKilledAtPoints,
    WorkerFrozen,
)
