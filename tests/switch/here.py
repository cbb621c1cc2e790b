"""The application on this side, for a worker of its own process."""

from __future__ import annotations

import os
from typing import Any

from pyramid_temporal_compat import Celery

app = Celery("here", set_as_current=False)
app.conf.update(
    {
        "ptemporal.address": os.environ["HERE_ADDRESS"],
        "ptemporal.old_result_backend": os.environ["HERE_BACKEND"],
        "ptemporal.heartbeat_timeout": 2,
        "worker_hijack_root_logger": False,
    }
)


@app.task(name="switch.add")
def add(first: int, second: int) -> int:
    raise AssertionError("runs on Celery")


@app.task(name="switch.fail")
def fail(text: str) -> None:
    raise AssertionError("runs on Celery")


@app.task(name="switch.held")
def held(name: str) -> str:
    raise AssertionError("runs on Celery")


@app.task(name="here.double")
def double(number: Any) -> Any:
    return 2 * number
