"""Helpers for the tests of the pool `prefork`: runs each test in its own process, and holds jobs for the tests."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import psutil

from pyramid_temporal_compat.control.limits import Limits
from pyramid_temporal_compat.worker.pools.pool import JobControl
from pyramid_temporal_compat.worker.pools.prefork import PreforkPool

NO_LIMITS = Limits()
SOON = 0.05
LOGGED: list[str] = []
SCENARIOS: dict[str, Callable[[], None]] = {}
ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = os.path.join(tempfile.gettempdir(), f"prefork-{os.getpid()}")
"""The file that a scenario and its children write to. It exists while the scenario runs."""
NUMBERS = itertools.count()


def call(job: Any, control: JobControl) -> Any:
    function, *args = job
    return function(control, *args)


def in_its_own_process(size: int = 1, **options: Any) -> Any:
    """Run the test in its own process, with a pool that was started before the event loop.

    The test must leave no process and no file descriptor behind.
    """

    def decorate(test: Callable[[PreforkPool], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        def scenario() -> None:
            logging.getLogger().addHandler(_Collect())
            pool = PreforkPool(call, size, **options)
            descriptors = psutil.Process().num_fds()
            pool.start()
            try:
                asyncio.run(asyncio.wait_for(test(pool), 30))
                asyncio.run(leaves_nothing(descriptors))
            finally:
                pool.kill()

        SCENARIOS[test.__name__] = scenario

        @functools.wraps(test)
        def in_subprocess() -> None:
            run_scenario(test.__module__, test.__name__)

        del in_subprocess.__wrapped__  # type: ignore[attr-defined] # its argument is no fixture
        return in_subprocess

    return decorate


class _Collect(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        LOGGED.append(record.getMessage())


def run_scenario(module: str, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", module, name], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr


async def leaves_nothing(descriptors: int) -> None:
    await until(lambda: not psutil.Process().children(recursive=True))
    loops_own = 3  # a selector and a pair of sockets
    assert psutil.Process().num_fds() == descriptors + loops_own


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


def ignore(value: Any) -> None:
    pass


async def run(pool: PreforkPool, function: Callable[..., Any], *args: Any, limits: Limits = NO_LIMITS) -> Any:
    return await pool.run((function, *args), limits, ignore)


class StartedJob:
    """A job that a test has started, and that sends a note when it begins."""

    def __init__(self, pool: PreforkPool, function: Callable[..., Any], *args: Any, limits: Limits = NO_LIMITS) -> None:
        self.notes: list[Any] = []
        self.task = asyncio.create_task(pool.run((function, *args), limits, self.notes.append))

    async def begun(self) -> Any:
        await until(lambda: self.notes)
        return self.notes[0]


# --- the jobs; `control` is the handler's ---


def pid(control: JobControl) -> int:
    return os.getpid()


def wait_for(control: JobControl, path: str) -> int:
    """Run until a file exists; the function can be interrupted."""
    control.note(os.getpid())
    control.interruptible(functools.partial(spin_until, path))
    return os.getpid()


def spin_until(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.002)


def spin() -> None:
    while True:
        time.sleep(0.002)


def new_path() -> str:
    """Return a new path in the directory of this scenario."""
    return os.path.join(DIRECTORY, f"go{next(NUMBERS)}")


def touch(path: str) -> None:
    Path(path).touch()


def exists(path: str) -> bool:
    return os.path.exists(path)


async def until_full(pool: PreforkPool) -> None:
    await pool.ready()
    await until(lambda: len(pool.info()["processes"]) == pool.size)


def sys_exit(control: JobControl, code: int) -> None:
    sys.exit(code)


def sleep_deaf(control: JobControl) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    control.note("deaf")
    time.sleep(60)


def main(names: Mapping[str, Any]) -> None:
    """Run the scenario that the command line names, from the registered ones or from the module's `names`."""
    os.mkdir(DIRECTORY)
    try:
        (SCENARIOS.get(sys.argv[1]) or names[sys.argv[1]])()
    finally:
        shutil.rmtree(DIRECTORY, ignore_errors=True)
