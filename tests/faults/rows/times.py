"""Wrong clocks, and times that have passed."""

from __future__ import annotations

import signal
import time

from ..counting import Count
from ..scene import Scene
from .fault import Fault
from .web import always

RATE = 25.0
HOUR = 3600
SOON = 1.0


class Clock(Fault):
    name = "clock"
    does = "the clocks of the web processes are two hours ahead or behind, and jump; the server is away at times"
    holds = "countdown and expires count from the call; a task whose eta has passed starts at once"
    rounds, short_rounds = 6, 2

    def run(self, scene: Scene) -> None:
        webs = [scene.web({"FAULTS_CLOCK": str(shift)}) for shift in (2 * HOUR, -2 * HOUR)]
        scene.worker()
        scene.ready()
        parameters = always({"by": 60, "in": SOON, "effects": 1})
        mixture = {"one": 1, "late": 1, "soon": 2}
        with scene.load(scene.rounds * 25, rate=RATE, mixture=mixture, parameters=parameters) as load:
            for number in range(scene.rounds):
                scene.pause(0.3, 1.0)
                if number % 2:
                    scene.server.kill()
                    scene.pause(0.5, 1.0)
                    scene.server.start()
                else:
                    scene.dice.choice(webs).send(signal.SIGUSR1)
            load.wait()
            with scene.load(10, mixture={"expire": 1}, parameters=always({"in": 60, "effects": 1})) as lasting:
                lasting.wait()
        scene.answered_as_expected(load)

    def count(self, scene: Scene) -> Count:
        count = scene.settled()
        with scene.connect() as connection:
            [(early,)] = connection.execute(
                "SELECT count(*) FROM effects JOIN orders ON orders.id = order_id "
                "WHERE kind = 'soon' AND effects.at < orders.at + make_interval(secs => %s)",
                [SOON - 0.1],
            ).fetchall()
        scene.expect(not early, f"{early} countdowns were cut short")
        return count


class Expiring(Fault):
    name = "expires"
    does = "tasks expire before a worker is there"
    holds = "expired tasks never run; the other tasks run"
    rounds, short_rounds = 4, 1
    requests = 12

    def run(self, scene: Scene) -> None:
        scene.web()
        scene.ready()
        for seconds, effects in ((1, 0), (120, 1)):
            parameters = always({"in": seconds, "effects": effects})
            requests = self.requests * scene.rounds
            with scene.load(requests, rate=RATE, mixture={"expire": 1}, parameters=parameters) as load:
                load.wait()
            scene.answered_as_expected(load)
        time.sleep(1.0)
        scene.worker()
        scene.ready()


TIMES = (Clock, Expiring)
