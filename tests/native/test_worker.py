"""`Worker` beside temporalio's own worker: what it binds, passes on, and refuses."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool, QueuePool
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker as TemporalWorker
from temporalio.worker import WorkerTuner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from pyramid_temporal_compat import Worker
from pyramid_temporal_compat.app.shared import shared_tasks
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.native import interceptor
from pyramid_temporal_compat.native.connection_limit import most_connections
from pyramid_temporal_compat.native.interceptor import TransactionInterceptor
from pyramid_temporal_compat.native.sandbox import passing_through
from tests.native import activities as the
from tests.native.calls_tasks import UsesModels
from tests.native.running import PATIENCE, run, run_activity
from tests.native.workflows import ReadsALot, Runs
from tests.parts import wait_until
from tests.worker.shop import Shop, add, gates, note, waits_at

BOTH_KINDS = pytest.mark.parametrize("kind", ["async", "sync"])


def make(shop: Shop, **options: Any) -> Worker:
    async def main() -> Worker:
        client = await Client.connect(shop.settings["ptemporal.address"])
        return Worker(client, shop.registry, task_queue=f"native-{uuid.uuid4().hex}", **options)

    return asyncio.run(main())


def test_plain_activities_and_methods_pass_through(shop: Shop) -> None:
    service = the.Service("good morning")
    assert run_activity(shop, the.plain_sync, "you") == "plain sync you"
    assert run_activity(shop, service.greet_plainly, "you") == "plain good morning you"
    assert shop.lines() == []


def test_a_method_may_be_a_context_activity(shop: Shop) -> None:
    assert run_activity(shop, the.Service("good morning").greet, "you") == "good morning you"
    assert shop.lines() == ["good morning you"]


def test_run_and_shutdown_are_temporalios(shop: Shop) -> None:
    async def main() -> Any:
        client = await Client.connect(shop.settings["ptemporal.address"])
        queue = f"native-{uuid.uuid4().hex}"
        worker = Worker(client, shop.registry, task_queue=queue, workflows=[Runs], activities=[the.write_sync])
        assert isinstance(worker, TemporalWorker)
        running = asyncio.create_task(worker.run())
        result = await client.execute_workflow(Runs.run, args=["write-sync", "a", 1], id=queue, task_queue=queue)
        assert worker.is_running
        await worker.shutdown()
        await running
        return result

    assert asyncio.run(main()) == "sync hello a"


def test_an_option_that_temporalio_does_not_know_is_an_error(shop: Shop) -> None:
    with pytest.raises(TypeError, match="max_concurrent_activties"):
        make(shop, activities=[the.plain], max_concurrent_activties=3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("options", "threads"),
    [
        ({}, 100),
        ({"max_concurrent_activities": 7}, 7),
        ({"max_concurrent_activities": 300}, 300),
        ({"tuner": WorkerTuner.create_fixed(activity_slots=200)}, 500),
    ],
)
def test_a_thread_for_each_activity_that_may_run(shop: Shop, options: Any, threads: int) -> None:
    executor: Any = make(shop, activities=[the.write_sync], **options).config()["activity_executor"]
    assert executor._max_workers == threads


@pytest.fixture
def small_pool(temporal_address: str, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(temporal_address, f"sqlite:///{tmp_path}/shop.db", **{"shop.pool_size": "5"})
    yield shop
    shop.close()


def test_async_activities_do_not_wait_for_each_others_connections(
    small_pool: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(small_pool, ReadsALot, 60, activities=[the.reads_twice]) == list(range(60))
    caplog.set_level(logging.INFO)
    assert make(small_pool, activities=[the.reads_twice]).config()["max_concurrent_activities"] == 15
    assert "up to 15 activities at a time" in caplog.text
    assert make(small_pool, activities=[the.write_sync]).config()["max_concurrent_activities"] is None


def test_a_number_that_is_too_high_for_the_pool_is_kept_with_a_warning(
    small_pool: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    worker = make(small_pool, activities=[the.reads_twice], max_concurrent_activities=20)
    assert worker.config()["max_concurrent_activities"] == 20
    assert "up to 20 activities at a time" in caplog.text
    assert "Raise pool_size and max_overflow" in caplog.text


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 15),
        ({"pool_size": 20, "max_overflow": 5}, 25),
        ({"max_overflow": -1}, None),
        ({"pool_size": 0}, None),
        ({"poolclass": NullPool}, None),
    ],
)
def test_the_connections_of_a_pool(options: Any, most: int | None, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/a.db", **{"poolclass": QueuePool, **options})
    assert most_connections(engine.pool) == most
    engine.dispose()


def test_an_executor_that_is_given_is_used_and_not_shut_down(shop: Shop) -> None:
    with ThreadPoolExecutor(2, "own") as executor:
        options: dict[str, Any] = {"activity_executor": executor, "max_concurrent_activities": 2}
        assert run_activity(shop, the.names_its_thread, "a", **options).startswith("own")
        assert executor.submit(lambda: 1).result() == 1


def test_processes_are_refused_for_context_activities(shop: Shop) -> None:
    with (
        ProcessPoolExecutor(1) as executor,
        pytest.raises(TypeError, match="'write-sync' takes an ActivityContext and can't run in ProcessPoolExecutor"),
    ):
        make(shop, activities=[the.write_sync], activity_executor=executor)


# --- tasks ---------------------------------------------------------------------------------------------


def test_a_worker_runs_the_applications_tasks_too(shop: Shop) -> None:
    async def call_tasks(handle: Any) -> None:
        note.apply_async(("from a task",), queue=handle.id)
        result = add.apply_async((1, 2), queue=handle.id)
        assert await asyncio.to_thread(result.get, PATIENCE) == 3
        await asyncio.to_thread(wait_until, lambda: "from a task" in shop.lines())

    assert run_activity(shop, the.write_async, "a", tasks=True, during=call_tasks) == "async hello a"
    assert sorted(shop.lines()) == ["a", "from a task"]


def test_a_stopping_worker_lets_its_tasks_end(shop: Shop) -> None:
    async def main() -> Any:
        client = await Client.connect(shop.settings["ptemporal.address"])
        queue = f"native-{uuid.uuid4().hex}"
        worker = Worker(
            client,
            shop.registry,
            task_queue=queue,
            tasks=True,
            graceful_shutdown_timeout=timedelta(seconds=PATIENCE),
        )
        running = asyncio.create_task(worker.run())
        waits_at.apply_async(("stopping",), queue=queue)
        await asyncio.to_thread(gates["stopping"].reached)
        stopping = asyncio.create_task(worker.shutdown())
        await asyncio.sleep(0)
        gates["stopping"].open()
        await stopping
        await running

    asyncio.run(main())
    assert shop.lines() == ["at stopping"]


def test_tasks_need_an_app_in_the_registry(shop: Shop) -> None:
    class Elsewhere:
        settings = shop.settings
        registry = Configurator(package="tests").registry

    with pytest.raises(ImproperlyConfigured, match="has no app; include this package"):
        make(Elsewhere, tasks=True)  # type: ignore[arg-type]


# --- plain activities in a unit of work ----------------------------------------------------------------


@BOTH_KINDS
def test_plain_activities_have_no_transaction_by_default(shop: Shop, kind: str) -> None:
    with pytest.raises(WorkflowFailureError) as failure:
        run_activity(shop, getattr(the, f"writes_plainly_{kind}"), "a")
    assert "'NoneType' object has no attribute 'dbsession'" in str(failure.value.cause.__cause__)


@BOTH_KINDS
def test_the_interceptor_gives_plain_activities_a_transaction(shop: Shop, kind: str) -> None:
    plain = getattr(the, f"writes_plainly_{kind}")
    interceptors = [TransactionInterceptor(shop.registry)]
    with pytest.raises(WorkflowFailureError):
        run_activity(shop, plain, "fail", interceptors=interceptors)
    assert shop.lines() == []
    run_activity(shop, plain, "a", interceptors=interceptors)
    assert shop.lines() == ["a"]


def test_the_interceptor_leaves_context_activities_and_tasks_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(registry: Any, fn: Any, **options: Any) -> Any:
        raise AssertionError(f"{fn} gets a second unit of work")

    monkeypatch.setattr(interceptor, "in_unit_of_work", refuse)

    async def call_task(handle: Any) -> None:
        await asyncio.to_thread(note.apply_async(("task",), queue=handle.id).get, PATIENCE)

    interceptors = [TransactionInterceptor(shop.registry)]
    run_activity(shop, the.write_async, "activity", tasks=True, during=call_task, interceptors=interceptors)
    assert sorted(shop.lines()) == ["activity", "task"]


def test_the_interceptor_may_name_its_activities(shop: Shop) -> None:
    interceptors = [TransactionInterceptor(shop.registry, names=["another"])]
    with pytest.raises(WorkflowFailureError):
        run_activity(shop, the.writes_plainly_async, "a", interceptors=interceptors)


# --- the sandbox ---------------------------------------------------------------------------------------


def test_modules_of_activities_pass_through_the_sandbox_unless_they_hold_a_workflow() -> None:
    found = passing_through(
        ["app.activities", "app.both", "app.package"], ["app.workflows", "app.both", "app.package.w"]
    )
    assert "app.activities" in found
    assert "pyramid_temporal_compat" in found
    assert not {"app.both", "app.package", "app.workflows"} & found


def test_a_workflow_may_import_models_and_tasks_and_no_task_is_registered_again(shop: Shop) -> None:
    before = {shared.task.name: shared.function for shared in shared_tasks()}
    result = run(shop, UsesModels, "a", activities=[the.write_async])
    assert result == ["lines", note.name, "async hello a"]
    assert {shared.task.name: shared.function for shared in shared_tasks()} == before


def test_a_runner_of_the_applications_own_is_kept(shop: Shop) -> None:
    runner = SandboxedWorkflowRunner()
    config = make(shop, activities=[the.plain], workflow_runner=runner).config()
    assert config["workflow_runner"] is runner
