"""The stand, which all faults share, and the scene of one fault: its own server, database and processes."""

from __future__ import annotations

import abc
import contextlib
import http.client
import random
import shutil
import socket
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from pyramid_temporal_compat.outbox import metadata
from pyramid_temporal_compat.server.embedded import EmbeddedServer, free_ports

from . import application
from .counting import Count, Counting
from .load import Load
from .postgres import Postgres
from .processes import Process, ptemporal, python

B = TypeVar("B", bound="Built")

DISPATCH_TIMEOUT = 2
HEARTBEAT_TIMEOUT = 2
SETTLES_WITHIN = 600.0

INI: Mapping[str, object] = {
    "use": "call:tests.faults.application:main",
    "pyramid.includes": "pyramid_tm pyramid_temporal_compat",
    "tm.manager_hook": "pyramid_tm.explicit_manager",
    "ptemporal.include": "tests.faults.application",
    "ptemporal.dispatch_timeout": DISPATCH_TIMEOUT,
    "ptemporal.heartbeat_timeout": HEARTBEAT_TIMEOUT,
    "ptemporal.bundle": "8",  # five tasks of a transaction have a workflow each, and a dozen are a bundle
    "ptemporal.outbox": "dbsession",
    "ptemporal.receipts": "true",
}


@dataclass(frozen=True)
class Stand:
    directory: Path
    postgres: Postgres

    @classmethod
    @contextlib.contextmanager
    def built(cls, prefix: str, keep: Path | None = None) -> Iterator[Stand]:
        """Make the directory of a run, and start the database server. `prefix` begins the directory's name."""
        directory = keep.absolute() if keep else Path(tempfile.mkdtemp(prefix=prefix))
        with contextlib.ExitStack() as undo:
            if keep:
                directory.mkdir()
            else:
                undo.callback(shutil.rmtree, directory, ignore_errors=True)
            directory.chmod(0o755)
            database = Postgres(directory / "postgres")
            undo.callback(database.process.kill)
            database.process.start()
            yield cls(directory, database)


class Built(abc.ABC):
    """Something that `_build` builds at the start of a `with` block, and that ends with the block.

    If it can't be built, what has been started ends at once.
    """

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()

    def __enter__(self: B) -> B:
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @abc.abstractmethod
    def _build(self) -> None:
        """Start everything. `_undo` gets what ends it."""

    def close(self) -> None:
        """End every process. May be called twice, and from another thread."""
        self._undo.pop_all().close()


