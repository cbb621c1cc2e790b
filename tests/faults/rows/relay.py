"""The relay is what starts the tasks, and it dies, has rivals, or races the hook."""

from __future__ import annotations

from ..proxy import Proxy
from ..scene import Scene
from .fault import Fault

RATE = 25.0

SHORT_LEASE = """
CREATE FUNCTION shorten() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  NEW.claimed_until := least(NEW.claimed_until, now() + interval '2 seconds'); RETURN NEW;
END $$;
CREATE TRIGGER shorten BEFORE UPDATE ON ptemporal_outbox FOR EACH ROW EXECUTE FUNCTION shorten();
"""
"""What a killed relay has claimed is another's after two seconds, not thirty; and so it is where the first one lives,
and is still sending."""

NO_GRACE = """
CREATE FUNCTION hurry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  NEW.due := now(); PERFORM pg_notify('ptemporal_outbox', ''); RETURN NEW;
END $$;
CREATE TRIGGER hurry BEFORE INSERT ON ptemporal_outbox FOR EACH ROW EXECUTE FUNCTION hurry();
"""
"""A row is the relays' from its commit on, and they are woken by that: at the moment in which the hook begins."""


class RelayKilled(Fault):
    name = "relay-killed"
    does = "the web process can't reach the server; the one relay is killed -9 at any moment"
    holds = "started exactly once"
    rounds, short_rounds = 20, 2
    relays = 1

    def run(self, scene: Scene) -> None:
        with scene.connect() as connection:
            connection.execute(SHORT_LEASE)
        unreachable = scene.using(Proxy(1))
        unreachable.refuse()
        scene.web(ptemporal__address=unreachable.address, ptemporal__dispatch_timeout=0.5)
        # Without an outbox, the worker has no relay of its own; and so no receipts.
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
    does = "the same with three relays"
    relays = 3


class RelayRacesHook(Fault):
    name = "relay-races-hook"
    does = "three relays go for a row in the moment of its commit, in which the hook does"
    holds = "started exactly once"
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


RELAY = (RelayKilled, ThreeRelays, RelayRacesHook)
