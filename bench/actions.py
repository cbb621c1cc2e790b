"""What a task costs: `python -m bench.actions [ROW ...] [--smoke] [--markdown]`.

For each row, the billable actions by the server's own metric `action`, the events of the histories, and the CPU of
server and worker. Each row is measured several times and divided. The run fails if a row costs more actions than its
aim.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import psutil
import transaction
from temporalio.client import Client

from bench import parts
from bench.__main__ import broken_off, machine
from bench.application import noop, reports, retried, sleeps, total
from bench.server_actions import settled_actions
from pyramid_temporal_compat import Celery, chain, chord, group
from pyramid_temporal_compat.message.heartbeat_pause import heartbeat_pause
from pyramid_temporal_compat.results import AsyncResult, ResultSet
from pyramid_temporal_compat.schedules.sync import synchronise_app
from pyramid_temporal_compat.server import EmbeddedServer

PATIENCE = 120.0
LONGEST = 600
"""Seconds for the whole run. A longer run is interrupted, and its processes end."""


@dataclass(frozen=True)
class Row:
    """One thing that an application does, and how to do it `times` times at once."""

    what: str
    do: Callable[[Celery, int], object]
    """Returns how often it was done, if not `times` times."""
    times: int
    smoke_times: int
    at_most: float | None = None
    """Aim: actions for one."""


@dataclass
class Cost:
    """What one time of a row cost."""

    row: Row
    times: int
    actions: Counter[str]
    """Of all times."""
    events: float
    server_ms: float
    worker_ms: float

    @property
    def total(self) -> float:
        return sum(self.actions.values()) / self.times

    @property
    def verdict(self) -> str:
        if self.row.at_most is None:
            return ""
        return "met" if self.total <= self.row.at_most else "MISSED"

    @property
    def cells(self) -> tuple[str, ...]:
        kinds = ", ".join(
            f"{number / self.times:,.4g} {KINDS.get(kind, kind)}" for kind, number in self.actions.most_common()
        )
        aim = "" if self.row.at_most is None else f"<= {self.row.at_most:g} {self.verdict}"
        shown = (f"{self.total:,.4g}", kinds, f"{self.events:,.0f}", f"{self.server_ms:,.0f}", f"{self.worker_ms:,.0f}")
        return (self.row.what, *shown, aim)


HEADINGS = ("", "actions", "of which", "events", "server CPU, ms", "worker CPU, ms", "aim")
KINDS = {
    "grpc_StartWorkflowExecution": "start",
    "command_ScheduleActivityTask": "activity",
    "activity_retry": "retry",
    "grpc_RecordActivityTaskHeartbeat": "heartbeat",
    "command_StartTimer": "timer",
    "command_BatchMarkers": "marker",
    "command_StartChildWorkflowExecution": "child",
    "command_StartChildWorkflowExecution_Extra": "child's own start",
}
"""Shorter names of the server's types of actions."""
OF_A_TASK = ("grpc_StartWorkflowExecution", "command_ScheduleActivityTask")
SCHEDULE = 2
"""Actions that Temporal Cloud bills for a firing, besides the workflow that it starts. The metric of a server of one's
own counts the timers and markers of the server's own workflow of the schedule instead."""


# --- what is measured ----------------------------------------------------------------------------------


def one_by_one(app: Celery, times: int) -> None:
    for number in range(times):
        noop.delay(number).get(timeout=PATIENCE)


def later(app: Celery, times: int) -> None:
    ResultSet([noop.apply_async((number,), countdown=1) for number in range(times)]).get(timeout=PATIENCE)


def with_retries(app: Celery, times: int) -> None:
    ResultSet([retried.delay(2) for _ in range(times)]).get(timeout=PATIENCE)


def asleep(seconds: float) -> Callable[[Celery, int], object]:
    def do(app: Celery, times: int) -> None:
        ResultSet([sleeps.delay(seconds) for _ in range(times)]).get(timeout=PATIENCE)

    return do


def reporting(seconds: float) -> Callable[[Celery, int], object]:
    return lambda app, times: ResultSet([reports.delay(seconds) for _ in range(times)]).get(timeout=PATIENCE)


