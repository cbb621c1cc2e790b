"""Records the histories that `tests/worker/test_replay.py` replays: `python -m tests.histories.record [KIND ...]`.

Without arguments it records every kind anew, which takes about 15 seconds. Until the first release, do this whenever a
change alters the commands of a workflow or what travels in its payloads: no workflow of an unreleased version has to
go on. After the first release, a recorded history stays. It then stands for the workflows that are under way while
an application is upgraded, and a changed workflow needs `workflow.patched` rather than new files.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transaction

from pyramid_temporal_compat import Celery, chain, chord, group
from pyramid_temporal_compat.message.ids import bundle_of
from pyramid_temporal_compat.results import AsyncResult
from pyramid_temporal_compat.schedules import BaseSchedule
from pyramid_temporal_compat.schedules.drivers import driver_id
from pyramid_temporal_compat.schedules.sync import synchronise_app
from pyramid_temporal_compat.server import EmbeddedServer
from tests.parts import wait_until
from tests.worker.shop import WorkerThread, gates

HERE = Path(__file__).parent
PATIENCE = 30
MANY = 40
"""Members of a group that runs in slices."""


def make_app(address: str) -> Celery:
    app = Celery("histories")
    app.conf.update({"ptemporal_address": address, "ptemporal_heartbeat_timeout": 1, "ptemporal_identity": "client"})

    @app.task(name="shop.add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="shop.fail")
    def fail() -> None:
        raise LookupError("no tea", 3)

    @app.task(name="shop.retry", bind=True)
    def retry(self: Any, step: int, anew: bool = False) -> int:
        if self.request.retries < 2:
            changed = {"args": (step + 1,), "kwargs": {"anew": True}} if anew else {}
            raise self.retry(exc=LookupError("not yet"), countdown=0.05, **changed)
        return step

    @app.task(name="shop.elsewhere", bind=True)
    def elsewhere(self: Any) -> None:
        raise self.retry(queue="nobody serves this", countdown=0)

    @app.task(name="shop.wait")
    def wait() -> str:
        gates["wait"].pass_through()
        return "done"

    @app.task(name="shop.count")
    def count(values: list[int]) -> int:
        return len(values)

    @app.task(name="shop.note")
    def note(task_id: str) -> None:
        pass

    @app.task(name="shop.write")
    def write(path: str, line: str) -> None:
        with open(path, "a") as lines:
            lines.write(f"{line}\n")

    @app.task(name="shop.replaced", bind=True)
    def replaced(self: Any, value: int) -> None:
        self.replace(add.s(value, 1) | add.s(2))

    @app.task(name="shop.die", acks_late=False)
    def die() -> None:
        os._exit(1)

    @app.task(name="shop.die_in_a_process")
    def die_in_a_process() -> str:
        if "--worker" in sys.argv:
            os._exit(1)
        return "lives"

    return app


def ended(result: AsyncResult) -> str:
    result.get(timeout=PATIENCE, propagate=False)
    return result.id


def served(app: Celery, start: Callable[[str], AsyncResult]) -> str:
    """Start a task on its own queue. A worker in this process serves the queue until the task has ended."""
    queue = f"items-{uuid.uuid4().hex[:6]}"
    with WorkerThread(app, queue, hostname="worker"):
        return ended(start(queue))


def send(name: str, args: tuple[Any, ...] = (), **options: Any) -> Callable[[Celery], str]:
    return lambda app: served(app, lambda queue: app.tasks[name].apply_async(args, queue=queue, **options))


def revoked_before(app: Celery) -> str:
    queue = f"items-{uuid.uuid4().hex[:6]}"
    result = app.tasks["shop.add"].apply_async((1, 2), queue=queue)
    # As `revoke()` does if a worker serves the queue. Without a worker, it terminates the workflow.
    app.temporal.call(lambda client: client.get_workflow_handle(result.id).cancel(), PATIENCE)
    with WorkerThread(app, queue, hostname="worker"):
        wait_until(lambda: history(app, result.id)["events"][-1]["eventType"].endswith("EXECUTION_CANCELED"))
    return str(result.id)


def plain_call(app: Celery) -> str:
    """A call by a client that knows nothing of this package."""

    async def start(client: Any) -> None:
        await client.execute_workflow("shop.add", args=[1, 2], id=task_id, task_queue=queue)

    task_id, queue = str(uuid.uuid4()), f"items-{uuid.uuid4().hex[:6]}"
    with WorkerThread(app, queue, hostname="worker"):
        app.temporal.call(start, PATIENCE)
    return task_id


def revoked_while_running(app: Celery) -> str:
    def start(queue: str) -> AsyncResult:
        result: AsyncResult = app.tasks["shop.wait"].apply_async(queue=queue)
        gates["wait"].reached()
        result.revoke()
        wait_until(lambda: "CANCEL_REQUESTED" in json.dumps(history(app, result.id)))
        gates["wait"].open()
        return result

    return served(app, start)


def expired_in_the_queue(app: Celery) -> str:
    """Record an expiry: no worker serves the queue of the second run, so this run expires."""
    return served(app, lambda queue: app.tasks["shop.elsewhere"].apply_async(queue=queue, expires=2))


def lost(app: Celery) -> str:
    queue = f"items-{uuid.uuid4().hex[:6]}"
    result = app.tasks["shop.die"].apply_async(queue=queue)
    lost_worker(app, queue)
    with WorkerThread(app, queue, hostname="worker"):
        return ended(result)


def reported_slice(app: Celery) -> str:
    """Record slices in which one member runs long, so that their workers report the other members early."""
    queue = f"items-{uuid.uuid4().hex[:6]}"
    app.conf.task_default_queue = queue
    with WorkerThread(app, queue, hostname="worker"):
        calls = [app.tasks["shop.add"].si(1, number) for number in range(MANY)]
        result = group([calls[0], app.tasks["shop.wait"].si(), *calls[1:]])()
        gates["wait"].reached()
        for member in (result[0], *result[2:]):
            ended(member)
        gates["wait"].open()
        wait_until(lambda: history(app, result.id)["events"][-1]["eventType"].endswith("EXECUTION_COMPLETED"))
    return str(result.id)


def lost_slice(app: Celery) -> str:
    """Record slices whose worker is lost."""
    queue = f"items-{uuid.uuid4().hex[:6]}"
    app.conf.task_default_queue = queue
    result = group(app.tasks["shop.die_in_a_process"].si() for _ in range(MANY))()
    lost_worker(app, queue)
    with WorkerThread(app, queue, hostname="worker"):
        result.get(timeout=PATIENCE)
        wait_until(lambda: history(app, result.id)["events"][-1]["eventType"].endswith("EXECUTION_COMPLETED"))
    return str(result.id)


def lost_steps(app: Celery) -> str:
    """Record a chain whose worker is lost in a slice, after two of its steps."""
    queue = f"items-{uuid.uuid4().hex[:6]}"
    app.conf.task_default_queue = queue
    add = app.tasks["shop.add"]
    result = chain(add.si(1, 2), add.s(3), app.tasks["shop.die_in_a_process"].si(), add.si(1, 1))()
    lost_worker(app, queue)
    with WorkerThread(app, queue, hostname="worker"):
        result.get(timeout=PATIENCE)
        workflow = result.id.partition("/")[0]
        wait_until(lambda: history(app, workflow)["events"][-1]["eventType"].endswith("EXECUTION_COMPLETED"))
    return str(workflow)


def lost_worker(app: Celery, queue: str) -> None:
    """Run a worker in a process of its own, which a task ends."""
    subprocess.run([sys.executable, "-m", "tests.histories.record", "--worker", app.conf.ptemporal_address, queue])


def canvas(make: Callable[[dict[str, Any]], Any], batch: int = 250) -> Callable[[Celery], str]:
    """Run a canvas of the app's tasks. Wait until its workflow has ended, including linked tasks."""

    def record(app: Celery) -> str:
        app.conf.ptemporal_canvas_batch = batch
        queue = f"items-{uuid.uuid4().hex[:6]}"
        app.conf.task_default_queue = queue
        with WorkerThread(app, queue, hostname="worker"):
            result = make({name.partition(".")[2]: task for name, task in app.tasks.items()}).apply_async()
            wait_until(lambda: "EXECUTION_" in history(app, result.id)["events"][-1]["eventType"][20:])
        return str(result.id)

    return record


