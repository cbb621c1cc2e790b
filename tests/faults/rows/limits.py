"""Limits: the size of payloads, and a full disk under the server's state."""

from __future__ import annotations

import re
import resource
import time

from pyramid_temporal_compat.server import EmbeddedServer
from pyramid_temporal_compat.settings.table import SETTINGS
from tests.parts import wait_until

from ..scene import Scene
from .fault import Fault

TOO_LARGE = 413
NO_ROOM = "can't write the state file"
"""The words that the server has to log for a full disk."""
SIX_DIGITS = "ALTER SEQUENCE orders_id_seq RESTART 100000"
"""Give all orders numbers of the same length, because the numbers are arguments and count for the size."""


class Limits(Fault):
    name = "limits"
    does = "arguments and results just under, at and just over ptemporal.payload_limit; many large ones at once"
    holds = "a value over the limit is refused in the view or fails the task, and leaves nothing behind"
    rounds, short_rounds = 5, 1

    def run(self, scene: Scene) -> None:
        with scene.connect() as connection:
            connection.execute(SIX_DIGITS)
        web = scene.web()
        scene.worker()
        scene.ready()
        limit = SETTINGS["ptemporal.payload_limit"].default
        status, said = scene.ask(web, kind="heavy", size=limit)
        found = re.search(r"([\d,]{5,}) bytes", said)
        scene.expect(status == TOO_LARGE and found, f"no size in the error: {status} {said[:200]}")
        rest = int(found[1].replace(",", "")) - limit if found else 0
        good = 0
        for _ in range(scene.rounds):
            for kind, effects in (("heavy", 1), ("result", 1)):
                for over in (-1000, -1, 0, 1, 1000, limit):
                    fits = over <= 0
                    size = limit - (rest if kind == "heavy" else 2 + len("json/plain") + len("encoding")) + over
                    expected = 200 if fits or kind == "result" else TOO_LARGE
                    asked = {"size": size, "effects": effects if fits else 0}
                    status, said = scene.ask(web, kind=kind, **asked)
                    scene.expect(status == expected, f"{kind} {over:+}: {status} {said[:200]}")
                    good += status == 200
            status, said = scene.ask(web, kind="heavies", size=300_000)
            scene.expect(status == 200, f"twelve large ones: {status} {said[:200]}")
            good += status == 200
        with scene.connect() as connection:
            [(orders,)] = connection.execute("SELECT count(*) FROM orders").fetchall()
        scene.expect(orders == good, f"{orders} orders, and {good} requests went well")


class DiskFull(Fault):
    name = "disk-full"
    does = "the disk with the server's state is full; the server is moved to another disk"
    holds = "requests succeed, the server logs that its disk is full, and all tasks start on the other disk"
    rounds, short_rounds = 3, 1

    def run(self, scene: Scene) -> None:
        server, said = scene.server, scene.server_said
        assert server.database is not None
        state = server.database
        scene.web()
        scene.worker()
        scene.ready()
        with scene.load(scene.rounds * 60, rate=15) as load:
            for number in range(scene.rounds):
                scene.pause(0.5, 1.0)
                self.fill_disk(server)
                time.sleep(2.0)
                wait_until(lambda: any(NO_ROOM in line for line in list(said)), 30, "the server says what is wrong")
                server.kill()
                good = scene.directory / f"good-disk-{number}"
                state = state.parent.rename(good) / state.name
                server.database = state
                server.start()
            load.wait()
        scene.answered_as_expected(load)
        scene.expect(any(NO_ROOM in line for line in said), f"the server did not say what is wrong: {said[:1]}")

    def fill_disk(self, server: EmbeddedServer) -> None:
        """Make every write of the server fail, with a limit of its process, because not everybody may mount a disk.

        The limit is 1 byte, not the current size of the files: a write-ahead log starts again from its beginning, and
        takes long to reach its old size.
        """
        assert server.pid is not None
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


LIMITS = (Limits, DiskFull)
