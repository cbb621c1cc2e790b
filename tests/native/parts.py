"""Runs commands for the application of two domains, each with queues of its own."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.parts import SCRIPT, WorkerProcess, environment

INI = """\
[app:main]
use = call:tests.native.domains:main
pyramid.includes = pyramid_tm pyramid_temporal_compat
tm.manager_hook = pyramid_tm.explicit_manager
ptemporal.domains = tests.native.domains.payments tests.native.domains.bookings
"""


class Desk:
    """The application in other processes: its ini, its workers and its commands."""

    def __init__(self, address: str, directory: Path) -> None:
        unique = uuid.uuid4().hex[:8]
        self.queue, self.payments = f"desk-{unique}", f"payments-{unique}"
        self.address, self.directory = address, directory
        self.ini = directory / "app.ini"
        self.ini.write_text(f"{INI}ptemporal.address = {address}\ncelery.task_default_queue = {self.queue}\n")
        self.environ = {**environment(), "PAYMENTS_QUEUE": self.payments}

    def add(self, line: str) -> None:
        """Add a setting to the ini."""
        with self.ini.open("a") as ini:
            ini.write(f"{line}\n")

    def worker(self, *options: object, environ: Mapping[str, str] | None = None) -> WorkerProcess:
        """Return a worker, which runs in a `with` block."""
        log = self.directory / f"worker-{uuid.uuid4().hex[:6]}.log"
        options = ("-P", "threads", "-c", "2", "-l", "info", *options)
        return WorkerProcess(self.ini, *options, log=log, environ={**self.environ, **(environ or {})})

    @contextmanager
    def serving(self, *options: object, environ: Mapping[str, str] | None = None) -> Iterator[WorkerProcess]:
        """Run a worker until the end of the block."""
        with self.worker(*options, environ=environ) as worker:
            yield worker.is_ready()

    def run(self, *words: object, code: int = 0) -> str:
        """Run `ptemporal-compat workflow …`, and return what it prints: to stderr if not to stdout."""
        done = subprocess.run(
            [*SCRIPT, "workflow", *map(str, words)], env=self.environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code, done.stderr + done.stdout
        return (done.stdout or done.stderr).strip()

    def json(self, *words: object) -> Any:
        """Run a command with `--json`, and return its answer."""
        return json.loads(self.run(*words, "--json"))
