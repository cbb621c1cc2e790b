"""The Temporal server is away, in one way or another."""

from __future__ import annotations

import os
import signal
import time

from ..proxy import Proxy
from ..scene import DISPATCH_TIMEOUT, Scene
from .fault import Fault

RATE = 20.0
SLACK = 2.0
"""Seconds that a request may take besides its wait, because two cores run all processes of a scene."""


class ServerKilled(Fault):
    name = "server-killed"
    does = "the server is killed -9, and is back after a second"
    holds = "requests succeed, and wait no longer than dispatch_timeout; all tasks start once the server is back"
    rounds, short_rounds = 5, 1
    away = 1.0

    def run(self, scene: Scene) -> None:
        scene.web()
        scene.worker()
        scene.ready()
        requests = int(scene.rounds * RATE * (self.away + 2))
        with scene.load(requests, rate=RATE) as load:
            for _ in range(scene.rounds):
                scene.pause(0.3, 1.0)
                scene.server.kill()
                time.sleep(self.away)
                scene.server.start()
            load.wait()
        scene.answered_as_expected(load)
        scene.never_waited_longer(load, SLACK)


class ServerAway(ServerKilled):
    name = "server-away"
    does = "the server is killed -9, and is back after half a minute"
    rounds, short_rounds = 1, 0
    away = 30.0


class ServerFrozen(ServerKilled):
    name = "server-frozen"
    does = "the server is stopped (SIGSTOP) for some seconds, for web processes and workers, and then goes on"
    rounds, short_rounds = 4, 1

    def run(self, scene: Scene) -> None:
        scene.web()
        scene.worker(pool="prefork")
        scene.ready()
        assert scene.server.pid is not None
        with scene.load(int(scene.rounds * RATE * 6), rate=RATE) as load:
            for _ in range(scene.rounds):
                scene.pause(0.3, 1.0)
                os.kill(scene.server.pid, signal.SIGSTOP)
                scene.pause(DISPATCH_TIMEOUT, DISPATCH_TIMEOUT * 3)
                os.kill(scene.server.pid, signal.SIGCONT)
            load.wait()
        scene.answered_as_expected(load)
        scene.never_waited_longer(load, SLACK)


class ConnectionsRefused(Fault):
    name = "refused"
    does = "the server refuses connections of the web process"
    holds = ServerKilled.holds
    rounds, short_rounds = 10, 1

    def run(self, scene: Scene) -> None:
        proxy = scene.using(Proxy(scene.server.port or 0))
        scene.web(ptemporal__address=proxy.address)
        scene.worker()
        scene.ready()
        with scene.load(int(scene.rounds * RATE * 2), rate=RATE) as load:
            for _ in range(scene.rounds):
                scene.pause(0.2, 1.0)
                self.break_it(scene, proxy)
            load.wait()
        scene.answered_as_expected(load)
        scene.never_waited_longer(load, SLACK)

    def break_it(self, scene: Scene, proxy: Proxy) -> None:
        proxy.refuse()
        scene.pause(0.5, 1.5)
        proxy.listen()


class ConnectionHangs(ConnectionsRefused):
    name = "hangs"
    does = "the connection hangs: no data passes, and neither end is closed"
    rounds, short_rounds = 5, 1

    def break_it(self, scene: Scene, proxy: Proxy) -> None:
        proxy.hang()
        scene.pause(DISPATCH_TIMEOUT, DISPATCH_TIMEOUT * 2)
        proxy.go_on()


SERVER = (ServerKilled, ServerAway, ServerFrozen, ConnectionsRefused, ConnectionHangs)
