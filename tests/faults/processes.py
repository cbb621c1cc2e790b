"""Processes to kill and start again. Each has its own process group, and its log in a file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.parts import pid_exists, wait_until

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ("-c", "from pyramid_temporal_compat.cli import main; main()")
START_WITHIN = 90.0
STOP_WITHIN = 30.0


over = threading.Event()
"""Set when the run is interrupted. No process is started after that."""


class Process:
    """A command that can be killed and started again. Its log is continued.

    With `supervised`, the command is started again whenever it has ended by itself, as by a service manager.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[object],
        directory: Path,
        is_ready: Callable[[Process], bool],
        *,
        environment: Mapping[str, str] | None = None,
        supervised: bool = False,
        user: str | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(environment or {})}
        self.starts = 0
        self._command = [str(part) for part in command]
        self._is_ready = is_ready
        self._supervised = supervised
        self._user = user
        self._cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()
        self._wanted = False
        self._said_before = 0

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while the process runs."""
        return None if self._popen is None else self._popen.poll()

    def start(self, *, wait: bool = True) -> Process:
        with self._lock:
            assert not self.running, f"{self.name} runs already"
            self._wanted = True
            self._launch()
        if self._supervised and self.starts == 1:
            threading.Thread(target=self._supervise, name=f"supervises-{self.name}", daemon=True).start()
        if wait:
            self.wait_until_ready()
        return self

    def _launch(self) -> None:
        if over.is_set():
            raise RuntimeError(f"{self.name} is not started: the run is over")
        self.starts += 1
        self._said_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
            )

    @property
    def ready(self) -> bool:
        return self.running and self._is_ready(self)

    def wait_until_ready(self, timeout: float = START_WITHIN) -> None:
        def ready() -> bool:
            if not self._supervised and not self.running:
                raise AssertionError(f"{self.name} ended: {self.said[-2000:]}")
            return self.ready

        try:
            wait_until(ready, timeout, f"{self.name} is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said[-2000:]}") from None

    @property
    def said(self) -> str:
        """The log since the last start."""
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            return log.read().decode(errors="replace")

    @property
    def said_ever(self) -> str:
        return self.log.read_text(errors="replace")

    def send(self, number: int, *, group: bool = False) -> None:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def kill_alone(self, timeout: float) -> bool:
        """Kill -9 only the process. Return whether its children have ended within so many seconds."""
        left = [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        with self._lock:
            self._wanted = False
            self.send(signal.SIGKILL)
            assert self._popen is not None
            self._popen.wait(STOP_WITHIN)
        with contextlib.suppress(AssertionError):
            return bool(wait_until(lambda: not any(map(pid_exists, left)), timeout))
        return False

    def kill(self) -> None:
        """Kill -9 the process and its children."""
        with self._lock:
            self._wanted = False
            self._kill()

    def kill_and_start(self, *, wait: bool = True) -> None:
        with self._lock:
            self._kill()
            self._launch()
        if wait:
            self.wait_until_ready()

    def _kill(self) -> None:
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(STOP_WITHIN)

    def stop(self, number: int = signal.SIGTERM, timeout: float = STOP_WITHIN) -> int:
        """Ask the process to end, wait, and return its exit code."""
        with self._lock:
            self._wanted = False
            self.send(number)
            assert self._popen is not None
            return self._popen.wait(timeout)

    def _supervise(self) -> None:
        while True:
            popen = self._popen
            assert popen is not None
            popen.wait()
            with self._lock:
                if not self._wanted or over.is_set():
                    return
                if popen is self._popen:
                    with contextlib.suppress(ProcessLookupError):  # children that it has left behind
                        os.killpg(popen.pid, signal.SIGKILL)
                    self._launch()


def python(*arguments: object) -> list[str]:
    return [sys.executable, *map(str, arguments)]


def ptemporal(*arguments: object) -> list[str]:
    return python(*COMMAND, *arguments)
