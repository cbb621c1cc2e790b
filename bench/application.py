"""A Pyramid application with one task that does nothing."""

from __future__ import annotations

import sys
import time
from typing import Any

from pyramid.config import Configurator

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.signals import worker_ready


@shared_task
def noop(number: int) -> int:
    return number


@shared_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task
def makes(size: int) -> str:
    return "x" * size


@shared_task(bind=True, max_retries=None)
def retried(self: Any, times: int) -> int:
    """Retry so many times, at once."""
    if self.request.retries < times:
        raise self.retry(countdown=0)
    return times


@shared_task
def sleeps(seconds: float) -> None:
    time.sleep(seconds)


@shared_task(bind=True)
def reports(self: Any, seconds: float) -> None:
    """Report progress ten times a second."""
    for step in range(int(seconds * 10)):
        self.update_state(state="PROGRESS", meta=step)
        time.sleep(0.1)


@worker_ready.connect
def tell(**kwargs: Any) -> None:
    print("bench worker is ready", file=sys.__stdout__, flush=True)


def main(global_config: Any, **settings: str) -> Any:
    config = Configurator(settings=settings)
    return config.make_wsgi_app()
