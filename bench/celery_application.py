"""The same task for Celery."""

from __future__ import annotations

import os
import sys
import time

from celery import Celery
from celery.signals import worker_ready

BROKER = os.environ.get("BENCH_BROKER", "")

# Celery's `.delay()` is fastest without a result backend, so that is the first comparison.
app = Celery("bench", broker=BROKER, set_as_current=False)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
app_with_results = Celery("bench_results", broker=BROKER, backend=BROKER, set_as_current=False)


@app.task
def noop(number: int) -> int:
    return number


@app_with_results.task
def noop_with_result(number: int) -> int:
    return number


@app_with_results.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app_with_results.task
def sleeps(seconds: float) -> None:
    time.sleep(seconds)


@worker_ready.connect
def tell(**kwargs: object) -> None:
    print("bench worker is ready", file=sys.__stdout__, flush=True)
