"""The move: its days one after the other, under load, with kills at moments that a seed draws."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ..faults.load import Load
from .application import QUEUES
from .ledger import NEW, Ledger
from .scene import Scene

RATE = 10.0
"""Requests per second."""
MIXTURE: Mapping[str, float] = {"one": 30, "eta": 20, "retry": 15, "chain": 15, "group": 8, "spawn": 8, "abort": 4}
SOONEST, LATEST = 1.0, 8.0
"""Seconds until an ETA."""
CALM = 0.7, 1.8
"""Seconds between two kills."""
STOPS_WITHIN = 30.0
EMPTY_WITHIN = 90.0
SETTLES_WITHIN = 180.0


@dataclass(frozen=True)
class Pace:
    """How many seconds each day lasts, at least."""

    before: float
    queue: float
    web: float
    after: float


SHORT = Pace(before=6, queue=7, web=4, after=5)
LONG = Pace(before=30, queue=45, web=20, after=30)


class Move:
    """One move from Celery to Temporal. `told` says what happens, for the picture and the log."""

    def __init__(self, scene: Scene, dice: random.Random, pace: Pace, tell: Callable[[str], None]) -> None:
        self.scene = scene
        self._dice = dice
        self._pace = pace
        self._tell = tell
        self._load_dice = random.Random(dice.random())
        self.kills: Counter[str] = Counter()
        self.problems: list[str] = []
        self.day = ""

    def run(self) -> Ledger:
        """Move, and return the ledger when everything is at rest."""
        scene = self.scene
        load = Load(scene.web_ports, self._load_dice, 10**6, rate=RATE, mixture=MIXTURE, parameters=parameters)
        with load:
            try:
                self._begin("All queues are on Celery. Temporal's workers wait for tasks.")
                self._live(self._pace.before)
                for queue in self._dice.sample(QUEUES, len(QUEUES)):
                    self._move(queue)
                self._deploy_new_release(load)
                self._drain()
                self._live(self._pace.after)
            finally:
                load.end()
        self._begin("The load has ended. What is under way comes to its end.")
        if unexpected := load.answers.unexpected:
            self.problems.append(f"{len(unexpected)} requests failed, such as {unexpected[0]}")
        return scene.reader.settled(SETTLES_WITHIN)

    # --- the days ------------------------------------------------------------------------------------

    def _move(self, queue: str) -> None:
        self._begin(f"Queue {queue}: the bridge carries beside Celery's worker.")
        self.scene.start_bridge([*self.scene.bridged, queue]).wait_until_ready()
        self._live(self._pace.queue / 2)
        self._begin(f"Queue {queue}: Celery's worker ends, and gives back what it holds.")
        worker = self.scene.stop_celery(queue)
        self._live(self._pace.queue / 2, lambda: not worker.running, STOPS_WITHIN)
        if worker.running:
            self.problems.append(f"Celery's worker of {queue} did not end")
            worker.kill()

    def _deploy_new_release(self, load: Load) -> None:
        for number in range(len(self.scene.webs)):
            self._begin(f"Web process {number + 1} gets the new release, which calls Temporal.")
            self.scene.deploy_web(number, NEW)
            self._live(self._pace.web)

    def _drain(self) -> None:
        self._begin("The last messages leave the broker. The bridge ends by itself when nothing waits.")
        bridge = self.scene.start_bridge(QUEUES, "--until-empty")
        self._live(self._dice.uniform(1, 4))
        self._kill("bridge", self.scene.kill_bridge)
        bridge = self.scene.start_bridge(QUEUES, "--until-empty")
        self._live(0, lambda: not bridge.running, EMPTY_WITHIN, spare=("bridge", "carrier"))
        if bridge.exit_code != 0:
            self.problems.append(f"the bridge ended with {bridge.exit_code} and not 0: {bridge.said[-500:]}")
        if left := {queue: count for queue, count in self.scene.broker.waiting(QUEUES).items() if count}:
            self.problems.append(f"messages are left in the broker: {left}")

    def _begin(self, day: str) -> None:
        self.day = day
        self._tell(day)

    # --- kills ---------------------------------------------------------------------------------------

    def _live(
        self,
        seconds: float,
        is_done: Callable[[], bool] = lambda: True,
        within: float = 0.0,
        spare: Collection[str] = (),
    ) -> None:
        """Kill processes for so many seconds, and then until `is_done`, but not for longer than `within`."""
        began = time.monotonic()
        while (lasted := time.monotonic() - began) < seconds or (lasted < within and not is_done()):
            time.sleep(self._dice.uniform(*CALM))
            targets = {name: kill for name, kill in self._targets().items() if name not in spare}
            name = self._dice.choice(sorted(targets))
            self._kill(name, targets[name])

    def _targets(self) -> Mapping[str, Callable[[], None]]:
        """Return what can be killed now, each with how."""
        scene, dice = self.scene, self._dice
        found: dict[str, Callable[[], None]] = {
            "Temporal worker": lambda: dice.choice(scene.workers).kill_and_start(wait=False),
            "web process": lambda: dice.choice(scene.webs).kill_and_start(wait=False),
        }
        if scene.celery:
            found["Celery worker"] = lambda: scene.kill_celery(dice.choice(sorted(scene.celery)))
        if scene.bridge is not None and scene.bridge.running:
            found |= {"bridge": scene.kill_bridge, "carrier": scene.kill_carrier}
        return found

    def _kill(self, name: str, kill: Callable[[], None]) -> None:
        kill()
        self.kills[name] += 1
        self._tell(f"  kill -9: {name}")


def parameters(dice: random.Random) -> dict[str, object]:
    """Draw the parameters of a request."""
    return {
        "queue": dice.choice(QUEUES),
        "in": round(dice.uniform(SOONEST, LATEST), 2),
        "seconds": round(dice.uniform(0, 0.3), 2),
    }
