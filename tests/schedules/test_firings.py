"""What a firing is: a task with its own id, its options and its result, also if the entry is a canvas."""

from __future__ import annotations

import base64
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyramid_temporal_compat import Celery, group
from pyramid_temporal_compat.exceptions import TaskRevokedError
from pyramid_temporal_compat.schedules import schedule
from pyramid_temporal_compat.schedules.beat_scheduler import ScheduleEntry, Scheduler
from tests.parts import wait_until
from tests.schedules.parts import firings, on_server, synchronise, trigger
from tests.worker.shop import WorkerThread

NIGHT = 86400
ROOT = Path(__file__).parents[2]


def test_an_interval_starts_a_task_with_its_result_again_and_again(app: Celery, worker: WorkerThread) -> None:
    app.conf.beat_schedule = {"every second": {"task": "add", "schedule": 1, "args": (1, 2)}}
    synchronise(app)
    ids = firings(app, "every second", least=2)
    assert len(set(ids)) == len(ids)
    assert [app.AsyncResult(found).get(timeout=60) for found in ids[:2]] == [3, 3]
    assert app.AsyncResult(ids[0]).name == "add"


def test_a_firing_knows_its_entry_and_has_the_options_of_the_entry(app: Celery, worker: WorkerThread) -> None:
    options = {"expires": 60, "priority": 7, "headers": {"tenant": "a"}}
    app.conf.beat_schedule = {"report": {"task": "tell", "schedule": NIGHT, "options": options}}
    synchronise(app)
    task_id = trigger(app, "report")
    told = app.AsyncResult(task_id).get(timeout=60)
    assert told["id"] == task_id
    assert (told["entry"], told["property"]) == ("report", "report")
    assert (told["headers"], told["priority"]) == ({"tenant": "a", "celery_beat_task": True}, 7)
    left = dt.datetime.fromisoformat(told["expires"]) - dt.datetime.now(dt.timezone.utc)
    assert dt.timedelta(0) < left <= dt.timedelta(seconds=60)


def test_a_firing_that_waits_longer_than_expires_is_not_run(app: Celery) -> None:
    app.conf.beat_schedule = {"short": {"task": "tell", "schedule": NIGHT, "options": {"expires": 0.2}}}
    synchronise(app)
    task_id = trigger(app, "short")
    begun = dt.datetime.now()
    wait_until(lambda: dt.datetime.now() - begun > dt.timedelta(seconds=0.5))
    with WorkerThread(app, str(app.main)), pytest.raises(TaskRevokedError):
        app.AsyncResult(task_id).get(timeout=60)


def test_countdown_counts_from_the_firing(app: Celery, worker: WorkerThread) -> None:
    app.conf.beat_schedule = {"later": {"task": "add", "args": (1, 1), "schedule": NIGHT, "options": {"countdown": 2}}}
    synchronise(app)
    task_id = trigger(app, "later")
    assert app.AsyncResult(task_id).state == "PENDING"
    assert app.AsyncResult(task_id).get(timeout=60) == 2

    async def timers(client: Any) -> list[bool]:
        history = await client.get_workflow_handle(task_id).fetch_history()
        return [event.HasField("timer_fired_event_attributes") for event in history.events]

    assert any(app.temporal.call(timers, 20))


def test_a_retry_with_other_arguments_still_knows_its_entry(app: Celery, worker: WorkerThread) -> None:
    app.conf.beat_schedule = {"again": {"task": "fails_once", "schedule": NIGHT}}
    synchronise(app)
    assert app.AsyncResult(trigger(app, "again")).get(timeout=60) == "again"


def test_canvases_and_callbacks_run_under_the_ids_of_their_firing(app: Celery, worker: WorkerThread) -> None:
    add = app.tasks["add"]
    app.add_periodic_task(1, add.s(1, 1) | add.s(5), name="chain/of two")
    app.add_periodic_task(NIGHT, group(add.s(1, 1), add.s(2, 2)), name="group")
    app.add_periodic_task(NIGHT, group(add.s(1, 1), add.s(2, 2)) | app.tasks["celery.accumulate"].s(), name="chord")
    app.add_periodic_task(NIGHT, add.s(1, 1), name="linked", link=add.s(10))
    synchronise(app)
    for chain in firings(app, "chain/of two", least=2)[:2]:
        assert app.AsyncResult(chain).get(timeout=60) == 7
        assert app.AsyncResult(f"{chain}/1").get(timeout=60) == 2
    assert app.AsyncResult(trigger(app, "chord")).get(timeout=60) == [[2, 4]]
    linked = app.AsyncResult(trigger(app, "linked"))
    assert linked.get(timeout=60) == 2
    assert linked.children[0].get(timeout=60) == 12
    grouped = trigger(app, "group")
    assert [app.AsyncResult(f"{grouped}/{number}").get(timeout=60) for number in (1, 2)] in ([2, 4], [4, 2])


