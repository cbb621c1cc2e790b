"""Which workers there are, and what each is doing, as the workers themselves say."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..control.channel import directory
from ..interfaces import AppLike

PATIENCE = 1.0
"""Seconds that workers have to answer."""


@dataclass(frozen=True)
class WorkerReport:
    """One worker."""

    name: str
    polled: datetime.datetime
    """When it last asked the server for control requests, by the server's clock. It asks at least once a minute."""
    answered: bool
    """Whether it has answered. One that is busy or dead has not, and then nothing below is known."""
    pool: str = ""
    size: int = 0
    """How many tasks it can run at a time."""
    running: int = 0
    done: int = 0
    """Tasks that it has taken since it began."""
    uptime: float = 0.0
    pid: int | None = None
    version: str = ""
    queues: Sequence[str] = ()


def report_workers(app: AppLike, timeout: float = PATIENCE) -> list[WorkerReport]:
    """Return a report of each worker that the server lists, by name. Blocks until the workers have answered."""
    seen = app.temporal.call(directory)
    replies = app.control.broadcast("stats", reply=True, timeout=timeout) or []
    answers = {name: answer for reply in replies for name, answer in reply.items() if isinstance(answer, Mapping)}
    newest: dict[str, float] = {}
    for address, polled in seen.items():
        newest[address.node] = max(polled, newest.get(address.node, 0.0))
    reports = (
        _report(name, datetime.datetime.fromtimestamp(polled, datetime.timezone.utc), answers.get(name))
        for name, polled in newest.items()
    )
    return sorted(reports, key=lambda report: report.name)


def _report(name: str, polled: datetime.datetime, answer: Mapping[str, Any] | None) -> WorkerReport:
    if answer is None or "error" in answer:
        return WorkerReport(name, polled, answered=False)
    pool, total = _mapping(answer.get("pool")), _mapping(answer.get("total"))
    return WorkerReport(
        name,
        polled,
        answered=True,
        pool=str(pool.get("implementation", "")).rpartition(":")[2],
        size=_count(pool.get("max-concurrency")),
        running=_count(answer.get("running")),
        done=sum(map(_count, total.values())),
        uptime=float(answer["uptime"]) if isinstance(answer.get("uptime"), (int, float)) else 0.0,
        pid=answer.get("pid") if isinstance(answer.get("pid"), int) else None,
        version=str(answer.get("version", "")),
        queues=[str(queue) for queue in answer.get("queues") or ()],
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a part of an answer. Any process may answer like a worker, so the part may be anything."""
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
