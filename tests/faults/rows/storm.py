"""The storm: faults of all kinds at random moments."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..application import TASK_POINTS, WEB_POINTS
from ..load import MIXTURE
from ..processes import Process
from ..proxy import Proxy, commits
from ..scene import DISPATCH_TIMEOUT, HEARTBEAT_TIMEOUT, Scene
from .fault import Fault
from .web import always

T = TypeVar("T")

RATE = 40.0
CALLS = {**MIXTURE, "contend": 5, "crowd": 1}
"""The kinds of requests, with groups that run in slices."""
TASKS_A_REQUEST = 2.5
"""Tasks that a request of these kinds commits, on average."""
CUT_EVERY = 150
"""One commit in so many loses its answer."""
CALM = 0.3, 2.0
"""Seconds between two faults."""
FULL = 300
"""If so many tasks wait, no more are called until half of them have run. So faults hit tasks at every stage."""


class Storm(Fault):
    name = "storm"
    does = "random faults of all these kinds, one after the other"
    holds = "committed = started = effects"
    rounds, short_rounds = 10_000, 800
    """The number of tasks, for this fault."""
    own_postgres = True

    def run(self, scene: Scene) -> None:
        weather = Weather(scene)
        scene.ready()
        requests = int(scene.rounds / TASKS_A_REQUEST)
        began = time.monotonic()
        with scene.load(requests, rate=RATE, mixture=CALLS, at_once=8) as load:
            while load.running:
                scene.pause(*CALM)
                weather.break_something()
                backlog = scene.counting.backlog()
                if backlog > FULL:
                    load.hold()
                elif backlog < FULL / 2:
                    load.go_on()
            load.wait()
        print(f"  {time.monotonic() - began:.0f} s of storm: {weather.told()}", flush=True)


class Weather:
    """The processes of the storm, and the faults that may hit them."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        dice = random.Random(scene.dice.random())  # the proxy's thread needs its own dice

        def cut(data: bytes) -> bool:
            return commits(data) and dice.random() < 1 / CUT_EVERY

        self.to_database = scene.using(Proxy(scene.postgres.port, cut))
        self.to_server = scene.using(Proxy(scene.server.port or 0))
        scene.settings["sqlalchemy.url"] = scene.postgres.url(scene.name, self.to_database.port)
        scene.settings["ptemporal.transaction_attempts"] = 20
        through = {"ptemporal__address": self.to_server.address}
        self.webs = [scene.web(), scene.web(**through)]
        self.workers = [
            scene.worker(pool="prefork", supervised=True),
            scene.worker(pool="prefork", supervised=True, **through),
            scene.worker(pool="threads", supervised=True),
        ]
        self.relay = scene.relay(supervised=True)
        self.faults: dict[str, tuple[float, Callable[[], None]]] = {
            "web killed": (4, lambda: self.one(self.webs).kill_and_start(wait=False)),
            "web killed at a point": (4, self.kill_web_at_point),
            "worker killed": (3, lambda: self.one(self.workers).kill_and_start(wait=False)),
            "task killed at a point": (3, self.kill_task_at_point),
            "web frozen": (1, lambda: self.freeze(self.one(self.webs))),
            "worker frozen": (1, lambda: self.freeze(self.one(self.workers))),
            "worker told to end": (2, lambda: self.one(self.workers).send(signal.SIGTERM)),
            "relay killed": (2, lambda: self.relay.kill_and_start(wait=False)),
            "server killed": (1, self.kill_server),
            "connections to the server refused": (2, self.refuse),
            "connections to the server hang": (1, self.hang),
            "connections to the server cut": (2, self.to_server.cut),
            "database restarted": (1, self.restart_database),
            "connections to the database ended": (2, self.end_connections),
            "connections to the database cut": (2, self.to_database.cut),
        }
        self.counts = dict.fromkeys(self.faults, 0)

    def one(self, several: Sequence[T]) -> T:
        return self.scene.dice.choice(several)

    def break_something(self) -> None:
        names = list(self.faults)
        [name] = self.scene.dice.choices(names, [self.faults[name][0] for name in names])
        self.counts[name] += 1
        self.faults[name][1]()

    def told(self) -> str:
        found = [f"{name}: {count}" for name, count in self.counts.items() if count]
        return ", ".join([*found, f"connection cut in a commit: {self.to_database.cuts}"])

    def kill_web_at_point(self) -> None:
        dice = self.scene.dice
        deadly = {"die": dice.choice(WEB_POINTS), "after": dice.uniform(0, 0.02)}
        with self.scene.load(1, mixture={"five": 1}, parameters=always(deadly)) as load:
            load.wait()

    def kill_task_at_point(self) -> None:
        dice = self.scene.dice
        deadly = {"point": dice.choice(TASK_POINTS), "whole": dice.choice(["", "1"])}
        with self.scene.load(1, mixture={"one": 1}, parameters=always(deadly)) as load:
            load.wait()

    def kill_server(self) -> None:
        self.scene.server.kill()
        self.scene.pause(0.5, 3.0)
        self.scene.server.start()

    def freeze(self, process: Process) -> None:
        process.send(signal.SIGSTOP, group=True)
        self.scene.pause(0.5, HEARTBEAT_TIMEOUT * 2)
        process.send(signal.SIGCONT, group=True)

    def refuse(self) -> None:
        self.to_server.refuse()
        self.scene.pause(0.2, 2.0)
        self.to_server.listen()

    def hang(self) -> None:
        self.to_server.hang()
        self.scene.pause(0.5, DISPATCH_TIMEOUT * 2)
        self.to_server.go_on()

    def restart_database(self) -> None:
        self.scene.postgres.restart(self.one([signal.SIGINT, signal.SIGQUIT]))

    def end_connections(self) -> None:
        with self.scene.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5"
            )


STORM = (Storm,)