def member_revoked(app: Celery) -> str:
    queue = f"items-{uuid.uuid4().hex[:6]}"
    app.conf.task_default_queue = queue
    with WorkerThread(app, queue, hostname="worker"):
        add, wait = app.tasks["shop.add"], app.tasks["shop.wait"]
        result = chain(wait.si(), add.si(1, 1), add.s(1))()
        gates["wait"].reached()
        result.parent.revoke()
        gates["wait"].open()
        ended(result)
    return str(result.id)


def bundle(app: Celery) -> str:
    queue = f"items-{uuid.uuid4().hex[:6]}"
    app.conf.task_default_queue = queue
    tasks = app.tasks
    with WorkerThread(app, queue, hostname="worker"):
        with transaction.manager:
            called = [tasks["shop.add"].delay(number, 1) for number in range(6)]
            called += [tasks["shop.fail"].delay(), tasks["shop.retry"].delay(1, True), tasks["shop.replaced"].delay(3)]
        found = bundle_of(called[0].id)
        wait_until(lambda: history(app, found)["events"][-1]["eventType"].endswith("EXECUTION_FAILED"))
    return found


def step_revoked_in_a_later_lot(app: Celery) -> str:
    app.conf.ptemporal_canvas_batch = 2
    queue = f"items-{uuid.uuid4().hex[:6]}"
    app.conf.task_default_queue = queue
    with WorkerThread(app, queue, hostname="worker"):
        add, wait = app.tasks["shop.add"], app.tasks["shop.wait"]
        result = chain(wait.si(), *(add.si(1, 1) for _ in range(6)))()
        gates["wait"].reached()
        result.parent.revoke()
        gates["wait"].open()
        ended(result)
    return str(result.id)


