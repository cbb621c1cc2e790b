"""The tasks that both systems run. Each run writes a line: the task, its arguments, and its place in the tree."""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any

from .specs import build

LONGEST = 120
PAUSE = float(os.environ.get("TREES_PAUSE", 0))
"""Seconds that a run takes, for tests that disturb it."""


def text(value: Any) -> str:
    """Return a short text for a value: the same text for the same value."""
    if isinstance(value, (list, tuple)):
        return short(f"[{','.join(map(text, value))}]")
    return short(str(value))


def short(written: str) -> str:
    if len(written) <= LONGEST:
        return written
    return f"{written[:20]}…{hashlib.sha256(written.encode()).hexdigest()[:12]}"


def define(app: Any, names: Any, log: str) -> Any:
    """Register the tasks with the app. They append lines to the file `log`."""

    def write(n: str, heard: Any, request: Any = None) -> None:
        line: dict[str, Any] = {"n": n, "with": heard}
        if request is not None:
            keys = {"id": "id", "root": "root_id", "parent": "parent_id", "group": "group", "retries": "retries"}
            line |= {key: getattr(request, name) for key, name in keys.items()}
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
        finally:
            os.close(descriptor)
        time.sleep(PAUSE)

    @app.task(name="t.step", bind=True)
    def step(self: Any, *args: Any, n: str) -> str:
        write(n, [text(arg) for arg in args], self.request)
        return short(f"{n}({','.join(map(text, args))})")

    @app.task(name="t.fail", bind=True)
    def fail(self: Any, *args: Any, n: str) -> None:
        write(n, [text(arg) for arg in args], self.request)
        raise ValueError(f"on purpose in {n}")

    @app.task(name="t.flaky", bind=True, max_retries=1)
    def flaky(self: Any, *args: Any, n: str) -> str:
        write(n, [text(arg) for arg in args], self.request)
        if not self.request.retries:
            raise self.retry(countdown=0)
        return short(f"{n}({','.join(map(text, args))})")

    @app.task(name="t.becomes", bind=True)
    def becomes(self: Any, *args: Any, n: str, into: Any) -> Any:
        write(n, [text(arg) for arg in args], self.request)
        raise self.replace(build(into, self.app, names))

    @app.task(name="t.heard")
    def heard(request: Any, error: BaseException, traceback: Any, *, n: str) -> None:
        write(n, {"id": request.id, "error": f"{type(error).__name__}: {error}"})

    @app.task(name="t.heard_id", bind=True)
    def heard_id(self: Any, task_id: str, *, n: str) -> None:
        write(n, {"id": task_id}, self.request)

    return app
