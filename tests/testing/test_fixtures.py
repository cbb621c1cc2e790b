"""The plugin's fixtures, as the tests of an application use them."""

from __future__ import annotations

import datetime
from datetime import timedelta
from typing import Any

import pytest
import transaction
from freezegun import freeze_time
from pyramid.config import Configurator
from webtest import TestApp

from pyramid_temporal_compat import Celery, Task, current_app, shared_task, temporal
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, TaskRevokedError
from pyramid_temporal_compat.testing.celery_worker import (
    start_worker,
    test_worker_started,
    test_worker_starting,
    test_worker_stopped,
)

PATIENCE = 20
UTC = datetime.timezone.utc


@pytest.fixture(params=[2020, 2040])
def then(request: pytest.FixtureRequest) -> datetime.datetime:
    """A moment in the past, and a moment in the future."""
    return datetime.datetime(request.param, 5, 17, 12, tzinfo=UTC)


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def now() -> str:
    return datetime.datetime.now(UTC).isoformat()


class Doubles(Task):
    name = "tests.testing.doubles"

    def run(self, x: int) -> int:
        return 2 * x


# --- Celery's fixtures ---------------------------------------------------------------------------------


def test_a_worker_runs_the_tasks_of_the_tests_app(celery_app: Celery, celery_worker: Any) -> None:
    assert celery_worker.app is celery_app
    assert add.delay(1, 2).get(timeout=PATIENCE) == 3


def test_a_task_made_in_the_test_runs(celery_app: Celery, celery_worker: Any) -> None:
    @celery_app.task
    def multiply(x: int, y: int) -> int:
        return x * y

    assert multiply.delay(4, 4).get(timeout=PATIENCE) == 16


def test_a_class_based_task_runs(celery_app: Celery, celery_worker: Any) -> None:
    task = celery_app.register_task(Doubles())
    assert task.delay(4).get(timeout=PATIENCE) == 8


@pytest.mark.celery(task_default_queue="marked", result_backend="redis://")
def test_the_mark_sets_settings_of_this_test(celery_app: Celery, celery_worker: Any) -> None:
    assert celery_app.conf.task_default_queue == "marked"
    assert celery_worker.queues == ["marked"]
    assert add.delay(1, 2).get(timeout=PATIENCE) == 3


def test_the_worker_answers_control_calls(celery_app: Celery, celery_worker: Any) -> None:
    assert celery_app.control.inspect(timeout=PATIENCE).ping() == {celery_worker.hostname: {"ok": "pong"}}


def test_the_app_is_not_current_by_default(celery_app: Celery) -> None:
    assert current_app() is not celery_app


def test_the_app_is_current_where_the_test_depends_on_that(depends_on_current_app: None, celery_app: Celery) -> None:
    assert current_app() is celery_app


def test_a_server_in_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, ptemporal_server: Any
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "production.example.com:7233")
    app = request.getfixturevalue("celery_app")
    assert app.temporal.settings.address == ptemporal_server.address


# --- start_worker --------------------------------------------------------------------------------------


def test_start_worker_sends_signals_when_its_worker_starts_and_ends(celery_app: Celery) -> None:
    told: list[str] = []
    receivers = {
        test_worker_starting: lambda **details: told.append("starting"),
        test_worker_started: lambda worker, **details: told.append(f"started {worker.hostname}"),
        test_worker_stopped: lambda worker, **details: told.append(f"stopped {worker.hostname}"),
    }
    for signal, receiver in receivers.items():
        signal.connect(receiver, sender=celery_app)
    with start_worker(celery_app, hostname="w1@here", perform_ping_check=False):
        told.append("in the block")
    assert told == ["starting", "started w1@here", "in the block", "stopped w1@here"]


def test_a_worker_serves_the_queues_that_it_is_given(celery_app: Celery) -> None:
    with start_worker(celery_app, queues="slow,fast", without_heartbeat=True, prefetch_multiplier=1) as worker:
        assert worker.queues == ["slow", "fast"]
        assert add.apply_async((1, 1), queue="fast").get(timeout=PATIENCE) == 2


