"""The application for `celery -A`: the tasks, as Celery's."""

from __future__ import annotations

import os
import sys
from typing import Any

import celery
from celery.signals import worker_ready

from .tasks import define

READY = "the trees' worker is ready"


def make(broker: str, log: str) -> Any:
    app = celery.Celery("trees", broker=broker, backend=broker, set_as_current=False)
    # Late acknowledgement, so that Redis shows when nothing is left to run.
    app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)
    return define(app, celery, log)


if "TREES_BROKER" in os.environ:
    app = make(os.environ["TREES_BROKER"], os.environ["TREES_LOG"])

    @worker_ready.connect
    def tell(**kwargs: object) -> None:
        print(READY, file=sys.__stdout__, flush=True)
