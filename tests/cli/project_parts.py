"""The project's app in this process, and workers for the app in other processes."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.cli.parts import WorkerProcess

PATIENCE = 30
PROJECT = ("-A", "tests.cli.project")


class Project:
    """The app, with a unique queue."""

    def __init__(self, address: str, tmp_path: Path) -> None:
        self.app: Any = importlib.import_module("tests.cli.project.celery").app
        self.tasks: Any = importlib.import_module("tests.cli.project.celery")
        self.queue = f"project-{uuid.uuid4().hex[:8]}"
        self.app.close()
        self.app.conf.update(ptemporal_address=address, task_default_queue=self.queue)
        self.app.__dict__.pop("amqp", None)
        self.app.set_current()
        self.told_file = tmp_path / "told"
        self._tmp_path = tmp_path
        self.environ = {
            "PROJECT_ADDRESS": address,
            "PROJECT_QUEUE": self.queue,
            "PROJECT_TOLD": str(self.told_file),
        }

    @property
    def told(self) -> list[str]:
        return self.told_file.read_text().splitlines() if self.told_file.exists() else []

    @contextmanager
    def worker(self, *options: object, ready: str = "ready.", **environ: str) -> Iterator[WorkerProcess]:
        arguments = (*PROJECT, "worker", "-c", 2, "-l", "info", *options)
        log = self._tmp_path / "log"
        with WorkerProcess(None, *arguments, log=log, environ={**self.environ, **environ}) as worker:
            worker.says(ready)
            yield worker


def children(worker: WorkerProcess) -> list[int]:
    """Return the pool's children, which are grandchildren of the worker."""
    return [child.pid for child in psutil.Process(worker.process.pid).children(recursive=True)]
