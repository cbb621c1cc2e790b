"""`python -m bench.schedules [SECONDS]`: what 1,000 schedules cost, and how late runs of every second begin.

It takes some minutes, prints a table of its own, and is not part of `make bench`.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from . import parts

LAST_LINE = 30.0
"""Seconds until the next run of a schedule of every second, at most."""


def main(seconds: float) -> None:
    with parts.temporal() as address:
        os.environ["BENCH_ADDRESS"] = address
        synchronisation()
        with parts.redis() as broker:
            delays(address, broker, seconds)


def synchronisation() -> None:
    from .scheduled_app import app, thousand  # the app reads its address when it is made

    app.conf.beat_schedule = thousand()
    for what, look_at_each in (("from nothing", False), ("again", False), ("again, and a look at each", True)):
        took, calls = synchronised(app, look_at_each)
        print(f"1,000 schedules {what}: {took:.1f} s, {calls} calls", flush=True)
    app.conf["beat_schedule"].clear()
    synchronised(app, False)
    app.close()


def synchronised(app: Any, look_at_each: bool) -> tuple[float, int]:
    """Return the seconds and the calls to the server that a synchronisation takes."""
    from pyramid_temporal_compat.schedules.sync import synchronise_app

    count = Counted()
    app.temporal.call(count.watch, 20)
    began = time.monotonic()
    synchronise_app(app, look_at_each=look_at_each)
    return time.monotonic() - began, count.calls


class Counted:
    """Counts the calls of a client."""

    calls = 0

    async def watch(self, client: Any) -> None:
        service = client.service_client
        call: Callable[..., Awaitable[Any]] = type(service)._rpc_call.__get__(service)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return await call(*args, **kwargs)

        service._rpc_call = counted


def delays(address: str, broker: str, seconds: float) -> None:
    ours = ("-c", "from pyramid_temporal_compat.cli import main; main()", "-A", "bench.scheduled_app", "worker", "-B")
    theirs = ("-m", "celery", "-A", "bench.scheduled_celery_app")
    scheduler = ("-S", "bench.scheduled_celery_app:TellingScheduler")
    quick = {"PYTHONUNBUFFERED": "1", "BENCH_TICKS": "1", "BENCH_ADDRESS": address, "BENCH_BROKER": broker}
    with (
        parts.python(*ours, "-P", "threads", "-c", "8", "-q", **quick) as worker,
        parts.python(*theirs, "worker", "-P", "threads", "-c", "8", **quick) as celerys,
        parts.python(*theirs, "beat", *scheduler, **quick),
    ):
        for process in (worker, celerys):
            process.wait_for_line(parts.READY)
        end = time.monotonic() + seconds
        late: dict[str, list[float]] = {"ours": [], "Celery's": []}
        while time.monotonic() < end:
            for name, process in (("ours", worker), ("Celery's", celerys)):
                late[name].append(float(process.wait_for_line("late ", LAST_LINE).split()[1]) * 1e3)
    for name, found in late.items():
        found.sort()
        middle, nearly_all, most = statistics.median(found), found[int(len(found) * 0.95)], found[-1]
        print(
            f"{name}: {len(found)} runs; late by {middle:.0f} ms (median), {nearly_all:.0f} (95 %), {most:.0f} (most)"
        )


if __name__ == "__main__":
    main(float(sys.argv[1]) if sys.argv[1:] else 180)