@pytest.mark.parametrize(("pool", "concurrency", "stands_for_it"), [("prefork", 1, "solo"), ("prefork", 2, "threads")])
def test_threads_replace_processes(celery_app: Celery, pool: str, concurrency: int, stands_for_it: str) -> None:
    with start_worker(celery_app, pool=pool, concurrency=concurrency) as worker:
        assert worker.pool_name == stands_for_it


def test_an_option_that_no_worker_has_is_an_error(celery_app: Celery) -> None:
    with pytest.raises(ImproperlyConfigured, match="no option 'conurrency'"), start_worker(celery_app, conurrency=2):
        pass


@pytest.mark.celery(**{"ptemporal.address": "127.0.0.1:1", "ptemporal.connect_timeout": 1})
def test_a_worker_that_finds_no_server_says_so(celery_app: Celery) -> None:
    with pytest.raises(Exception, match=r"Temporal at 127\.0\.0\.1:1"), start_worker(celery_app):
        pass


# --- enlisted and dispatched calls ---------------------------------------------------------------------


def test_enlisted_calls_wait_for_the_commit(ptemporal_enlisted: Any, ptemporal_dispatched: Any) -> None:
    with transaction.manager:
        add.delay(1, 2)
        add.apply_async((3,), {"y": 4}, queue="slow")
        assert [(call.task, call.args, call.kwargs) for call in ptemporal_enlisted()] == [
            (add.name, (1, 2), {}),
            (add.name, (3,), {"y": 4}),
        ]
        assert ptemporal_dispatched == []
    assert ptemporal_enlisted() == []
    assert [(call.args, call.queue) for call in ptemporal_dispatched] == [((1, 2), "celery"), ((3,), "slow")]


def test_an_aborted_transaction_dispatches_nothing(ptemporal_dispatched: Any) -> None:
    transaction.begin()
    add.delay(1, 2)
    transaction.abort()
    assert ptemporal_dispatched == []


def test_enlisted_calls_of_a_given_transaction_manager(ptemporal_enlisted: Any, ptemporal_dispatched: Any) -> None:
    manager = transaction.TransactionManager(explicit=True)
    manager.begin()
    add.apply_async((1, 2), transaction_manager=manager)
    assert ptemporal_enlisted.names(manager) == [add.name]
    manager.abort()


def test_starts_of_workflows_are_seen_beside_calls_of_tasks(ptemporal_enlisted: Any, ptemporal_dispatched: Any) -> None:
    there = temporal()
    with transaction.manager:
        add.delay(1, 2)
        handle = there.start_workflow("Onboarding", {"user": 5}, 3, task_queue="users", start_delay=timedelta(hours=1))
        handle.signal("skip", 2, after_commit=True)
        started, signalled = ptemporal_enlisted.workflows()
        assert (started.name, started.workflow_id, started.args) == ("Onboarding", handle.id, ({"user": 5}, 3))
        assert (started.queue, started.is_signal) == ("users", False)
        assert started.eta > datetime.datetime.now(datetime.timezone.utc)
        assert (signalled.name, signalled.workflow_id, signalled.args) == ("skip", handle.id, (2,))
        assert signalled.is_signal
        assert ptemporal_enlisted.names() == [add.name]
        assert ptemporal_dispatched.workflows == []
    assert ptemporal_dispatched.workflows == [started, signalled]
    assert ptemporal_dispatched.names == [add.name]
    assert ptemporal_enlisted.workflows() == []
    current_app.close()  # the thread that makes requests


def test_dispatched_calls_of_one_task(ptemporal_dispatched: Any) -> None:
    result = add.delay(1, 2)
    now.delay()
    assert ptemporal_dispatched.names == [add.name, now.name]
    assert [call.id for call in ptemporal_dispatched.of(add)] == [result.id]
    assert ptemporal_dispatched.of("tests.testing.other") == []


