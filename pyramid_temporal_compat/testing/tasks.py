"""The task with which a worker of a test shows that it works."""

from __future__ import annotations

from ..app import shared_task


@shared_task(name="celery.ping")  # type: ignore[untyped-decorator]  # it gives whatever task class an app has
def ping() -> str:
    return "pong"
