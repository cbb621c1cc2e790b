"""The application's database goes away, cuts connections, or refuses a transaction."""

from __future__ import annotations

import random
import signal

from ..load import MIXTURE
from ..proxy import Proxy, commits
from ..scene import Scene
from .fault import Fault

RATE = 25.0


class DatabaseRestarts(Fault):
    name = "database-restarts"
    does = "PostgreSQL restarts under web processes and workers, in order (fast) or as after a crash (immediate)"
    holds = "no effect lost or doubled"
    rounds, short_rounds = 6, 2
    own_postgres = True

    def run(self, scene: Scene) -> None:
        scene.web()
        scene.worker(pool="prefork")
        scene.worker(pool="threads")
        scene.ready()
        with scene.load(scene.rounds * 50, rate=RATE) as load:
            for number in range(scene.rounds):
                scene.pause(0.5, 1.5)
                scene.postgres.restart(signal.SIGINT if number % 2 else signal.SIGQUIT)
            load.wait()


class ConnectionsCut(Fault):
    name = "connections-cut"
    does = "connections to PostgreSQL are ended at random (pg_terminate_backend)"
    holds = "no effect lost or doubled"
    rounds, short_rounds = 60, 8

    def run(self, scene: Scene) -> None:
        scene.web()
        scene.worker(pool="prefork")
        scene.worker(pool="threads")
        scene.ready()
        with scene.load(scene.rounds * 12, rate=RATE) as load, scene.connect() as connection:
            for _ in range(scene.rounds):
                scene.pause(0.05, 0.4)
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5"
                )
            load.wait()


class CutInCommit(Fault):
    name = "cut-in-commit"
    does = "the connection is cut before the answer to a COMMIT arrives: the caller can't know whether it committed"
    holds = "no effect lost or doubled"
    rounds, short_rounds = 60, 8

    def run(self, scene: Scene) -> None:
        dice, odds = random.Random(scene.dice.random()), 0.08  # the proxy's thread needs its own dice

        def cut(data: bytes) -> bool:
            return commits(data) and dice.random() < odds and proxy.cuts < scene.rounds

        proxy = scene.using(Proxy(scene.postgres.port, cut))
        through = scene.postgres.url(scene.name, proxy.port)
        scene.settings["sqlalchemy.url"] = through
        scene.web()
        scene.worker(pool="prefork")
        scene.worker(pool="threads")
        scene.ready()
        with scene.load(scene.rounds * 8, rate=RATE) as load:
            load.wait()
        scene.expect(proxy.cuts, "no connection was cut")


class Serialisation(Fault):
    name = "serialisation"
    does = "tasks at SERIALIZABLE conflict; one fails with a serialisation error"
    holds = "the failed transaction is tried again, and succeeds"
    rounds, short_rounds = 10, 2
    isolation: str | None = "SERIALIZABLE"

    def run(self, scene: Scene) -> None:
        scene.web()
        # The default is three attempts. That is enough where such errors are rare, but here they are frequent.
        settings = {"faults__isolation": self.isolation, "ptemporal__transaction_attempts": 50}
        scene.worker(pool="prefork", concurrency=3, **settings)
        scene.worker(pool="threads", concurrency=3, **settings)
        scene.ready()
        with scene.load(scene.rounds * 20, mixture={**MIXTURE, "contend": 100}) as load:
            load.wait()
        scene.answered_as_expected(load)


class Deadlocks(Serialisation):
    name = "deadlocks"
    does = "tasks lock two rows in opposite orders, and deadlock"
    isolation = None


DATABASE = (DatabaseRestarts, ConnectionsCut, CutInCommit, Serialisation, Deadlocks)
