"""Runs `ptemporal-compat worker` in its own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.parts import wait_until

ROOT = Path(__file__).parent.parent.parent
SCRIPT = [sys.executable, "-c", "from pyramid_temporal_compat.cli import main; main()"]

INI = """\
[app:main]
use = call:tests.worker.shop:main
pyramid.includes = pyramid_tm pyramid_temporal_compat
tm.manager_hook = pyramid_tm.explicit_manager
"""


def write_ini(path: Path, settings: Mapping[str, str], more: str = "") -> Path:
    path.write_text(INI + "".join(f"{key} = {value}\n" for key, value in settings.items()) + "\n" + more)
    return path


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def run_worker(*arguments: object, cwd: Path | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a worker that is expected to end by itself."""
    command = [*SCRIPT, "worker", *map(str, arguments)]
    try:
        return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as still_running:
        said = [(part or b"").decode() for part in (still_running.stdout, still_running.stderr)]
        return subprocess.CompletedProcess(command, -signal.SIGKILL, *said)


class WorkerProcess:
    """A worker in its own process. At the end of the block it is killed if it still runs."""

    def __init__(self, ini: object, *options: object, log: Path, environ: Mapping[str, str] | None = None) -> None:
        named = ["worker", str(ini)] if ini is not None else []
        self._command = [*SCRIPT, *named, *map(str, options)]
        self._log = log
        self._environ = {**environment(), **(environ or {})}

    def __enter__(self) -> WorkerProcess:
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    @property
    def said(self) -> str:
        return self._log.read_text()

    def says(self, text: str, timeout: float = 60) -> None:
        def said() -> bool:
            assert self.process.poll() is None or text in self.said, f"ended: {self.said}"
            return text in self.said

        wait_until(said, timeout, f"{text!r} in the worker's log")

    def is_ready(self) -> WorkerProcess:
        self.says("[tasks]")
        return self

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        return self.process.wait(60)