class EverySecond(BaseSchedule):
    def is_due(self, last_run_at: dt.datetime) -> tuple[bool, float]:
        left = 1 - (self.now() - last_run_at).total_seconds()
        return (left <= 0, max(left, 0.1))


def schedule_driver(app: Celery) -> str:
    """Record the driver of a schedule, from its start until its entry is no longer declared."""
    app.conf.task_default_queue = f"items-{uuid.uuid4().hex[:6]}"
    app.conf.beat_schedule = {"odd": {"task": "shop.add", "schedule": EverySecond(), "args": (1, 2)}}
    driver = driver_id("histories/odd")
    with WorkerThread(app, app.conf.task_default_queue, hostname="worker"):
        synchronise_app(app)
        wait_until(lambda: json.dumps(history(app, driver)).count("TIMER_FIRED") > 2)
        app.conf.beat_schedule = {}
        synchronise_app(app)
        wait_until(lambda: history(app, driver)["events"][-1]["eventType"].endswith("EXECUTION_COMPLETED"))
    return driver


KINDS: dict[str, Callable[[Celery], str]] = {
    "success": send("shop.add", (1, 2)),
    "failure": send("shop.fail"),
    "retry": send("shop.retry", (1,)),
    "retry_changed": send("shop.retry", (1, True)),
    "expired": send("shop.add", (1, 2), expires=0),
    "expired_in_the_queue": expired_in_the_queue,
    "revoked": revoked_before,
    "plain_call": plain_call,
    "revoked_while_running": revoked_while_running,
    "worker_lost_at_most_once": lost,
    "chain": canvas(lambda tasks: tasks["add"].s(1, 2) | tasks["retry"].s() | tasks["add"].s(1)),
    "group": canvas(lambda tasks: group(tasks["add"].s(1, number) for number in range(3))),
    "group_in_batches": canvas(lambda tasks: group(tasks["add"].s(1, number) for number in range(5)), batch=2),
    "chord": canvas(lambda tasks: chord([tasks["add"].s(1, 2), tasks["add"].s(3, 4)], tasks["count"].s())),
    "chord_failed": canvas(
        lambda tasks: chord([tasks["add"].s(1, 2), tasks["fail"].s()], tasks["count"].s().on_error(tasks["note"].s()))
    ),
    "chord_failed_before_a_group": canvas(
        lambda tasks: chord(
            [tasks["add"].s(1, 2), tasks["fail"].s()],
            group(
                tasks["count"].s().on_error(tasks["note"].s()), chord([tasks["add"].si(1, 2)], tasks["count"].s())
            ).set(link_error=[tasks["note"].si("group")]),
        )
    ),
    "links_of_a_retry": canvas(
        lambda tasks: tasks["retry"].s(1, True).set(link=[tasks["add"].s(3), tasks["add"].s(4)])
    ),
    "links": canvas(
        lambda tasks: tasks["add"].s(1, 2).set(link=[tasks["add"].s(3), tasks["add"].s(4) | tasks["add"].s(5)])
    ),
    "errbacks": canvas(lambda tasks: tasks["add"].s(1, 2) | tasks["fail"].si().on_error(tasks["note"].s())),
    "replaced": canvas(lambda tasks: tasks["replaced"].s(3)),
    "member_revoked": member_revoked,
    "chain_in_lots": canvas(
        lambda tasks: chain(tasks["add"].si(1, 2), *(tasks["add"].s(number) for number in range(7))), batch=3
    ),
    "chain_in_lots_failed": canvas(
        lambda tasks: chain(tasks["add"].si(1, 2), tasks["fail"].si(), *(tasks["add"].s(1) for _ in range(40))), batch=8
    ),
    "chord_in_lots": canvas(
        lambda tasks: chord([tasks["add"].s(1, number) for number in range(7)], tasks["count"].s()), batch=2
    ),
    "step_revoked_in_a_later_lot": step_revoked_in_a_later_lot,
    "bundle": bundle,
    "slices": canvas(
        lambda tasks: group(
            [
                *(tasks["add"].s(1, number) for number in range(MANY)),
                *(
                    tasks[name].s(*args)
                    for name, *args in (("fail",), ("retry", 1), ("retry", 1, True), ("replaced", 3))
                ),
            ]
        )
    ),
    "slice_reported_early": reported_slice,
    "slice_lost": lost_slice,
    "chain_slice_lost": lost_steps,
    "schedule_driver": schedule_driver,
    "countdown_in_a_group": canvas(
        lambda tasks: (
            group(tasks["add"].s(1, number).set(countdown=number * 0.2) for number in range(3))
            | tasks["count"].s().set(countdown=0.1)
        )
    ),
}


