"""This package's side, with a worker on a thread of this process or in a separate process."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyramid_temporal_compat as ours
from bench import parts
from pyramid_temporal_compat import current
from pyramid_temporal_compat.signals import worker_ready
from pyramid_temporal_compat.worker.workflows import slice_plan
from tests.parts import wait_until
from tests.worker.shop import WorkerThread

from .sides import PATIENCE, Side
from .tasks import define

READY = "our worker is ready"


SOON = 1.0
"""Heartbeat timeout for tests that kill workers. Otherwise it is longer: a busy worker must not be taken for dead."""


def make(address: str, queue: str, log: str, heartbeat_timeout: float = 30) -> Any:
    app = ours.Celery(
        "trees",
        ptemporal_address=address,
        task_default_queue=queue,
        ptemporal_dispatch_timeout=60,
        ptemporal_heartbeat_timeout=heartbeat_timeout,
        set_as_current=False,
    )
    return define(app, ours, log)


@contextlib.contextmanager
def on_ours(directory: Path, address: str) -> Iterator[Side]:
    with without_worker(directory, address, 30) as side, WorkerThread(side.app, side.queue, concurrency=16):
        yield side


@contextlib.contextmanager
def without_worker(directory: Path, address: str, heartbeat_timeout: float = SOON) -> Iterator[Side]:
    log = directory / "ours.log"
    log.touch()
    queue = f"trees-{uuid.uuid4().hex[:8]}"
    app = make(address, queue, str(log), heartbeat_timeout)

    def settle(results: Sequence[Any]) -> None:
        async def running(client: Any) -> bool:
            for workflow_id in {str(result.id).partition("/")[0] for result in results} - ended:
                if (await client.get_workflow_handle(workflow_id).describe()).status.name == "RUNNING":
                    return True
                ended.add(workflow_id)
            return False

        ended: set[str] = set()
        wait_until(lambda: not app.temporal.call(running, PATIENCE), PATIENCE, "our trees have not ended")

    yield Side(app, ours, log, settle, lambda: current.set_current_app(app), queue)
    app.close()


def worker_of(side: Side, address: str, *options: str) -> contextlib.AbstractContextManager[parts.Process]:
    """Run `ptemporal-compat worker` for the tasks of this side."""
    command = "from pyramid_temporal_compat.cli import main; main()"
    known = {"TREES_ADDRESS": address, "TREES_QUEUE": side.queue, "TREES_OURS": str(side.log)}
    return parts.python("-c", command, "worker", "-A", f"{__name__}:app", *options, **known, PYTHONUNBUFFERED="1")


if "TREES_ADDRESS" in os.environ:
    slice_plan.SPREAD = int(os.environ.get("TREES_SPREAD", slice_plan.SPREAD))
    app = make(os.environ["TREES_ADDRESS"], os.environ["TREES_QUEUE"], os.environ["TREES_OURS"])

    @worker_ready.connect
    def tell(**kwargs: Any) -> None:
        print(READY, file=sys.__stdout__, flush=True)