def test_the_same_declaration_is_written_the_same_so_that_no_sync_finds_a_difference(app: Celery) -> None:
    add = app.tasks["add"]
    app.add_periodic_task(NIGHT, group(add.s(1, 1), add.s(2, 2)) | add.s(1), name="chord", expires=60)
    app.add_periodic_task(NIGHT, group(add.s(1, 1), add.s(2, 2)), name="group", countdown=5)
    app.add_periodic_task(NIGHT, add.s(1, 1), name="linked", link=add.s(10), link_error=add.s(1))
    synchronise(app)
    assert not synchronise(app).differences


def test_arguments_are_encrypted_on_the_server(app: Celery) -> None:
    app.close()
    app.conf["ptemporal.encryption_keys"] = f"k:{base64.b64encode(bytes(32)).decode()}"
    app.conf.beat_schedule = {"secret": {"task": "add", "schedule": NIGHT, "args": ("hunter2", "")}}
    synchronise(app)
    assert "hunter2" not in str(on_server(app, "secret").raw_description)
    assert not synchronise(app).differences
    with WorkerThread(app, str(app.main)):
        assert app.AsyncResult(trigger(app, "secret")).get(timeout=60) == "hunter2"


def test_a_hand_written_workflow_is_started_by_its_type(app: Celery) -> None:
    app.conf.beat_schedule = {"nightly": {"workflow": "Onboarding", "schedule": NIGHT, "args": ("x", 3)}}
    synchronise(app)
    action = on_server(app, "nightly").schedule.action
    assert (action.workflow, action.task_queue, len(action.args)) == ("Onboarding", app.main, 2)


def test_tools_that_wrap_celerys_scheduler_are_told_of_each_firing(
    app: Celery, worker: WorkerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Sentry does: it wraps `apply_entry`, and gives the task headers with the id of a check-in."""
    seen = []
    sent = Scheduler.apply_entry

    def wrapped(scheduler: Scheduler, entry: ScheduleEntry, producer: Any = None) -> None:
        seen.append((entry.name, entry.task, scheduler.app, entry.schedule))
        headers = entry.options.pop("headers", {})
        headers["check-in"] = "7"
        entry.options["headers"] = headers
        sent(scheduler, entry, producer)

    monkeypatch.setattr(Scheduler, "apply_entry", wrapped)
    app.conf.beat_schedule = {"report": {"task": "tell", "schedule": NIGHT, "options": {"headers": {"tenant": "a"}}}}
    synchronise(app)
    told = app.AsyncResult(trigger(app, "report")).get(timeout=60)
    assert told["headers"] == {"tenant": "a", "check-in": "7", "celery_beat_task": True}
    assert seen == [("report", "tell", app, schedule(NIGHT))]
    app.tasks["add"].apply_async((1, 2)).get(timeout=60)
    assert len(seen) == 1


def test_a_tool_that_fails_does_not_fail_the_task(
    app: Celery, worker: WorkerThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(scheduler: Scheduler, entry: ScheduleEntry, producer: Any = None) -> None:
        raise OSError("no monitor")

    monkeypatch.setattr(Scheduler, "apply_entry", broken)
    app.conf.beat_schedule = {"sum": {"task": "add", "schedule": NIGHT, "args": (1, 1)}}
    synchronise(app)
    assert app.AsyncResult(trigger(app, "sum")).get(timeout=60) == 2
    assert "apply_entry failed for the periodic task 'sum'" in caplog.text


def test_sentrys_own_integration_reports_the_check_ins_of_a_fired_task(temporal_address: str) -> None:
    command = [sys.executable, "-m", "tests.schedules.under_sentry", temporal_address]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    began, ended = sorted((line for line in lines if "status" in line), key=lambda line: line["status"])
    assert (began["status"], ended["status"]) == ("in_progress", "ok")
    assert began["check_in_id"] == ended["check_in_id"]
    assert began["monitor_slug"] == "nightly"
    assert began["monitor_config"]["schedule"] == {"type": "crontab", "value": "0 3 * * *"}