def history(app: Celery, task_id: str) -> dict[str, Any]:
    async def ask(client: Any) -> str:
        found: str = (await client.get_workflow_handle(task_id).fetch_history()).to_json()
        return found

    found: dict[str, Any] = json.loads(app.temporal.call(ask, PATIENCE))
    return found


def without_this_machine(value: Any) -> Any:
    """Return the history without paths and host names of this machine, also inside payloads."""
    if isinstance(value, dict):
        if set(value) == {"metadata", "data"}:
            data = base64.b64decode(value["data"]).decode()
            return {**value, "data": base64.b64encode(without_this_machine(data).encode()).decode()}
        return {key: without_this_machine(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_this_machine(part) for part in value]
    if isinstance(value, str):
        found = value.replace(f"{HERE.parent.parent}/", "").replace(socket.gethostname(), "host")
        return re.sub(r'/[^"\s]*/(?:site-packages|lib/python3[.0-9]*)/', "", found)
    return value


def main(names: list[str]) -> None:
    with EmbeddedServer(headless=True) as server:
        app = make_app(server.address)
        for name in names or KINDS:
            task_id = KINDS[name](app)
            found = without_this_machine({"workflowId": task_id, **history(app, task_id)})
            (HERE / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
            print(name, len(found["events"]), "events")
        app.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        with WorkerThread(make_app(sys.argv[2]), sys.argv[3], hostname="worker") as thread:
            thread._thread.join()
    else:
        main(sys.argv[1:])
