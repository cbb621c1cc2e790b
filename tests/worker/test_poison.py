"""A task that always loses its worker fails in the end. A task that workers give back in order does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyramid_temporal_compat.exceptions import TimeLimitExceeded, WorkerLostError
from tests.cli.project_parts import PATIENCE, Project
from tests.parts import wait_until


@pytest.fixture
def project(temporal_address: str, tmp_path: Path) -> Iterator[Project]:
    found = Project(temporal_address, tmp_path)
    yield found
    found.app.close()


def test_a_task_that_kills_its_process_each_time_fails_with_worker_lost(project: Project) -> None:
    with project.worker("-c", 1, "ptemporal.lost_worker_attempts=2") as worker:
        result = project.tasks.dies.delay()
        with pytest.raises(WorkerLostError, match=r"has lost its worker 2 times.*ptemporal\.lost_worker_attempts"):
            result.get(timeout=PATIENCE)
        assert len([line for line in project.told if line.startswith("dies ")]) == 2
        assert "has lost its worker 2 times: it is not run again" in worker.said
        assert project.tasks.add.delay(1, 1).get(timeout=PATIENCE) == 2


def test_a_task_whose_whole_worker_dies_each_time_is_not_begun_again(project: Project, tmp_path: Path) -> None:
    options = ("-c", 1, "-P", "threads", "ptemporal.lost_worker_attempts=1")
    with project.worker(*options) as worker:
        result = project.tasks.waits_for.delay(str(tmp_path / "go"))
        wait_until(lambda: any(line.startswith("waits ") for line in project.told))
        os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait(10)
    with project.worker(*options), pytest.raises(WorkerLostError, match="has lost its worker 1 times"):
        result.get(timeout=PATIENCE)
    assert len([line for line in project.told if line.startswith("waits ")]) == 1


def test_a_task_that_ending_workers_give_back_has_lost_no_worker(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project.app.conf, "ptemporal_heartbeat_timeout", 60)  # on a starved machine, 2 s may pass
    go = tmp_path / "go"
    options = ("-c", 1, "ptemporal.lost_worker_attempts=1")
    for begun in (1, 2):
        with project.worker(*options) as worker:
            if begun == 1:
                result = project.tasks.waits_for.delay(str(go))
            wait_until(
                lambda begun=begun: len([line for line in project.told if line.startswith("waits ")]) == begun, PATIENCE
            )
            worker.signal(signal.SIGQUIT)
            worker.ends()
    go.touch()
    with project.worker(*options):
        assert result.get(timeout=PATIENCE)


def test_a_task_that_gives_itself_back_has_lost_no_worker(project: Project) -> None:
    with project.worker("-c", 1, "-P", "threads", "ptemporal.lost_worker_attempts=2"):
        assert project.tasks.gives_itself_back.delay(5).get(timeout=PATIENCE) == 6


def test_retries_and_lost_workers_are_counted_apart(project: Project) -> None:
    with project.worker("-c", 1, "ptemporal.lost_worker_attempts=3"):
        result = project.tasks.dies_between_retries.delay()
        assert result.get(timeout=PATIENCE) == [0, 1, 1, 1, 2]
        assert result.retries == 2


def test_retry_on_worker_lost_retries_as_often_as_the_task_may(project: Project) -> None:
    with project.worker("-c", 1):
        with pytest.raises(WorkerLostError):
            project.tasks.dies_and_is_retried.delay().get(timeout=PATIENCE)
        assert len([line for line in project.told if line.startswith("dies ")]) == 2


def test_a_task_that_is_not_acknowledged_at_its_time_limit_runs_again(project: Project) -> None:
    with project.worker("-c", 1):
        assert project.tasks.is_late_once.delay().get(timeout=PATIENCE) == "in time"


@pytest.mark.parametrize("how", ["late", "busy"])
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_on_failure_is_called_for_a_task_that_was_stopped_at_its_time_limit(
    project: Project, pool: str, how: str
) -> None:
    with project.worker("-c", 1, "-P", pool):
        result = project.tasks.is_late.delay(how)
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=PATIENCE)
    assert [line for line in project.told if "on_failure" in line or "after_return" in line] == [
        f"on_failure TimeLimitExceeded {result.id} ({how!r},) True"
    ]


def test_on_failure_is_called_for_a_task_that_lost_its_process(project: Project) -> None:
    with project.worker("-c", 1):
        result = project.tasks.is_killed.delay("killed")
        with pytest.raises(WorkerLostError):
            result.get(timeout=PATIENCE)
    assert f"on_failure WorkerLostError {result.id} ('killed',) True" in project.told