def with_short_timeout(timeout: float, seconds: float) -> Callable[[Celery, int], object]:
    def do(app: Celery, times: int) -> None:
        usual, app.conf.ptemporal_heartbeat_timeout = app.conf.ptemporal_heartbeat_timeout, timeout
        try:
            asleep(seconds)(app, times)
        finally:
            app.conf.ptemporal_heartbeat_timeout = usual

    return do


def a_group(size: int) -> Callable[[Celery, int], object]:
    return lambda app, times: [
        group(noop.s(number) for number in range(size))().get(timeout=PATIENCE) for _ in range(times)
    ]


def a_chain(size: int) -> Callable[[Celery, int], object]:
    steps = [noop.s() for _ in range(size - 1)]
    return lambda app, times: [chain(noop.s(1), *steps)().get(timeout=PATIENCE) for _ in range(times)]


def a_chord(size: int) -> Callable[[Celery, int], object]:
    header = [noop.s(number) for number in range(size)]
    return lambda app, times: [chord(header)(total.s()).get(timeout=PATIENCE) for _ in range(times)]


def a_bundle(size: int) -> Callable[[Celery, int], object]:
    def do(app: Celery, times: int) -> None:
        for _ in range(times):
            with transaction.manager:
                results = [noop.delay(number) for number in range(size)]
            ResultSet(results).get(timeout=PATIENCE)

    return do


def firings(app: Celery, times: int) -> int:
    """Have the server start a task each second, at least `times` times. Return how often it did."""
    began = datetime.now(timezone.utc)
    fired = f"WorkflowType = '{noop.name}' AND ExecutionStatus = 'Completed' AND StartTime > '{began.isoformat()}'"
    app.conf.beat_schedule = {"each second": {"task": noop.name, "args": (1,), "schedule": 1.0}}
    synchronise_app(app)
    try:
        wait_until(lambda: count(app, fired) >= times)
    finally:
        app.conf.beat_schedule = {}
        synchronise_app(app)
    return count(app, fired)


def pings(app: Celery, times: int) -> None:
    for _ in range(times):
        assert app.control.inspect(timeout=PATIENCE, limit=1).ping()


def revokes(app: Celery, times: int) -> None:
    for result in [noop.apply_async((1,), countdown=3600) for _ in range(times)]:
        result.revoke()


def has_started(result: AsyncResult) -> bool:
    return result.state == "STARTED"


def terminates(app: Celery, times: int) -> None:
    for result in [sleeps.delay(PATIENCE) for _ in range(times)]:
        wait_until(functools.partial(has_started, result))
        result.revoke(terminate=True)


ROWS = (
    Row("a task", one_by_one, 50, 10, at_most=2),
    Row("with a countdown", later, 20, 5, at_most=2),
    Row("with two retries", with_retries, 20, 5, at_most=4),
    Row("that runs for 30 s", asleep(30), 4, 0, at_most=4),
    Row("that runs for 5 s, `heartbeat_timeout` 10 s", with_short_timeout(10, 5), 4, 4, at_most=4),
    Row("that reports progress ten times a second, for 5 s", reporting(5), 4, 2, at_most=15),
    Row("a group of 1,000", a_group(1000), 1, 0, at_most=60),
    Row("a group of 50", a_group(50), 4, 1),
    Row("a chain of 20", a_chain(20), 3, 1),
    Row("a chord of 10 and its body", a_chord(10), 5, 1),
    Row("a bundle of 8 tasks", a_bundle(8), 5, 1),
    Row("a firing of a schedule", firings, 5, 2),
    Row("`inspect().ping()`, for each worker", pings, 10, 3),
    Row("`revoke()` of a waiting task, with its start", revokes, 10, 3),
    Row("`revoke(terminate=True)` of a running task, with its start", terminates, 5, 2),
)


# --- how it is measured --------------------------------------------------------------------------------


