"""Celery's commands about workers and tasks, typed as for Celery, on one worker for the whole file."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.cli import group
from pyramid_temporal_compat.cli.common import Common
from pyramid_temporal_compat.control.worker_commands import Panel, control_command
from tests.cli.parts import environment
from tests.control.conftest import RunningWorker, patient_calls  # noqa: F401  a fixture
from tests.parts import wait_until

Run = Callable[..., Result]
GATE = threading.Event()
"""Holds the task `wait` until it is set."""


def new_app(address: str, queue: str) -> Celery:
    """Return an app with tasks. The worker and the commands have one each, because a command closes its app."""
    app = Celery("counter", set_as_current=False)
    app.conf.update(ptemporal_address=address, task_default_queue=queue)

    @app.task(name="counter.add", rate_limit="100/s")
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task(name="counter.fail")
    def fail() -> None:
        raise ValueError("out of cheese")

    @app.task(name="counter.wait")
    def wait() -> None:
        GATE.wait(60)

    return app


@pytest.fixture(scope="module")
def worker(temporal_address: str) -> Iterator[RunningWorker]:
    with new_app(temporal_address, f"counter-{uuid.uuid4().hex[:8]}") as app:
        running = RunningWorker(app, hostname=f"w-{uuid.uuid4().hex[:6]}@test", concurrency=2)
        yield running
        GATE.set()
        running.stop()


@pytest.fixture(scope="module")
def app(temporal_address: str, worker: RunningWorker) -> Celery:
    assert worker.worker is not None
    return new_app(temporal_address, worker.worker.queues[0])


@pytest.fixture
def run(app: Celery) -> Run:
    def run(*words: object, code: int = 0, **options: Any) -> Result:
        done = CliRunner().invoke(group, list(map(str, words)), obj=Common(app), **options)
        assert done.exit_code == code, (done.output, done.exception)
        return done

    return run


def test_status_lists_the_workers_that_answer(run: Run, worker: RunningWorker) -> None:
    assert run("status", "-d", worker.hostname).output == f"->  {worker.hostname}: OK\n\n1 node online.\n"
    assert json.loads(run("status", "-j", "--destination", worker.hostname).output) == {worker.hostname: {"ok": "pong"}}
    assert run("-q", "status", "-d", worker.hostname).output == f"{worker.hostname}: OK\n"


def test_no_answer_is_celerys_exit_code(run: Run) -> None:
    for words in (("status",), ("inspect", "active"), ("control", "pool_grow")):
        told = run(*words, "-d", "nobody@nowhere", "-t", "0.1", code=69).output
        assert "No nodes replied within time constraint (0.1 s; -t sets another)" in told
        assert "nobody@nowhere" in told


def test_inspect_prints_the_answers(run: Run, worker: RunningWorker) -> None:
    to_it = ("-d", worker.hostname)
    lines = run("inspect", "registered", "rate_limit", *to_it).output.splitlines()
    assert lines[0] == f"->  {worker.hostname}: OK"
    assert "    * counter.add [rate_limit=100/s]" in lines  # among shared tasks of other tests
    assert "    - empty -" in run("inspect", "active", *to_it).output
    stats = json.loads(run("inspect", *to_it, "stats", "--json").output)[worker.hostname]
    assert stats["broker"]["transport"] == "temporal"
    assert "task_annotations" in json.loads(run("inspect", "conf", "true", "-j", *to_it).output)[worker.hostname]


def test_control_reads_words_as_the_table_of_commands_declares(run: Run, worker: RunningWorker) -> None:
    to_it = ("-d", worker.hostname)
    told = run("control", "rate_limit", "counter.add", "50/s", *to_it).output
    assert told == f"->  {worker.hostname}: OK\n        new rate limit set successfully\n"
    assert "* counter.add [rate_limit=50/s]" in run("inspect", "registered", "rate_limit", *to_it).output
    told = run("control", "rate_limit", "counter.ad", "50/s", *to_it).output
    assert told == f"->  {worker.hostname}: ERROR\n        unknown task\n"
    [reply] = json.loads(run("control", "time_limit", "counter.add", "5", "10", "-j", *to_it).output)
    assert reply == {worker.hostname: {"ok": "time limits set successfully"}}
    more = f"more-{uuid.uuid4().hex[:6]}"
    run("control", "add_consumer", more, *to_it)
    assert f"'name': '{more}'" in run("inspect", "active_queues", *to_it).output
    run("control", "cancel_consumer", more, *to_it)


def test_a_command_of_the_application_is_a_command_here(run: Run, worker: RunningWorker) -> None:
    @control_command(args=[("n", int)], signature="<n>")
    def doubled(state: Any, n: int) -> dict[str, int]:
        "Double a number."
        return {"ok": 2 * n}

    try:
        told = run("control", "doubled", "21", "-d", worker.hostname).output
        assert told == f"->  {worker.hostname}: OK\n        42\n"
        assert "doubled <n>" in run("control", "--list").output
    finally:
        del Panel.data["doubled"], Panel.meta["doubled"]


def test_a_task_is_called_and_its_result_printed(run: Run) -> None:
    task_id = run("call", "counter.add", "-a", "[2]", "--kwargs", '{"y": 3}').output.strip()
    assert run("result", task_id).output.splitlines()[-1] == "5"
    called = json.loads(run("call", "counter.add", "--args=[1, 1]", "--json").output)
    assert called["name"] == "counter.add"
    told = run("result", called["id"], "-t", "counter.add", "--json").output.splitlines()[-1]
    assert json.loads(told) == {"id": called["id"], "state": "SUCCESS", "result": 2}


def test_a_failed_task_has_an_error_and_a_traceback(run: Run) -> None:
    task_id = run("call", "counter.fail").output.strip()
    assert "ValueError: out of cheese" in run("result", task_id, code=1).output
    told = run("result", task_id, "--traceback").output
    assert 'raise ValueError("out of cheese")' in told


def test_a_result_that_does_not_come_in_time_is_an_error(run: Run) -> None:
    told = run("result", "there-is-none", "--timeout", "0.2", code=1).output
    assert "there-is-none is PENDING; this waits for its end" in told
    assert "has not ended within 0.2 s" in told


def test_a_call_of_an_unknown_task_is_sent_with_a_word_of_it(run: Run, app: Celery) -> None:
    told = run("call", "counter.ad", "--queue", f"nobody-{uuid.uuid4().hex[:6]}").output.splitlines()
    assert told[0].startswith("the application has no task 'counter.ad'; the nearest is 'counter.add'; it is sent")
    assert app.AsyncResult(told[1]).exists()
    app.AsyncResult(told[1]).revoke()
    app.close()


def test_revoke_holds_without_a_worker(run: Run, app: Celery) -> None:
    task_id = run("call", "counter.add", "-a", "[1]", "--countdown", "600").output.strip()
    told = run("control", "revoke", task_id, "-d", "nobody@nowhere", "-t", "0.1").output
    assert told == "no worker answered; the server carries the order out, and workers learn of it\n"
    wait_until(lambda: app.AsyncResult(task_id).state == "REVOKED")
    app.close()
    told = run("control", "terminate", "SIGFOO", task_id, code=2).output
    assert "there is no signal 'SIGFOO'" in told


def test_purge_ends_what_waits(run: Run, app: Celery) -> None:
    queue = f"idle-{uuid.uuid4().hex[:8]}"
    ids = [run("call", "counter.add", "-a", "[1]", "--queue", queue).output.strip() for _ in range(2)]

    def count() -> int:
        query = f"TaskQueue = '{queue}' AND ExecutionStatus = 'Running'"
        return int(app.temporal.call(lambda client: client.count_workflows(query), 10).count)

    wait_until(lambda: count() == len(ids))
    assert "Aborted" in run("purge", "-Q", queue, input="n\n", code=1).output
    assert run("purge", "-f", "-Q", f"{queue},empty", "-X", "empty").output == "Purged 2 messages from 1 queue.\n"
    wait_until(lambda: count() == 0)
    assert json.loads(run("purge", "-f", "-Q", queue, "--json").output) == {"purged": 0, "queues": [queue]}


def test_events_are_the_changes_of_tasks(app: Celery) -> None:
    """The looks behind `events --dump`, without the loop."""
    from pyramid_temporal_compat.cli.events import lines_of_look, watch_from_now

    watch = app.temporal.call(watch_from_now, 10)
    done, failed, held = (app.send_task(f"counter.{name}", args) for name, args in CALLS)
    seen: list[dict[str, Any]] = []

    def types(task_id: str) -> list[str]:
        seen.extend(map(json.loads, lines_of_look(app, watch, as_json=True)))
        return [each["type"] for each in seen if each["uuid"] == task_id]

    wait_until(lambda: types(held.id) == ["task-sent", "task-started"])
    GATE.set()
    wait_until(lambda: types(held.id)[-1] == "task-succeeded")
    wait_until(lambda: {"task-sent", "task-succeeded"} <= set(types(done.id)))
    wait_until(lambda: types(failed.id)[-1] == "task-failed")
    [failure] = [each for each in seen if each["type"] == "task-failed" and each["uuid"] == failed.id]
    assert failure["exception"] == "ValueError: out of cheese"
    assert len(types(done.id)) == len(set(types(done.id))), "a change was told twice"
    app.close()


CALLS = (("add", [1, 2]), ("fail", []), ("wait", []))


def test_an_absent_server_is_celerys_exit_code_for_the_celery_program_too(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pyramid_temporal_compat.as_celery", "celery", "-A", "tests.cli.project", "status"],
        env={**environment(), "PROJECT_ADDRESS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 69, ran.stderr
    assert "127.0.0.1:1" in ran.stderr