def test_after_send_on_dispatched_calls_are_also_sent(
    celery_app: Celery, celery_worker: Any, ptemporal_dispatched: Any
) -> None:
    ptemporal_dispatched.send_on()
    assert add.delay(1, 2).get(timeout=PATIENCE) == 3
    assert ptemporal_dispatched.names == [add.name]


def test_a_view_dispatches_after_its_transaction(ptemporal_dispatched: Any, temporal_address: str) -> None:
    def view(request: Any) -> Any:
        add.delay(int(request.params["x"]), 1)
        if "fail" in request.params:
            raise ValueError("the view fails")
        return {"dispatched": len(ptemporal_dispatched)}

    config = Configurator(settings={"tm.manager_hook": "pyramid_tm.explicit_manager"})
    config.include("pyramid_tm")
    config.include("pyramid_temporal_compat")
    config.add_route("add", "/")
    config.add_view(view, route_name="add", renderer="json")
    browser = TestApp(config.make_wsgi_app())

    assert browser.get("/?x=1").json == {"dispatched": 0}
    with pytest.raises(ValueError, match="the view fails"):
        browser.get("/?x=2&fail=1")
    assert [call.args for call in ptemporal_dispatched] == [(1, 1)]


# --- frozen time ---------------------------------------------------------------------------------------


def test_countdown_eta_and_expires_count_from_the_frozen_time(
    ptemporal_dispatched: Any, then: datetime.datetime
) -> None:
    with freeze_time(then):
        add.apply_async((1, 2), countdown=60, expires=120)
        add.apply_async((1, 2), eta=datetime.datetime.now(UTC) + datetime.timedelta(hours=1))
    first, second = ptemporal_dispatched
    assert first.eta == then + datetime.timedelta(minutes=1)
    assert first.expires == then + datetime.timedelta(minutes=2)
    assert second.eta == then + datetime.timedelta(hours=1)


@pytest.mark.celery(task_always_eager=True, task_eager_propagates=True)
def test_an_eager_run_sees_the_frozen_time(
    celery_app: Celery, depends_on_current_app: None, then: datetime.datetime
) -> None:
    with freeze_time(then) as clock:
        assert now.delay().get() == then.isoformat()
        clock.tick(60)
        assert now.apply_async(countdown=10).get() == (then + datetime.timedelta(minutes=1)).isoformat()


def test_a_worker_continues_in_frozen_time_and_its_tasks_see_that_time(
    celery_app: Celery, celery_worker: Any, then: datetime.datetime
) -> None:
    with freeze_time(then) as clock:
        assert now.delay().get(timeout=PATIENCE) == then.isoformat()
        clock.tick(datetime.timedelta(days=1))
        assert now.delay().get(timeout=PATIENCE) == (then + datetime.timedelta(days=1)).isoformat()


def test_a_worker_that_starts_in_frozen_time_works(celery_app: Celery, then: datetime.datetime) -> None:
    with freeze_time(then), start_worker(celery_app):
        assert add.delay(1, 2).get(timeout=PATIENCE) == 3


def test_an_eta_that_the_frozen_time_has_passed_starts_at_once(
    celery_app: Celery, celery_worker: Any, then: datetime.datetime
) -> None:
    with freeze_time(then):
        eta = datetime.datetime.now(UTC) - datetime.timedelta(seconds=1)
        assert add.apply_async((1, 2), eta=eta).get(timeout=PATIENCE) == 3


def test_a_task_expires_by_the_frozen_time(celery_app: Celery, celery_worker: Any, then: datetime.datetime) -> None:
    with freeze_time(then) as clock:
        result = add.apply_async((1, 2), countdown=1, expires=30)
        clock.tick(60)
        with pytest.raises(TaskRevokedError):
            result.get(timeout=PATIENCE)


def test_a_task_does_not_expire_before_the_frozen_time_has_passed_its_limit(
    celery_app: Celery, celery_worker: Any, then: datetime.datetime
) -> None:
    with freeze_time(then):
        assert add.apply_async((1, 2), expires=30).get(timeout=PATIENCE) == 3
        assert add.apply_async((1, 2), countdown=0.2, expires=30).get(timeout=PATIENCE) == 3
