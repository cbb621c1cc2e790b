"""`ptemporal-compat worker` serves tasks, context activities, plain activities and workflows, in its own process."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest, SetWorkerDeploymentCurrentVersionRequest
from temporalio.service import RPCError

from pyramid_temporal_compat import Celery, Worker
from tests.cli.parts import WorkerProcess
from tests.native.domains.bookings.temporal_workflows import Book
from tests.native.parts import Desk
from tests.parts import wait_until

REFUND = "tests.native.domains.payments.tasks.refund"
PATIENCE = 30
PAYMENT = {"customer": "Ann", "amount": 3}


@pytest.fixture
def desk(temporal_address: str, tmp_path: Path) -> Desk:
    return Desk(temporal_address, tmp_path)


@pytest.fixture
def app(desk: Desk) -> Iterator[Celery]:
    made = Celery("asks", set_as_current=False, ptemporal_address=desk.address)
    yield made
    made.close()


def start(app: Celery, workflow: str, *args: Any, queue: str) -> str:
    this = f"{workflow}-{uuid.uuid4().hex[:8]}"
    app.temporal.call(
        lambda client: client.start_workflow(workflow, args=list(args), id=this, task_queue=queue), PATIENCE
    )
    return this


def result(app: Celery, workflow_id: str) -> Any:
    return app.temporal.call(lambda client: client.get_workflow_handle(workflow_id).result(), PATIENCE)


def make(registry: Any, client: Any) -> list[Worker]:
    """The factory of `--factory`."""
    queue = registry.settings["factory.queue"]
    return [Worker(client, registry, task_queue=f"{queue}-{number}", workflows=[Book]) for number in range(2)]


async def make_nothing(registry: Any, client: Any) -> list[Worker]:
    return []


def test_worker_of_one_domain_serves_only_that_domain(desk: Desk, app: Celery) -> None:
    with desk.serving("--domains", "payments") as worker:
        assert f"queues:      {desk.payments}\n" in worker.said
        assert "workflow Pay" in worker.said
        assert "Book" not in worker.said
        assert result(app, start(app, "Pay", PAYMENT, False, queue=desk.payments))["receipt"] == 30
        assert app.send_task(REFUND, [1], queue=desk.payments).get(timeout=PATIENCE) == "1 back: none"


def test_worker_with_named_queues_serves_no_other(desk: Desk) -> None:
    with desk.serving("-Q", desk.queue) as worker:
        assert f"queues:      {desk.queue}\n" in worker.said


def test_stopping_worker_waits_for_its_activities(desk: Desk, app: Celery, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with desk.serving() as worker:
        this = start(app, "WaitForFile", str(file), queue=desk.payments)
        wait_until(Path(f"{file}.began").exists)
        worker.signal(signal.SIGTERM)
        worker.says("ending when the 1 running")
        file.touch()
        assert worker.ends() == 0
    with desk.serving():
        assert result(app, this) == "found"
        assert attempts(app, this) == [1]


def test_activity_of_a_killed_worker_runs_again(desk: Desk, app: Celery, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with desk.serving() as worker:
        this = start(app, "WaitForFile", str(file), queue=desk.payments)
        wait_until(Path(f"{file}.began").exists)
        worker.process.kill()
        worker.ends()
    file.touch()
    with desk.serving():
        assert result(app, this) == "found"
        assert attempts(app, this) == [2]


def attempts(app: Celery, workflow_id: str) -> list[int]:
    history = app.temporal.call(lambda client: client.get_workflow_handle(workflow_id).fetch_history(), PATIENCE)
    started = (event.activity_task_started_event_attributes for event in history.events)
    return [each.attempt for each in started if each.scheduled_event_id]


def test_worker_without_an_ini_serves_domains(desk: Desk, app: Celery, tmp_path: Path) -> None:
    module = f"proj_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{module}.py").write_text(
        "from pyramid_temporal_compat import Celery\n"
        f"app = Celery('proj', ptemporal_address={desk.address!r}, task_default_queue={desk.queue!r},\n"
        "             ptemporal_domains='tests.native.domains.bookings')\n"
    )
    path = f"{tmp_path}:{desk.environ['PYTHONPATH']}"
    options = ("-A", module, "worker", "-P", "threads")
    environ = {**desk.environ, "PYTHONPATH": path}
    with WorkerProcess(None, *options, log=tmp_path / "log", environ=environ) as worker:
        worker.is_ready()
        assert "workflow bookings.Book" in worker.said
        assert result(app, start(app, "bookings.Book", 4, "Bo", queue=desk.queue)) == "room 4 for Bo"


def test_worker_takes_its_queue_and_limits_from_the_environment(desk: Desk, app: Celery) -> None:
    queue = f"env-{uuid.uuid4().hex[:8]}"
    environ = {
        "TEMPORAL_TASK_QUEUE": queue,
        "TEMPORAL_MAX_CONCURRENT_ACTIVITIES": "3",
        "TEMPORAL_MAX_CONCURRENT_WORKFLOWS": "4",
        "TEMPORAL_HOST": desk.address,
    }
    desk.ini.write_text(desk.ini.read_text().replace(desk.address, "localhost:1"))
    with desk.serving(environ=environ) as worker:
        assert queue in worker.said
        assert desk.address in worker.said
        assert result(app, start(app, "bookings.Book", 4, "Bo", queue=queue)) == "room 4 for Bo"


def test_worker_with_pollers_and_slots_of_its_own_choice(desk: Desk, app: Celery) -> None:
    desk.add("ptemporal.pollers = auto")
    desk.add("ptemporal.slots = resources")
    with desk.serving():
        assert result(app, start(app, "Pay", PAYMENT, False, queue=desk.payments))["receipt"] == 30
        assert result(app, start(app, "bookings.Book", 4, "Bo", queue=desk.queue)) == "room 4 for Bo"


def test_worker_of_a_deployment_serves_the_current_version(desk: Desk, app: Celery) -> None:
    name = f"desk-{uuid.uuid4().hex[:8]}"
    environ = {"TEMPORAL_DEPLOYMENT_NAME": name, "TEMPORAL_WORKER_BUILD_ID": "release-1"}
    desk.add("ptemporal.versioning = pinned")
    with desk.serving(environ=environ):
        wait_until(lambda: make_current(app, name, "release-1"))
        assert result(app, start(app, "Pay", PAYMENT, False, queue=desk.payments))["receipt"] == 30
        task = app.send_task(REFUND, [1], queue=desk.payments)
        assert task.get(timeout=PATIENCE) == "1 back: none"
        pinned = start(app, "Pay", PAYMENT, True, queue=desk.payments)
        wait_until(lambda: versioning(app, pinned) != (0, ""))
        assert versioning(app, pinned) == (1, "release-1")
        assert versioning(app, task.id) == (2, "release-1")
        app.temporal.call(lambda client: client.get_workflow_handle(pinned).terminate(), PATIENCE)


def make_current(app: Celery, name: str, build: str) -> bool:
    """Make a version current. Return False while the server does not know it yet."""

    async def question(client: Any) -> bool:
        service = client.workflow_service
        try:
            await service.describe_worker_deployment(
                DescribeWorkerDeploymentRequest(namespace="default", deployment_name=name)
            )
            await service.set_worker_deployment_current_version(
                SetWorkerDeploymentCurrentVersionRequest(namespace="default", deployment_name=name, build_id=build)
            )
        except RPCError:
            return False
        return True

    return app.temporal.call(question, PATIENCE)


def versioning(app: Celery, workflow_id: str) -> tuple[int, str]:
    """Return the behaviour of a workflow, 1 for pinned and 2 for auto-upgrade, and the build id that carried it."""
    found = app.temporal.call(lambda client: client.get_workflow_handle(workflow_id).describe(), PATIENCE)
    info = found.raw_description.workflow_execution_info.versioning_info
    return info.behavior, info.deployment_version.build_id


def test_deployment_without_a_build_id_is_refused(desk: Desk) -> None:
    desk.add("ptemporal.deployment = desk")
    with desk.worker() as worker:
        assert worker.ends() == 2
        assert "ptemporal.deployment = desk needs ptemporal.build_id beside it" in worker.said


def test_workers_of_a_factory_run_until_they_are_told_to_stop(desk: Desk, app: Celery) -> None:
    queue = f"factory-{uuid.uuid4().hex[:8]}"
    desk.add(f"factory.queue = {queue}")
    factory = WorkerProcess(
        desk.ini, "--factory", f"{__name__}:make", "-l", "info", log=desk.directory / "log", environ=desk.environ
    )
    with factory as worker:
        worker.says(f"serves {queue}-0, {queue}-1")
        assert result(app, start(app, "bookings.Book", 1, "Al", queue=f"{queue}-1")) == "room 1 for Al"
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--factory", f"{__name__}:make_nothing"], "returned []; it has to return a worker"),
        (["--factory", f"{__name__}:made"], f"'{__name__}:made' does not exist: the module '{__name__}' has no 'made'"),
        (["--factory", f"{__name__}:PATIENCE"], "names 30, which can't be called"),
        (["--factory", f"{__name__}:make", "-Q", "items"], "--queues: does not go with --factory"),
    ],
)
def test_factory_that_can_not_be_used_is_an_error(desk: Desk, options: list[str], told: str) -> None:
    with WorkerProcess(desk.ini, *options, log=desk.directory / "log", environ=desk.environ) as worker:
        assert worker.ends() == 2
        assert told in worker.said
