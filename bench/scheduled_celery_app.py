"""The same schedule of every second for Celery: `-A bench.scheduled_celery_app`."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from celery import Celery
from celery.beat import Scheduler
from celery.signals import worker_ready

app = Celery("bench", broker=os.environ.get("BENCH_BROKER", ""), set_as_current=False)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
app.conf.beat_schedule = {"tick": {"task": "tick", "schedule": 1}}


class TellingScheduler(Scheduler):
    """Tells the task when it was due: one second after the last run, as Celery counts."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        entry.args = (entry.last_run_at.timestamp() + 1,)
        super().apply_entry(entry, producer)


@app.task(name="tick")
def tick(due: float) -> None:
    os.write(1, f"late {time.time() - due}\n".encode())  # in one piece: other threads write, too


@worker_ready.connect
def tell(**kwargs: object) -> None:
    print("bench worker is ready", file=sys.__stdout__, flush=True)
