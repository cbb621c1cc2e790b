"""The application on real Celery: its worker runs what this package publishes."""

from __future__ import annotations

import os
from typing import Any

import redis
from celery import Celery

app = Celery("shop", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BACKEND"])
app.conf.update(task_create_missing_queues=True, worker_hijack_root_logger=False)
effects = redis.Redis(unix_socket_path=os.environ["SHOP_EFFECTS"])


@app.task(name="switch.add")
def add(first: int, second: int) -> int:
    effects.rpush("effects", f"add {first} {second}")
    return first + second


@app.task(name="switch.fail")
def fail(text: str) -> None:
    raise KeyError(text)


@app.task(name="switch.note", bind=True)
def note(self: Any, *args: Any, **kwargs: Any) -> Any:
    request = self.request
    effects.rpush("effects", f"note {request.id}")
    return {
        "args": repr(args),
        "kwargs": repr(kwargs),
        "header": (request.headers or {}).get("tenant"),
        "root": request.root_id,
        "queue": request.delivery_info["routing_key"],
        "expires": request.expires,
        "limits": request.timelimit,
    }


@app.task(name="switch.held")
def held(name: str) -> str:
    """Wait until the test lets the task go on."""
    effects.rpush("effects", f"held {name}")
    effects.blpop(f"go {name}", timeout=60)
    return name
