"""Relays start the tasks, and are killed, compete with each other, or race the after-commit hook."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import psutil

from tests.parts import wait_until

from ..processes import Process
from ..proxy import Proxy
from ..scene import Scene
from .fault import Fault

RATE = 25.0
UNTIL_TOLD = 10_000
"""Number of requests: so many that the load does not end by itself."""

SHORT_LEASE = """
CREATE FUNCTION shorten() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  NEW.claimed_until := least(NEW.claimed_until, now() + interval '2 seconds'); RETURN NEW;
END $$;
CREATE TRIGGER shorten BEFORE UPDATE ON ptemporal_outbox FOR EACH ROW EXECUTE FUNCTION shorten();
"""
"""Shorten claims from thirty seconds to two, so that another relay takes over the rows of a killed relay. It also takes
over the rows of a relay that lives and is still sending."""

SLOW_CLAIM = """
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM pg_sleep(0.5); RETURN NULL;
END $$;
CREATE TRIGGER slowly BEFORE UPDATE OF claimed_by ON ptemporal_outbox FOR EACH STATEMENT EXECUTE FUNCTION slowly();
"""
"""Slow down claims, so that a relay can be caught while it holds the lock for choosing and the rows that it chose."""

NO_GRACE = """
CREATE FUNCTION hurry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  NEW.due := now(); PERFORM pg_notify('ptemporal_outbox', ''); RETURN NEW;
END $$;
CREATE TRIGGER hurry BEFORE INSERT ON ptemporal_outbox FOR EACH ROW EXECUTE FUNCTION hurry();
"""
"""Make each row due at its commit, and wake the relays at that moment, in which the hook begins, too."""


class RelayKilled(Fault):
    name = "relay-killed"
    does = "the web process can't reach the server; the only relay is killed -9 at any moment"
    holds = "each task starts exactly once"
    rounds, short_rounds = 20, 2
    relays = 1

    def run(self, scene: Scene) -> None:
        with scene.connect() as connection:
            connection.execute(SHORT_LEASE)
        unreachable = scene.using(Proxy(1))
        unreachable.refuse()
        scene.web(ptemporal__address=unreachable.address, ptemporal__dispatch_timeout=0.5)
        # Without an outbox the worker has no relay of its own. Receipts need the outbox, so they are off, too.
        scene.worker(ptemporal__outbox=None, ptemporal__receipts=None)
        relays = [scene.relay() for _ in range(self.relays)]
        scene.ready()
        with scene.load(scene.rounds * 25, rate=RATE) as load:
            for _ in range(scene.rounds):
                scene.pause(0.1, 1.0)
                scene.dice.choice(relays).kill_and_start(wait=False)
            load.wait()
        scene.answered_as_expected(load)


class ThreeRelays(RelayKilled):
    name = "three-relays"
    short_rounds = 1
    does = "as relay-killed, with three relays"
    relays = 3


class RelayFrozen(Fault):
    name = "relay-frozen"
    does = "one of three relays is stopped (SIGSTOP) while it chooses rows, and goes on later"
    holds = "the other relays go on meanwhile; each task starts exactly once"
    rounds, short_rounds = 6, 1

    def run(self, scene: Scene) -> None:
        with scene.connect() as connection:
            connection.execute(SLOW_CLAIM)
        unreachable = scene.using(Proxy(1))
        unreachable.refuse()
        scene.web(ptemporal__address=unreachable.address, ptemporal__dispatch_timeout=0.5)
        scene.worker(ptemporal__outbox=None, ptemporal__receipts=None)
        relays = [scene.relay() for _ in range(3)]
        scene.ready()
        for _ in range(scene.rounds):
            with scene.load(UNTIL_TOLD, rate=RATE) as load:
                scene.pause(0.1, 1.0)
                relay = wait_until(lambda: one_that_chooses(scene, relays), 60, "a relay chooses rows")
                relay.send(signal.SIGSTOP, group=True)
                scene.pause(2.5, 3.5)
                there = rows(scene)
                wait_until(lambda there=there: not there or there - rows(scene), 60, "the other relays stand still")
                relay.send(signal.SIGCONT, group=True)
                scene.pause(0.5, 1.0)
                load.end()
            scene.answered_as_expected(load)


def one_that_chooses(scene: Scene, relays: Sequence[Process]) -> Process | None:
    with scene.connect() as connection:
        holders = "SELECT client_port FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory'"
        ports = {port for (port,) in connection.execute(f"{holders} AND wait_event = 'PgSleep'")}
    for relay in relays:
        if any(each.laddr.port in ports for each in psutil.Process(relay.pid).net_connections() if each.laddr):
            return relay
    return None


def rows(scene: Scene) -> set[int]:
    """Return the ids of the rows that no open claim locks."""
    with scene.connect() as connection:
        return {row_id for (row_id,) in connection.execute("SELECT id FROM ptemporal_outbox FOR SHARE SKIP LOCKED")}


class RelayRacesHook(Fault):
    name = "relay-races-hook"
    does = "three relays and the after-commit hook take a row at the moment of its commit"
    holds = "each task starts exactly once"
    rounds, short_rounds = 20, 2

    def run(self, scene: Scene) -> None:
        with scene.connect() as connection:
            connection.execute(NO_GRACE)
        scene.web()
        scene.worker()
        for _ in range(2):
            scene.relay()
        scene.ready()
        with scene.load(scene.rounds * 25) as load:
            load.wait()
        scene.answered_as_expected(load)


RELAY = (RelayKilled, ThreeRelays, RelayFrozen, RelayRacesHook)
