"""Celery, with its own worker and Redis."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import celery
import celery._state
import redis

from bench import parts

from . import celery_application
from .sides import PATIENCE, Side

QUIET = 1.5
"""Seconds for which Celery's queue has to be empty until all tasks count as done. A worker takes a message off the
list, and notes it as taken a moment later. On a busy machine that moment can be long."""


@contextlib.contextmanager
def on_celery(directory: Path) -> Iterator[Side]:
    log = directory / "celery.log"
    log.touch()
    with parts.redis() as broker:
        command = ("-m", "celery", "-A", "tests.trees.celery_application", "worker", "-P", "prefork", "-c", "4")
        quietly = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "critical")
        with parts.python(*command, *quietly, TREES_BROKER=broker, TREES_LOG=str(log), PYTHONUNBUFFERED="1") as worker:
            worker.wait_for_line(celery_application.READY)
            app = celery_application.make(broker, str(log))
            asked = redis.Redis.from_url(broker)

            def settle(results: Sequence[Any]) -> None:
                deadline, quiet_since = time.monotonic() + PATIENCE, None
                while time.monotonic() < deadline:
                    if asked.llen("celery") or asked.hlen("unacked"):
                        quiet_since = None
                    elif quiet_since is None:
                        quiet_since = time.monotonic()
                    elif time.monotonic() - quiet_since > QUIET:
                        return
                    time.sleep(0.02)
                raise AssertionError("Celery has not come to rest")

            def choose() -> None:
                celery._state._tls.current_app = app

            yield Side(app, celery, log, settle, choose)
            app.close()
            asked.close()