class Meter:
    """Reads what server and worker have used."""

    def __init__(self, server: EmbeddedServer, worker: parts.Process, app: Celery) -> None:
        self._embedded, self._app = server, app
        assert server.pid is not None
        self._server, self._worker = psutil.Process(server.pid), psutil.Process(worker.pid)
        self._last = settled_actions(server)

    def cost(self, row: Row) -> Cost:
        began, before = datetime.now(timezone.utc), self._last
        server, worker = milliseconds(self._server), milliseconds(self._worker)
        done = row.do(self._app, row.times)
        times = done if isinstance(done, int) else row.times
        server, worker = milliseconds(self._server) - server, milliseconds(self._worker) - worker
        self._last = settled_actions(self._embedded)
        actions = self._last - before
        if row.do is firings:
            actions = Counter({kind: actions[kind] for kind in OF_A_TASK} | {"schedule": SCHEDULE * times})
        actions["order"] = self._app.temporal.call(lambda client: orders_since(client, began), PATIENCE)
        events = self._app.temporal.call(lambda client: events_since(client, began), PATIENCE)
        return Cost(row, times, +actions, events / times, server / times, worker / times)


def milliseconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system) * 1e3


async def events_since(client: Client, began: datetime) -> int:
    """Return the number of events of the workflows that have started since then and ended."""
    found = client.list_workflows(f"StartTime >= '{began.isoformat()}' AND ExecutionStatus != 'Running'")
    return sum([run.history_length async for run in found])


async def orders_since(client: Client, began: datetime) -> int:
    """Return the number of activities without a workflow since then. The metric of server 1.32 does not count them."""
    return (await client.count_activities(f"StartTime >= '{began.isoformat()}'")).count


def count(app: Celery, query: str) -> int:
    async def ask(client: Client) -> int:
        return (await client.count_workflows(query)).count

    return app.temporal.call(ask, PATIENCE)


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise parts.Failed(f"not reached in {PATIENCE:g} s")
        time.sleep(0.1)


def measured(names: Sequence[str], smoke: bool) -> list[Cost]:
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(parts.directory())
        server = stack.enter_context(EmbeddedServer(headless=True, database=path / "server.db"))
        worker = stack.enter_context(parts.our_worker(server.address))
        app = Celery("bench", ptemporal_address=server.address, task_default_queue="bench")
        stack.callback(app.close)
        one_by_one(app, 5)
        meter = Meter(server, worker, app)
        costs = []
        for row in wanted(names, smoke):
            costs.append(meter.cost(row))
            print(f"{row.what}: {costs[-1].total:g} actions", file=sys.stderr)
        return costs


def wanted(names: Sequence[str], smoke: bool) -> Iterator[Row]:
    for row in ROWS:
        if smoke and row.smoke_times:
            row = dataclasses.replace(row, times=row.smoke_times)
        elif smoke:
            continue
        if not names or any(name in row.what for name in names):
            yield row


def computed(heartbeat_timeout: float, seconds: float) -> int:
    """Return the actions of a task that runs so long: its start, its activity, and its heartbeats."""
    return 2 + int(seconds / heartbeat_pause(heartbeat_timeout))


def as_table(costs: Sequence[Cost], markdown: bool) -> str:
    rows = [HEADINGS, *(cost.cells for cost in costs)]
    if markdown:  # for the guide, without the aims
        rows.insert(1, ("---", "--:", "---", "--:", "--:", "--:", ""))
        return "\n".join(f"| {' | '.join(row[:-1])} |" for row in rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.actions", description="What a task costs.")
    parser.add_argument("names", nargs="*", metavar="ROW", help="part of a row's name; default: all rows")
    parser.add_argument("--smoke", action="store_true", help="fewer and shorter rows: under a minute")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, lambda *_: broken_off(f"the run took longer than {LONGEST} s and was broken off"))
    signal.signal(signal.SIGTERM, lambda *_: broken_off("stopped"))
    signal.alarm(LONGEST)
    costs = measured(arguments.names, arguments.smoke)
    print(f"\n{machine()}\n\n{as_table(costs, arguments.markdown)}")
    for timeout in (30, 300):
        print(f"\n1 h, heartbeat_timeout {timeout} s, computed: {computed(timeout, 3600)} actions", end="")
    print()
    if any(cost.verdict == "MISSED" for cost in costs):
        sys.exit("a row costs more actions than its aim")


if __name__ == "__main__":
    main()
