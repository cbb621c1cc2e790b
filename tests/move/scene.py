"""The processes of one move: the servers, the web processes, and the workers of both sides, each to kill and start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import psycopg

from pyramid_temporal_compat.outbox import metadata
from pyramid_temporal_compat.server.embedded import EmbeddedServer, free_ports

from ..faults.processes import ROOT, Process, ptemporal, python
from ..faults.scene import Built, Stand, answers
from .application import QUEUES, Base
from .brokers import BROKERS, Broker, waiting
from .ledger import NEW, OLD, Reader

WEBS = 2
GATHERED, GATHERS_WITHIN = 4, 12.0
"""Messages that the bridge has taken when it counts as carrying, and seconds to wait for that."""
WORKERS = 2
VISIBILITY_TIMEOUT = 20
"""Seconds after which Redis gives a message to another worker of Celery's. It has to be longer than any ETA here."""

BACKLOG = (
    "SELECT count(*) FROM promised p WHERE sent AND NOT EXISTS (SELECT 1 FROM effects e WHERE e.task_id = p.task_id)"
)


class Scene(Built):
    """Everything that runs during one move. All of it ends with the `with` block."""

    def __init__(self, stand: Stand, broker: str) -> None:
        super().__init__()
        self.directory = stand.directory / broker
        self.directory.mkdir()
        self.broker: Broker = BROKERS[broker](self.directory)
        self.postgres = stand.postgres
        self.database = f"move_{broker}"
        self.server = EmbeddedServer(headless=True)
        self.webs: list[Process] = []
        self.web_releases: list[str] = []
        self.web_ports = free_ports("127.0.0.1", WEBS)
        self.celery: dict[str, Process] = {}
        """Celery's workers, by the queue that each consumes."""
        self.workers: list[Process] = []
        self.bridge: Process | None = None
        self.bridged: Sequence[str] = ()
        """The queues that the bridge carries from."""
        self.killed: dict[int, float] = {}
        """When processes of Celery's workers were killed, by pid. `ledger` says why this is kept."""

    def _build(self) -> None:
        self._undo.callback(self.broker.stop)
        self.broker.start()
        self._undo.enter_context(self.server)
        self.postgres.create(self.database, Base.metadata, metadata)
        self._write_inis()
        for number in range(WEBS):
            self.webs.append(self._web(number, OLD))
            self.web_releases.append(OLD)
        self.celery = {queue: self._celery_worker(queue) for queue in QUEUES}
        self.workers = [self._worker(number) for number in range(WORKERS)]
        for process in (*self.webs, *self.celery.values(), *self.workers):
            process.wait_until_ready()

    def connect(self) -> psycopg.Connection:
        return self.postgres.connect(self.database)

    @property
    def reader(self) -> Reader:
        return Reader(self.connect, self.server.address, self.killed, self.broker.publishes_once)

    def backlog(self) -> int:
        """Return how many committed tasks have no effect yet."""
        with self.connect() as connection:
            [(count,)] = connection.execute(BACKLOG).fetchall()
        return int(count)

    # --- the processes -----------------------------------------------------------------------------

    def _write_inis(self) -> None:
        shared = {
            "use": "call:tests.move.application:main",
            "tm.manager_hook": "pyramid_tm.explicit_manager",
            "sqlalchemy.url": self.postgres.url(self.database),
        }
        old = {
            "pyramid.includes": "pyramid_tm",
            "move.broker": self.broker.url,
            "move.visibility_timeout": VISIBILITY_TIMEOUT,
        }
        new = {
            "pyramid.includes": "pyramid_tm pyramid_temporal_compat",
            "ptemporal.address": self.server.address,
            "ptemporal.include": "tests.move.application",
            "ptemporal.outbox": "dbsession",
            "ptemporal.receipts": "true",
            "ptemporal.heartbeat_timeout": 2,
            "ptemporal.switch": "outbox",
            "ptemporal.celery_broker": self.broker.url,
            "celery.task_default_queue": QUEUES[0],
        }
        for release, settings in ((OLD, old), (NEW, new)):
            lines = [f"{key} = {value}" for key, value in {**shared, **settings}.items()]
            self.ini(release).write_text("\n".join(["[app:main]", *lines, ""]))

    def ini(self, release: str) -> Path:
        return self.directory / f"{release}.ini"

    def _environment(self, release: str) -> dict[str, str]:
        return {**os.environ, "MOVE_RELEASE": release, "MOVE_INI": str(self.ini(release))}

    def _run(
        self, name: str, command: Sequence[object], release: str, is_ready: Callable[[Process], bool], supervised: bool
    ) -> Process:
        environment = self._environment(release)
        process = Process(name, command, self.directory, is_ready, environment=environment, supervised=supervised)
        self._undo.callback(process.kill)
        return process.start(wait=False)

    def _web(self, number: int, release: str) -> Process:
        port = self.web_ports[number]
        command = python("-m", "tests.faults.web", self.ini(release), port)
        return self._run(f"web{number}_{release}", command, release, lambda _: answers(port), supervised=True)

    def _celery_worker(self, queue: str) -> Process:
        options = ("-Q", queue, "-c", 2, "-n", f"{queue}@move", "-l", "info", "--without-gossip", "--without-mingle")
        command = python("-m", "celery", "-A", "tests.move.old_worker", "worker", *options)
        return self._run(f"celery_{queue}", command, OLD, lambda process: " ready." in process.said, supervised=False)

    def _worker(self, number: int) -> Process:
        name = f"worker{number}"
        options = ("-Q", ",".join(QUEUES), "-P", "threads", "-c", 4, "-n", name, "-l", "info")
        command = ptemporal("worker", self.ini(NEW), *options)
        return self._run(name, command, NEW, lambda process: "[tasks]" in process.said, supervised=True)

    # --- steps of the move -------------------------------------------------------------------------

    def start_bridge(self, queues: Sequence[str]) -> Process:
        """Start a bridge for these queues, in the place of the bridge that runs."""
        self.stop_bridge()
        command = ptemporal("migrate", "bridge", self.ini(NEW), "--from", self.broker.url, "-Q", ",".join(queues))
        name = f"bridge_{'_'.join(queues)}"
        self.bridged = tuple(queues)
        self.bridge = self._run(name, command, NEW, lambda process: "carrying from" in process.said, supervised=True)
        return self.bridge

    def wait_until_carrying(self) -> None:
        """Wait until messages have gathered in queues of the bridge, and it takes them."""
        most, deadline = 0, time.monotonic() + GATHERS_WITHIN
        queues = [queue for queue in self.bridged if queue not in self.celery]
        while time.monotonic() < deadline:
            count = sum(waiting(self.broker, queues).values())
            if count < most - GATHERED:
                return
            most = max(most, count)
            time.sleep(0.01)

    def stop_bridge(self) -> None:
        """Ask the bridge to end in order."""
        if self.bridge is not None:
            self.bridge.stop()
            self.bridge, self.bridged = None, ()

    def start_celery(self) -> None:
        """Start Celery's workers of all queues again."""
        self.celery = {queue: self._celery_worker(queue) for queue in QUEUES}
        for process in self.celery.values():
            process.wait_until_ready()

    def switch(self, queue: str, side: str, percent: int) -> None:
        """Give a share of the calls on a queue to one side: `migrate switch set`."""
        options = (f"queue:{queue}", "--to", side, "--percent", percent)
        command = ptemporal("migrate", "switch", "set", self.ini(NEW), *options)
        done = subprocess.run(command, cwd=ROOT, env=self._environment(NEW), capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise AssertionError(f"`migrate switch` ended with {done.returncode}: {done.stderr[-1000:]}")

    def stop_celery(self, queue: str) -> Process:
        """Ask Celery's worker of a queue to end in order: it finishes what runs, and gives back what waits."""
        process = self.celery.pop(queue)
        process.send(signal.SIGTERM)
        return process

    def deploy_web(self, number: int, release: str) -> None:
        """Put another release in the place of a web process, on the same port."""
        self.webs[number].stop()
        self.webs[number] = self._web(number, release)
        self.web_releases[number] = release
        self.webs[number].wait_until_ready()

    def drain(self) -> Process:
        """Wait for the broker to be empty, and for Celery's workers to hold nothing: `migrate drain --watch`."""
        command = ptemporal("migrate", "drain", "--from", self.broker.url, "-Q", ",".join(QUEUES), "--watch")
        return self._run("drain", command, NEW, lambda process: process.running, supervised=False)

    # --- kills -------------------------------------------------------------------------------------

    def kill_celery(self, process: Process) -> None:
        """Kill -9 a whole worker of Celery's and start it, or only a child where the broker would lose a message."""
        pids = family(process)
        if self.broker.survives_killed_worker:
            process.kill_and_start(wait=False)
        else:
            pids = pids[1:2]
            end(pids)
        self.killed.update(dict.fromkeys(pids, time.time()))

    def give_up(self, process: Process) -> None:
        """Kill -9 a worker of Celery's that does not end.

        That can happen if a child is killed before it has said which task it has: the worker then waits for this task.
        """
        pids = family(process)
        process.kill()
        self.killed.update(dict.fromkeys(pids, time.time()))

    def kill_carrier(self) -> None:
        """Kill -9 the bridge's process that holds the broker."""
        assert self.bridge is not None
        end(family(self.bridge)[1:])

    def kill_bridge(self) -> None:
        """Kill -9 the bridge, but not its carrier."""
        assert self.bridge is not None
        self.bridge.send(signal.SIGKILL)


def family(process: Process) -> list[int]:
    """Return the pids of a process and of its children."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    return []


def end(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