class Scene(Built):
    """The server, database and processes that one fault breaks. All end with the `with` block."""

    def __init__(
        self,
        stand: Stand,
        name: str,
        dice: random.Random,
        rounds: int,
        *,
        own_postgres: bool = False,
    ) -> None:
        """
        :param own_postgres: start a PostgreSQL for this scene alone, because other faults use the stand's.
        """
        super().__init__()
        self.name = name.replace("-", "_")
        self.dice = dice
        self.rounds = rounds
        self.queue = f"faults-{name}"
        self.problems: list[str] = []
        """Failures that the counts do not show."""
        self.settings: dict[str, object] = {}
        """Settings that override the ini, for processes that are made after the change."""
        self.directory = stand.directory / name
        self.directory.mkdir()
        self.webs: list[Process] = []
        self.web_ports: list[int] = []
        self.workers: list[Process] = []
        self.relays: list[Process] = []
        self.server_said: list[str] = []
        state = self.directory / "server" / "server.db"
        # One server for each scene: three scenes on one server would wait for each other.
        self.server = EmbeddedServer(headless=True, database=state, on_log=self.server_said.append)
        self.postgres = Postgres(self.directory / "postgres") if own_postgres else stand.postgres

    def _build(self) -> None:
        (self.directory / "server").mkdir()
        self.using(self.server)
        if not self.postgres.process.starts:
            self._undo.callback(self.postgres.process.kill)
            self.postgres.process.start()
        self.postgres.create(self.name, application.Base.metadata, metadata)
        with self.connect() as connection:
            connection.execute("INSERT INTO tallies SELECT n, 0 FROM generate_series(1, %s) n", [application.TALLIES])

    def connect(self) -> psycopg.Connection:
        return self.postgres.connect(self.name)

    @property
    def counting(self) -> Counting:
        return Counting(self.connect, self.server.address, self.queue)

    def expect(self, true: Any, problem: str) -> None:
        if not true:
            self.problems.append(problem)

    def pause(self, least: float, most: float) -> None:
        time.sleep(self.dice.uniform(least, most))

    def using(self, context: contextlib.AbstractContextManager[Any]) -> Any:
        """Enter a context that ends with the scene."""
        return self._undo.enter_context(context)

    # --- processes -------------------------------------------------------------------------------

    def ini(self, name: str, settings: Mapping[str, object]) -> Path:
        path = self.directory / f"{name}.ini"
        values = {
            **INI,
            "sqlalchemy.url": self.postgres.url(self.name),
            "ptemporal.address": self.server.address,
            "celery.task_default_queue": self.queue,
            **self.settings,
            **settings,
        }
        lines = [f"{key} = {value}" for key, value in values.items() if value is not None]
        path.write_text("\n".join(["[app:main]", *lines, ""]))
        return path

    def add(self, process: Process, kept: list[Process]) -> Process:
        self._undo.callback(process.kill)
        kept.append(process)
        process.start(wait=False)
        return process

    def web(self, environment: Mapping[str, str] | None = None, **settings: object) -> Process:
        """Start a web process, which is started again when it has died."""
        name = f"web{len(self.webs)}"
        (port,) = free_ports("127.0.0.1", 1)
        command = python("-m", "tests.faults.web", self.ini(name, dotted(settings)), port)
        self.web_ports.append(port)
        return self.add(
            Process(name, command, self.directory, lambda _: answers(port), environment=environment, supervised=True),
            self.webs,
        )

    def worker(
        self,
        *options: object,
        pool: str = "threads",
        concurrency: int = 4,
        environment: Mapping[str, str] | None = None,
        supervised: bool = False,
        **settings: object,
    ) -> Process:
        name = f"worker{len(self.workers)}"
        ini = self.ini(name, dotted(settings))
        command = ptemporal("worker", ini, "-P", pool, "-c", concurrency, "-n", name, "-l", "info", *options)
        return self.add(
            Process(
                name,
                command,
                self.directory,
                lambda process: "[tasks]" in process.said,
                environment=environment,
                supervised=supervised,
            ),
            self.workers,
        )

    def relay(self, *, supervised: bool = False, **settings: object) -> Process:
        name = f"relay{len(self.relays)}"
        command = ptemporal("relay", self.ini(name, dotted(settings)))
        return self.add(
            Process(name, command, self.directory, lambda process: ": from " in process.said, supervised=supervised),
            self.relays,
        )

    def ready(self) -> None:
        for process in (*self.webs, *self.workers, *self.relays):
            process.wait_until_ready()

    # --- load and counts -------------------------------------------------------------------------

    def load(self, requests: int, **options: Any) -> Load:
        return Load(self.web_ports, self.dice, requests, **options)

    def ask(self, web: Process, **parameters: object) -> tuple[int, str]:
        """Send one request. Return the status and the text of the response."""
        port = self.web_ports[self.webs.index(web)]
        body = urllib.parse.urlencode(parameters)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/order", body, {"Content-Type": "application/x-www-form-urlencoded"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def settled(self, within: float = SETTLES_WITHIN) -> Count:
        return self.counting.settled(within)

    def answered_as_expected(self, load: Load) -> None:
        """Require that every request had the status that its kind should have."""
        unexpected = load.answers.unexpected
        self.expect(not unexpected, f"{len(unexpected)} requests failed, such as {unexpected[:1]}")

    def never_waited_longer(self, load: Load, slack: float) -> None:
        longest, most = load.answers.longest, DISPATCH_TIMEOUT + slack
        self.expect(longest <= most, f"a request took {longest:.1f} s; dispatch_timeout and slack are {most:.1f} s")


def dotted(settings: Mapping[str, object]) -> dict[str, object]:
    """Turn ptemporal__dispatch_timeout=1 into ptemporal.dispatch_timeout."""
    return {key.replace("__", "."): value for key, value in settings.items()}


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
