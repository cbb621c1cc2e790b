"""The task with which a worker of a test shows that it works."""

from __future__ import annotations

from ..app import shared_task


@shared_task(name="celery.ping")
def ping() -> str:
    return "pong"
