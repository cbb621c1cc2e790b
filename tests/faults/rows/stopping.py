"""Workers are stopped and replaced as deployments do it."""

from __future__ import annotations

from ..load import MIXTURE
from ..scene import Scene
from .fault import Fault
from .web import always

RATE = 12.0


class SigtermThreads(Fault):
    name = "sigterm-threads"
    does = "workers with long tasks get SIGTERM under load, and new workers replace them"
    holds = "no task is lost, and no task runs twice, although receipts are off"
    rounds, short_rounds = 10, 1
    pool, concurrency = "threads", 4
    options: tuple[object, ...] = ()
    exit_codes = (0,)

    def run(self, scene: Scene) -> None:
        scene.settings["ptemporal.receipts"] = None
        scene.web()
        worker = scene.worker(*self.options, pool=self.pool, concurrency=self.concurrency)
        scene.ready()
        long = always({"seconds": 0.4})
        with scene.load(scene.rounds * 20, rate=RATE, mixture={"one": 1}, parameters=long) as load:
            for _ in range(scene.rounds):
                scene.pause(0.3, 1.0)
                after = scene.worker(*self.options, pool=self.pool, concurrency=self.concurrency)
                after.wait_until_ready()
                code = worker.stop()
                scene.expect(code in self.exit_codes, f"a worker ended with {code}")
                worker = after
            load.wait()
        scene.answered_as_expected(load)


class SigtermPrefork(SigtermThreads):
    name = "sigterm-prefork"
    pool = "prefork"


class SigtermSolo(SigtermThreads):
    name = "sigterm-solo"
    rounds, short_rounds = 5, 1
    pool, concurrency = "solo", 1


class SigtermImpatient(SigtermThreads):
    name = "sigterm-impatient"
    short_rounds = 0
    does = "as sigterm-prefork, with a --graceful-timeout shorter than a task: it is rolled back, and runs again"
    holds = "no task is lost, and no effect happens twice"
    pool = "prefork"
    options = ("--graceful-timeout", 0.2)
    exit_codes = (0, 1)


class RollingDeploy(Fault):
    name = "rolling-deploy"
    does = "old and new workers run side by side; only the new workers know one of the tasks"
    holds = "no task fails that would succeed on a new worker"
    rounds, short_rounds = 4, 1
    requests = 40

    def run(self, scene: Scene) -> None:
        scene.web()
        old = [scene.worker(pool=pool, environment={"FAULTS_RELEASE": "old"}) for pool in ("prefork", "threads")]
        scene.ready()
        mixture = {**MIXTURE, "new": 40}
        for _ in range(scene.rounds):
            with scene.load(self.requests, rate=20, mixture=mixture) as load:
                scene.pause(0.5, 1.0)
                new = scene.worker(pool="prefork")
                new.wait_until_ready()
                load.wait()
            scene.answered_as_expected(load)
        for worker in old:
            worker.stop()


STOPPING = (SigtermThreads, SigtermPrefork, SigtermSolo, SigtermImpatient, RollingDeploy)
