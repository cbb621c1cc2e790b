"""The fixtures for activities and workflows, as the tests of an application use them."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from pyramid_temporal_compat import ActivityContext, Worker, chain, group
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.testing.environments import rolled_back_context
from tests.testing.native_activities import enrich_user, remind, succeeds_after_two_hours
from tests.testing.native_work import Onboarding, OnboardingWithoutTheDay, Quick
from tests.worker.shop import Line, Shop, add, note

HISTORIES = Path(__file__).parent.parent / "histories"
PATIENCE = 60
ACTIVITIES = [enrich_user, remind]


@pytest.fixture
def shop(ptemporal_server: Any, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(ptemporal_server.address, f"sqlite:///{tmp_path}/shop.db")
    yield shop
    shop.close()


@pytest.fixture
def ptemporal_registry(shop: Shop) -> Any:
    return shop.registry


# --- contexts ------------------------------------------------------------------------------------------


def test_an_activity_runs_in_temporals_activity_environment(ptemporal_context: ActivityContext, shop: Shop) -> None:
    heartbeats: list[Any] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = heartbeats.append
    assert asyncio.run(environment.run(enrich_user, ptemporal_context, "Ada")) == "Ada, unknown"
    assert environment.run(remind, ptemporal_context, "Ada") == "reminded Ada"
    assert heartbeats == ["Ada"]
    assert [line.text for line in ptemporal_context.request.dbsession.query(Line)] == ["Ada"]
    assert shop.lines() == []


def test_the_contexts_transaction_is_aborted_at_the_end(shop: Shop, ptemporal_enlisted: Any) -> None:
    with rolled_back_context(shop.registry) as context:
        context.request.dbsession.add(Line(text="aborted"))
        context.request.dbsession.flush()
        note.delay("never sent")
        assert ptemporal_enlisted.names() == [note.name]
        assert context.settings is shop.registry.settings
        assert context.tm is context.request.tm
    assert shop.lines() == []
    assert ptemporal_enlisted() == []


def test_the_registry_has_to_be_given(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_context(ptemporal_context): pass")
    result = pytester.runpytest_subprocess("-p", "pytest_ptemporal", "-p", "no:cacheprovider", timeout=60)
    result.stdout.fnmatch_lines(["*override the fixture ptemporal_registry*"])


# --- environments and workers --------------------------------------------------------------------------


def test_a_worker_of_the_test_runs_a_workflow(ptemporal_worker: Any, shop: Shop) -> None:
    worker = ptemporal_worker(workflows=[Quick], activities=ACTIVITIES)
    assert worker.execute(Quick.run, "Ada") == "Ada, enrich_user"
    assert shop.lines() == ["Ada"]


def test_a_worker_of_the_test_takes_arguments_as_a_list_too(ptemporal_worker: Any, shop: Shop) -> None:
    worker = ptemporal_worker(workflows=[Quick], activities=ACTIVITIES)
    assert worker.execute(Quick.run, args=["Ada"]) == "Ada, enrich_user"


def test_a_worker_of_the_test_may_run_tasks_too(ptemporal_worker: Any, shop: Shop) -> None:
    ptemporal_worker(task_queue=shop.queue, tasks=True)
    assert add.delay(1, 2).get(timeout=PATIENCE) == 3


def test_the_environment_serves_coroutines_on_any_event_loop(ptemporal_env: WorkflowEnvironment, shop: Shop) -> None:
    async def main() -> Any:
        client, queue = ptemporal_env.client, uuid.uuid4().hex
        async with Worker(client, shop.registry, task_queue=queue, workflows=[Quick], activities=ACTIVITIES):
            return await client.execute_workflow(Quick.run, "Ada", id=queue, task_queue=queue)

    assert asyncio.run(main()) == "Ada, enrich_user"
    assert asyncio.run(main()) == "Ada, enrich_user"


@pytest.mark.integration
def test_the_error_of_a_worker_is_the_tests_error(ptemporal_worker: Any) -> None:
    with pytest.raises(ValueError, match="At least one activity"):
        ptemporal_worker(task_queue="a worker without work")


# --- time skipping -------------------------------------------------------------------------------------


def test_a_workflow_skips_a_day(ptemporal_time_skipping: Any, ptemporal_worker: Any) -> None:
    worker = ptemporal_worker(workflows=[Onboarding], activities=ACTIVITIES)
    assert worker.execute(Onboarding.run, "Ada") == ["Ada, enrich_user", "reminded Ada"]


def test_a_clock_of_a_workflow_can_be_moved(ptemporal_time_skipping: Any, ptemporal_worker: Any) -> None:
    env = ptemporal_time_skipping
    worker = ptemporal_worker(workflows=[Onboarding], activities=ACTIVITIES)

    async def main() -> Any:
        with env.with_time_skipping_disabled():
            workflow_id = uuid.uuid4().hex
            handle = await worker.client.start_workflow(
                Onboarding.run, "Ada", id=workflow_id, task_queue=worker.task_queue
            )
        began = await env.get_current_time(handle)
        assert await env.fast_forward(handle, datetime.timedelta(hours=23))
        assert await env.get_current_time(handle) - began >= datetime.timedelta(hours=23)
        assert (await handle.describe()).status.name == "RUNNING"
        await env.fast_forward(handle, datetime.timedelta(hours=2))
        return await handle.result()

    assert worker.run(main()) == ["Ada, enrich_user", "reminded Ada"]


def test_countdown_eta_and_retries_of_tasks_are_skipped(
    ptemporal_time_skipping: Any, ptemporal_worker: Any, shop: Shop
) -> None:
    ptemporal_worker(task_queue=shop.queue, tasks=True)
    tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    results = {
        "countdown": (add.apply_async((1, 1), countdown=7200), 2),
        "eta": (add.apply_async((2, 1), eta=tomorrow), 3),
        "retries": (succeeds_after_two_hours.delay(), 2),
        "a member's countdown": (group(add.s(1, 3).set(countdown=7200), add.s(2, 3)).delay(), [4, 5]),
        "a step's countdown": (chain(add.s(1, 5), add.s(1).set(countdown=7200)).delay(), 7),
    }
    assert {name: result.get(timeout=PATIENCE) for name, (result, _) in results.items()} == {
        name: expected for name, (_, expected) in results.items()
    }


# --- replay --------------------------------------------------------------------------------------------


def test_histories_replay(
    ptemporal_replay: Any, ptemporal_time_skipping: Any, ptemporal_worker: Any, tmp_path: Path
) -> None:
    worker = ptemporal_worker(workflows=[Onboarding], activities=ACTIVITIES)
    worker.execute(Onboarding.run, "Ada", id="replayed")
    history = worker.run(fetch(worker.client, "replayed"))
    file = tmp_path / "replayed.json"
    file.write_text(history)
    ptemporal_replay(file, HISTORIES / "chord.json", workflows=[Onboarding])
    with pytest.raises(pytest.fail.Exception, match=r"replayed\.json: NondeterminismError"):
        ptemporal_replay(file, workflows=[OnboardingWithoutTheDay])


async def fetch(client: Any, workflow_id: str) -> str:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    text: str = history.to_json()
    return text


@pytest.mark.parametrize(("text", "said"), [("{", "can be read"), ("[]", '"events"'), (None, "No such file")])
def test_a_file_that_holds_no_history_is_named(
    ptemporal_replay: Any, tmp_path: Path, text: str | None, said: str
) -> None:
    file = tmp_path / "some.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ImproperlyConfigured, match=r"some\.json: .*" + said):
        ptemporal_replay(file)
