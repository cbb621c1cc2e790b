"""The move: its days one after the other, under load, with kills at moments that a seed draws."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ..faults.load import Load
from ..faults.processes import Process
from .application import QUEUES
from .brokers import waiting
from .ledger import NEW, Ledger
from .picture import Picture
from .scene import Scene

RATE = 7.0
"""Requests per second."""
MIXTURE: Mapping[str, float] = {"one": 30, "eta": 20, "retry": 15, "chain": 15, "group": 8, "spawn": 8, "abort": 4}
TEMPORAL, CELERY = "temporal", "celery"
"""The two sides, by the names that `migrate switch` has for them."""
SOONEST, LATEST = 1.0, 6.0
"""Seconds until an ETA."""
RARE = 6.0, 12.0
"""Seconds between two kills while something has to come to its end."""
BUSY_KILLS = 2
"""Kills of the bridge for each queue, while it catches up."""
LOOK_EVERY = 0.4
FULL = 120
"""If so many tasks wait, no more are called until half of them have run."""
STOPS_WITHIN = 12.0
EMPTY_WITHIN = 90.0
SETTLES_WITHIN = 180.0


@dataclass(frozen=True)
class Pace:
    """How many seconds each day lasts, at least."""

    before: float
    queue: float
    web: float
    after: float
    calm: tuple[float, float]
    """Seconds between two kills."""


DEMO = Pace(before=3, queue=4, web=1, after=1, calm=(1.5, 3.5))
SHORT = Pace(before=4, queue=5, web=2, after=2, calm=(1.5, 3.0))
LONG = Pace(before=20, queue=30, web=15, after=20, calm=(1.0, 2.5))


class Move:
    """One move from Celery to Temporal, which the picture shows."""

    def __init__(self, scene: Scene, dice: random.Random, pace: Pace, picture: Picture) -> None:
        self.scene = scene
        self._dice = dice
        self._pace = pace
        self._picture = picture
        load_dice = random.Random(dice.random())
        self._load = Load(scene.web_ports, load_dice, 10**6, rate=RATE, mixture=MIXTURE, parameters=parameters)
        self._next_kill = 0.0
        self.kills: Counter[str] = Counter()
        self.problems: list[str] = []
        """Failures that the counts do not show."""

    def run(self, *, there_only: bool) -> Ledger:
        """Move there, back, and there again. Return the ledger when everything is at rest."""
        with self._load as load:
            try:
                self._there()
                if not there_only:
                    self._back()
                    self._there_again()
            finally:
                load.end()
        self._picture.day("The load has ended. What is under way comes to its end.")
        if unexpected := load.answers.unexpected:
            self.problems.append(f"{len(unexpected)} requests failed, such as {unexpected[0]}")
        return self.scene.reader.settled(SETTLES_WITHIN)

    # --- the days ------------------------------------------------------------------------------------

    def _there(self) -> None:
        self._picture.day("All queues are on Celery. Temporal's workers wait for tasks.")
        self._live(self._pace.before)
        for queue in self._in_some_order():
            self._move(queue)
            self._kill_while_carrying()
        self._deploy_new_release()
        self._drain()

    def _back(self) -> None:
        self._picture.day("Back: Celery's workers of all queues start again.")
        self.scene.start_celery()
        for queue in self._in_some_order():
            self._switch(queue, CELERY, 100)
        self._live(self._pace.queue)

    def _there_again(self) -> None:
        for queue in self._in_some_order():
            self._switch(queue, TEMPORAL, 50)
            self._switch(queue, TEMPORAL, 100)
            self._move(queue)
        self._drain()

    def _move(self, queue: str) -> None:
        self._picture.day(f"Queue {queue}: the bridge carries beside Celery's worker.")
        self.scene.start_bridge([*self.scene.bridged, queue]).wait_until_ready()
        self._live(self._pace.queue / 2)
        self._picture.day(f"Queue {queue}: Celery's worker ends, and gives back what it holds.")
        worker = self.scene.stop_celery(queue)
        self._live(self._pace.queue / 2, lambda: not worker.running, STOPS_WITHIN)
        if worker.running:
            self._picture.note("Celery's worker waits for a task of a killed child, and is killed too")
            self.scene.give_up(worker)

    def _deploy_new_release(self) -> None:
        for number in range(len(self.scene.webs)):
            self._picture.day(f"Web process {number + 1} gets the new release, which calls Temporal.")
            self.scene.deploy_web(number, NEW)
            self._live(self._pace.web)

    def _switch(self, queue: str, side: str, percent: int) -> None:
        self._picture.day(f"Queue {queue}: the switch gives {percent} % of its calls to {side.capitalize()}.")
        self.scene.switch(queue, side, percent)
        self._live(self._pace.queue / 2)

    def _in_some_order(self) -> list[str]:
        return self._dice.sample(QUEUES, len(QUEUES))

    def _drain(self) -> None:
        self._picture.day("The last messages leave the broker: `migrate drain --watch` waits until nothing is left.")
        drain = self.scene.drain()
        self._live(0, lambda: not drain.running, EMPTY_WITHIN)
        if drain.exit_code != 0:
            self.problems.append(f"`migrate drain` ended with {drain.exit_code} and not 0: {drain.said[-500:]}")
        self.scene.stop_bridge()
        if left := {queue: count for queue, count in waiting(self.scene.broker, QUEUES).items() if count}:
            self.problems.append(f"messages are left in the broker: {left}")
        self._live(self._pace.after)

    # --- kills ---------------------------------------------------------------------------------------

    def _live(self, seconds: float, is_done: Callable[[], bool] = lambda: True, within: float = 0.0) -> None:
        """Kill processes for so many seconds, and then wait until `is_done`, but not for longer than `within`."""
        began = time.monotonic()
        while (lasted := time.monotonic() - began) < seconds or (lasted < within and not is_done()):
            time.sleep(LOOK_EVERY)
            self._hold_back()
            # While something has to come to its end, kills are rare: a bridge that is always killed carries nothing.
            self._kill_one(self._pace.calm if lasted < seconds else RARE)

    def _hold_back(self) -> None:
        """Let no request in while too many tasks wait, as on a slow machine."""
        backlog = self.scene.backlog()
        if backlog > FULL:
            self._load.hold()
        elif backlog < FULL / 2:
            self._load.go_on()

    def _kill_one(self, pause: tuple[float, float]) -> None:
        targets = self._targets()
        if time.monotonic() < self._next_kill or not targets:
            return
        name = self._dice.choice(sorted(targets))
        self._kill(name, targets[name])
        self._next_kill = time.monotonic() + self._dice.uniform(*pause)

    def _kill_while_carrying(self) -> None:
        """Kill the bridge, its carrier, or both, at moments when starts are under way.

        A bridge that keeps up rarely has a message in its hands, so a kill at any moment rarely hits one. Here messages
        gather while the bridge is away, and it is killed while it catches up.
        """
        for _ in range(BUSY_KILLS):
            self._kill("bridge", self.scene.kill_bridge)
            self.scene.wait_until_carrying()
            time.sleep(self._dice.uniform(0, 0.2))
            whom = self._dice.choice(["bridge", "carrier", "bridge and carrier"])
            if whom != "bridge":
                self._kill("carrier", self.scene.kill_carrier)
            if whom != "carrier":
                self._kill("bridge", self.scene.kill_bridge)

    def _kill(self, name: str, kill: Callable[[], None]) -> None:
        kill()
        self.kills[name] += 1
        self._picture.kill(name)

    def _targets(self) -> Mapping[str, Callable[[], None]]:
        """Return what can be killed now. Each function kills one process of its kind, of those that are ready."""
        scene = self.scene
        found: dict[str, Callable[[], None]] = {}
        if workers := [each for each in scene.workers if each.ready]:
            found["Temporal worker"] = partial(self._again, workers)
        if webs := [each for each in scene.webs if each.ready]:
            found["web process"] = partial(self._again, webs)
        if celery := [each for _, each in sorted(scene.celery.items()) if each.ready]:
            found["Celery worker"] = lambda: scene.kill_celery(self._dice.choice(celery))
        if scene.bridge is not None and scene.bridge.ready:
            found |= {"bridge": scene.kill_bridge, "carrier": scene.kill_carrier}
        return found

    def _again(self, processes: Sequence[Process]) -> None:
        self._dice.choice(processes).kill_and_start(wait=False)


def parameters(dice: random.Random) -> dict[str, object]:
    """Draw the parameters of a request."""
    return {
        "queue": dice.choice(QUEUES),
        "in": round(dice.uniform(SOONEST, LATEST), 2),
        "seconds": round(dice.uniform(0, 0.3), 2),
    }
