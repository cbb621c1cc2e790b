"""The web process is killed or frozen."""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping

from ..application import WEB_POINTS
from ..scene import Scene
from .fault import Fault

REQUESTS_A_ROUND = 16
RATE = 30.0
GRACE = 1.0
"""Seconds after which relays may take a row, too: twice dispatch_timeout."""


class NoFault(Fault):
    name = "none"
    does = "nothing is broken"
    holds = "the harness counts right"
    rounds, short_rounds = 10, 3

    def run(self, scene: Scene) -> None:
        scene.web()
        scene.worker(pool="prefork")
        scene.ready()
        with scene.load(self.requests(scene), rate=RATE) as load:
            load.wait()
        scene.answered_as_expected(load)

    def requests(self, scene: Scene) -> int:
        return scene.rounds * REQUESTS_A_ROUND


class WebKilled(NoFault):
    name = "web-killed"
    does = "the web process is killed -9 at any moment"
    holds = "all committed tasks start; no uncommitted task starts"
    rounds, short_rounds = 30, 3

    def run(self, scene: Scene) -> None:
        web = scene.web()
        scene.worker()
        scene.ready()
        with scene.load(self.requests(scene), rate=RATE) as load:
            for _ in range(scene.rounds):
                scene.pause(0.1, 0.6)
                web.kill_and_start()
            load.wait()


class LaneWebKilled(WebKilled):
    name = "lane-web-killed"
    does = "the web process is killed -9 while it sends tasks as standalone activities"
    rounds, short_rounds = 30, 3

    def run(self, scene: Scene) -> None:
        scene.settings["ptemporal.lane"] = "activity"
        super().run(scene)


class WebKilledAtPoints(NoFault):
    name = "web-killed-at"
    does = "the web process is killed -9 before the commit, after the commit, while it sends, or after it has sent"
    holds = "all committed tasks start; no uncommitted task starts"
    rounds, short_rounds = 40, 4

    def run(self, scene: Scene) -> None:
        web = scene.web()
        scene.worker()
        scene.ready()
        points = [WEB_POINTS[number % len(WEB_POINTS)] for number in range(scene.rounds)]
        scene.dice.shuffle(points)
        for point in points:
            deadly = {"die": point, "after": scene.dice.uniform(0, 0.02)}
            with scene.load(REQUESTS_A_ROUND // 2, rate=RATE):
                with scene.load(1, mixture={"five": 1}, parameters=always(deadly)) as load:
                    load.wait()
                scene.expect(load.answers.without == 1, f"the process did not die {point}")
                web.wait_until_ready()


class WebFrozen(NoFault):
    name = "web-frozen"
    does = "the web process is stopped (SIGSTOP) until relays have sent its tasks, and then goes on"
    holds = "each task starts exactly once"
    rounds, short_rounds = 6, 1

    def run(self, scene: Scene) -> None:
        web = scene.web(ptemporal__dispatch_timeout=GRACE / 2)
        scene.worker()
        scene.ready()
        with scene.load(self.requests(scene) * 3, rate=RATE) as load:
            for _ in range(scene.rounds):
                scene.pause(0.3, 0.6)
                web.send(signal.SIGSTOP, group=True)
                scene.pause(GRACE * 2, GRACE * 3)
                web.send(signal.SIGCONT, group=True)
            load.wait()
        scene.answered_as_expected(load)


def always(parameters: Mapping[str, object]):  # type: ignore[no-untyped-def]
    def drawn(dice: random.Random) -> Mapping[str, object]:
        return parameters

    return drawn


WEB = (NoFault, WebKilled, LaneWebKilled, WebKilledAtPoints, WebFrozen)
