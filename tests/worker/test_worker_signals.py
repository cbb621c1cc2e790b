"""The worker's signals: when they are sent, and with which arguments."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.project_parts import PATIENCE, Project
from tests.parts import wait_until


@pytest.fixture
def project(temporal_address: str, tmp_path: Path) -> Iterator[Project]:
    found = Project(temporal_address, tmp_path)
    yield found
    found.app.close()


def names(project: Project) -> list[str]:
    return [line.partition("(")[0] for line in project.told]


def test_a_workers_life_in_signals(project: Project) -> None:
    with project.worker("-c", 1) as worker:
        assert project.tasks.add.delay(1, 2).get(timeout=PATIENCE) == 3
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
    told = [line for line in project.told if not line.startswith("heartbeat_sent")]
    assert told == [
        "celeryd_init(conf,instance,options) str",
        "import_modules() Celery",
        "worker_init() Program",
        "after_setup_logger(colorize,format,logfile,logger,loglevel) NoneType",
        "after_setup_task_logger(colorize,format,logfile,logger,loglevel) NoneType",
        "celeryd_after_setup(conf,instance) str",
        "worker_before_create_process() ProcessHooks",
        "worker_process_init() NoneType",
        "worker_ready() Consumer",
        f"task_received(request) Consumer tests.cli.project.celery.add [1, 2] {project.queue}",
        "worker_shutting_down(exitcode,how,sig) str SIGTERM Warm 0",
        "worker_process_shutdown(exitcode,pid) NoneType",
        "worker_shutdown() Program",
    ]


def test_heartbeat_sent_is_sent_while_the_server_answers(project: Project) -> None:
    with project.worker():
        wait_until(lambda: names(project).count("heartbeat_sent") >= 2)


def test_receivers_that_raise_do_no_harm(project: Project) -> None:
    with project.worker("-c", 1, PROJECT_RECEIVERS_RAISE="1") as worker:
        assert project.tasks.add.delay(1, 2).get(timeout=PATIENCE) == 3
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        assert "receiver of worker_process_init" in worker.said
    assert "worker_shutdown" in names(project)


def test_task_revoked_is_sent_for_a_running_task_that_is_terminated(project: Project, tmp_path: Path) -> None:
    with project.worker():
        result = project.tasks.waits_for.delay(str(tmp_path / "never"))
        wait_until(lambda: "waits" in " ".join(project.told))
        project.app.control.revoke(result.id, terminate=True)
        line = wait_until(lambda: next((line for line in project.told if line.startswith("task_revoked")), None))
    assert line is not None
    assert line.startswith(
        "task_revoked(expired,request,signum,terminated) waits_for tests.cli.project.celery.waits_for"
    )


def test_task_unknown_is_sent_for_a_task_that_no_worker_knows(project: Project) -> None:
    unknown = project.app.send_task("tests.cli.project.nobody", queue=project.queue)
    with project.worker():
        wait_until(lambda: "task_unknown" in names(project))
    assert "task_unknown(exc,id,message,name) Consumer" in project.told
    unknown.revoke(terminate=True)


def test_log_lines_are_celerys(project: Project) -> None:
    with project.worker("-c", 1) as worker:
        added = project.tasks.add.delay(1, 2)
        assert added.get(timeout=PATIENCE) == 3
        failed = project.tasks.fails.delay()
        failed.get(timeout=PATIENCE, propagate=False)
        project.tasks.prints.delay("hello there").get(timeout=PATIENCE)
        task = f"tests.cli.project.celery.add[{added.id}]"
        for line in (
            f"INFO/MainProcess] Task {task} received",
            f"INFO/ForkPoolWorker-1] {task}: adding 1 and 2",
            f"INFO/ForkPoolWorker-1] Task {task} succeeded in ",
            f"ERROR/ForkPoolWorker-1] Task tests.cli.project.celery.fails[{failed.id}] raised unexpected: "
            "ValueError('out of cheese')",
            "WARNING/ForkPoolWorker-1] hello there",
        ):
            worker.says(line)


def test_output_of_tasks_is_not_redirected_if_the_option_says_so(project: Project) -> None:
    with project.worker("-c", 1, "redirect_stdouts=false") as worker:
        project.tasks.prints.delay("hello there").get(timeout=PATIENCE)
        worker.says("\nhello there\n")
