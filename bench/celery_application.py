"""The same task as Celery's."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_ready

# No result backend: with one, `.delay()` costs Celery more, and here its best is what we compare with.
app = Celery("bench", broker=os.environ.get("BENCH_BROKER", ""))
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task
def noop(number: int) -> int:
    return number


@worker_ready.connect
def tell(**kwargs: object) -> None:
    print("bench worker is ready", flush=True)
