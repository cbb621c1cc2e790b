"""A worker with the pool `prefork`: dead children, the worker's end, and what children must not share."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyramid_temporal_compat.exceptions import WorkerLostError
from pyramid_temporal_compat.server import EmbeddedServer
from pyramid_temporal_compat.transactions.inherited_connections import leave_connections, sqlalchemy_engines
from tests.cli.project_parts import PATIENCE, Project, children
from tests.parts import pid_exists, wait_until


@pytest.fixture
def project(temporal_address: str, tmp_path: Path) -> Iterator[Project]:
    found = Project(temporal_address, tmp_path)
    yield found
    found.app.close()


def waiting_pids(project: Project) -> list[int]:
    return [int(line.split()[1]) for line in project.told if line.startswith("waits ")]


def test_a_task_runs_in_a_process_that_never_started_the_temporal_runtime(project: Project) -> None:
    with project.worker() as worker:
        found = project.tasks.whereabouts.delay().get(timeout=PATIENCE)
        assert found["pid"] != worker.process.pid
        assert found["pid"] in children(worker)
        assert found["threads"] == 1


def test_a_task_that_a_child_asks_for_is_started(project: Project) -> None:
    with project.worker():
        asked = project.tasks.calls_add.delay(21).get(timeout=PATIENCE)
        assert project.app.AsyncResult(asked).get(timeout=PATIENCE) == 42


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_if_a_child_dies_only_its_task_is_lost_and_runs_again(project: Project, tmp_path: Path, signum: int) -> None:
    go = tmp_path / "go"
    with project.worker() as worker:
        results = [project.tasks.waits_for.delay(str(go)) for _ in range(2)]
        first, second = wait_until(lambda: waiting_pids(project) if len(waiting_pids(project)) == 2 else [])
        os.kill(first, signum)
        again = wait_until(lambda: waiting_pids(project)[2:])
        go.touch()
        assert {result.get(timeout=PATIENCE) for result in results} == {second, *again}
        assert "Worker exited prematurely" in worker.said


@pytest.mark.parametrize("name", ["waits_at_most_once", "waits_and_fails_if_lost"])
def test_a_task_that_is_not_to_run_again_fails_with_worker_lost(project: Project, tmp_path: Path, name: str) -> None:
    with project.worker("-c", 1):
        result = getattr(project.tasks, name).delay(str(tmp_path / "go"))
        wait_until(lambda: waiting_pids(project))
        os.kill(waiting_pids(project)[0], signal.SIGKILL)
        with pytest.raises(WorkerLostError):
            result.get(timeout=PATIENCE)
        assert project.tasks.add.delay(1, 1).get(timeout=PATIENCE) == 2
    assert len(waiting_pids(project)) == 1


def test_a_worker_whose_zygote_died_ends_with_an_error(project: Project, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with project.worker() as worker:
        result = project.tasks.waits_for.delay(str(go))
        wait_until(lambda: waiting_pids(project))
        family = children(worker)
        (zygote,) = [pid for pid in family if parent_of(waiting_pids(project)[0]) == pid]
        os.kill(zygote, signal.SIGKILL)
        assert worker.ends() == 1, worker.said
        wait_until(lambda: not any(map(pid_exists, family)))
    go.touch()
    with project.worker():
        result.get(timeout=PATIENCE)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_that_stops_under_load_loses_no_task_and_runs_no_task_twice(
    project: Project, tmp_path: Path, pool: str
) -> None:
    marks = tmp_path / "marks"
    results = [project.tasks.marks.delay(str(marks), str(n)) for n in range(40)]
    with project.worker("-P", pool) as worker:
        wait_until(lambda: marks.exists() and len(marks.read_text().splitlines()) > 3)
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        assert "Traceback" not in worker.said
        assert len(marks.read_text().splitlines()) < 40
    with project.worker("-P", pool):
        for result in results:
            result.get(timeout=PATIENCE)
    assert Counter(marks.read_text().split()) == Counter(str(n) for n in range(40))


@pytest.mark.integration
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_whose_server_is_away_ends_when_told(tmp_path: Path, pool: str) -> None:
    with EmbeddedServer(headless=True) as server:
        project = Project(server.address, tmp_path)
        with project.worker("-P", pool) as worker:
            assert project.tasks.add.delay(1, 1).get(timeout=PATIENCE) == 2
            project.app.close()
            server.kill()
            family = children(worker)
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0
            assert "does not answer; ending without it" in worker.said
            assert not any(map(pid_exists, family))


def test_a_child_leaves_the_connections_that_it_inherited(database_url: str) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(database_url)
    in_memory = create_engine("sqlite://")
    assert engine in sqlalchemy_engines()
    inherited = (engine.pool, in_memory.pool)
    with engine.connect() as connection:
        backend = connection.scalar(text("select pg_backend_pid()"))
        leave_connections(engine)
        assert connection.scalar(text("select pg_backend_pid()")) == backend  # the connection still works
        with engine.connect() as another:
            assert another.scalar(text("select pg_backend_pid()")) != backend
    with in_memory.connect() as connection:
        connection.execute(text("create table kept (id int)"))
    leave_connections(in_memory)
    with in_memory.connect() as connection:
        assert connection.scalar(text("select count(*) from kept")) == 0
    for pool in (*inherited, engine.pool, in_memory.pool):
        pool.dispose()
