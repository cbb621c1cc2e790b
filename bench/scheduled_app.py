"""An application with a schedule of every second, and with 1,000 others: `-A bench.scheduled_app`."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.schedules import crontab
from pyramid_temporal_compat.signals import worker_ready

app = Celery("bench", **{"ptemporal.address": os.environ.get("BENCH_ADDRESS", "")})


@app.task(name="tick", bind=True)
def tick(self: Any) -> None:
    """Print how late the run begins, in seconds. The id ends with the time of the firing."""
    due = time.mktime(time.strptime(self.request.id[-20:], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    os.write(1, f"late {time.time() - due}\n".encode())  # in one piece: other threads write, too


@app.task(name="report")
def report(number: int) -> None:
    pass


@worker_ready.connect
def tell(**kwargs: object) -> None:
    print("bench worker is ready", file=sys.__stdout__, flush=True)


def thousand() -> dict[str, Any]:
    """Return 1,000 entries: crontabs and intervals."""
    times = [crontab(minute=number % 60, hour=number % 24) if number % 2 else 3600 + number for number in range(1000)]
    return {f"entry {number}": {"task": "report", "schedule": at, "args": (number,)} for number, at in enumerate(times)}


if os.environ.get("BENCH_TICKS"):
    app.conf.beat_schedule = {"tick": {"task": "tick", "schedule": 1}}
