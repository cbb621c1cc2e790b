"""Celery's options of the command `worker`."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pyramid_temporal_compat.cli.find_app import find_app, named_app
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, TimeLimitExceeded
from tests.cli.parts import WorkerProcess, run_worker
from tests.cli.project_parts import PATIENCE, Project, children
from tests.parts import wait_until


@pytest.mark.parametrize(
    "name",
    ["tests.cli.project", "tests.cli.project.celery", "tests.cli.project.celery:app", "tests.cli.project.celery.app"],
)
def test_an_app_is_found_by_celerys_rules(name: str) -> None:
    assert find_app(name).main == "project"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tests.cli.projects", "no module 'tests.cli.projects'"),
        ("tests.cli.project.celery:ap", "has no 'ap'"),
        ("tests.cli.parts", "there is no app in tests.cli.parts"),
        ("tests.cli.project.celery:log", "no app of this package"),
    ],
)
def test_an_unknown_app_is_an_error_of_one_line(name: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # This process may have imported the real Celery for other tests. This test does not depend on it.
    monkeypatch.setattr("pyramid_temporal_compat.install_as_celery", lambda: None)
    with pytest.raises(ImproperlyConfigured, match=why):
        named_app(name)


def test_an_app_without_pyramid_runs_its_tasks_and_those_it_includes(project: Project) -> None:
    with project.worker("-n", "w1@%h") as worker:
        assert project.tasks.add.delay(1, 2).get(timeout=PATIENCE) == 3
        assert project.app.send_task("tests.cli.project.more.double", (4,)).get(timeout=PATIENCE) == 8
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        assert "Traceback" not in worker.said


def test_options_without_effect_say_what_to_use(project: Project) -> None:
    options = ("--without-gossip", "--without-mingle", "-E", "-O", "fair", "--prefetch-multiplier", 1, "-S", "x.db")
    words = ("broker_pool_limit=3", "redis_host=x", "redis_port=1")
    with project.worker(*options, "--heartbeat-interval", 5, "--pool-start-method", "spawn", *words) as worker:
        assert "[settings without effect]\n  . broker_pool_limit: A process has one connection" in worker.said
        assert "\n  . redis_host, redis_port: Temporal keeps the results" in worker.said
        for name in (
            "without-gossip",
            "without-mingle",
            "task-events",
            "optimization",
            "prefetch-multiplier",
            "statedb",
            "heartbeat-interval",
            "pool-start-method",
        ):
            assert f"--{name}: " in worker.said, name


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-D"], "--detach is refused"),
        (["-P", "gevent"], "pool 'gevent' is refused"),
        (["-P", "eventlet"], "pool 'eventlet' is refused"),
        (["--uid", "nobody-of-that-name"], "there is no such user"),
        (["--umask", "9"], "is no mask"),
        (["nosuch=1"], "there is no setting worker_nosuch"),
    ],
)
def test_a_refused_option_is_an_error_of_one_line(options: list[str], why: str) -> None:
    done = run_worker("-A", "tests.cli.project", *options)
    assert done.returncode == 2
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_queues_are_chosen_and_left_out(project: Project) -> None:
    mine = f"{project.queue}-mine"
    with project.worker("-Q", f"{mine},other", "-X", "other") as worker:
        assert f"queues:      {mine}\n" in worker.said
        assert project.tasks.add.apply_async((1, 1), queue=mine).get(timeout=PATIENCE) == 2


def test_log_file_and_pid_file(project: Project, tmp_path: Path) -> None:
    pidfile, logfile = tmp_path / "%n.pid", tmp_path / "%n.log"
    options = ("-n", "w2@x", "--pidfile", pidfile, "-f", logfile)
    with project.worker(*options, ready="queues:") as worker:
        worker.says("[tasks]")
        assert (tmp_path / "w2.pid").read_text() == f"{worker.process.pid}\n"
        assert project.tasks.add.delay(2, 2).get(timeout=PATIENCE) == 4
        again = run_worker("-A", "tests.cli.project", "-n", "w2@x", "--pidfile", pidfile)
        assert again.returncode == 2
        assert f"process {worker.process.pid} holds it" in again.stderr
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
    assert not (tmp_path / "w2.pid").exists()
    assert "Task tests.cli.project.celery.add" in (tmp_path / "w2.log").read_text()


def test_time_limits_of_the_worker_count_for_tasks_without(project: Project) -> None:
    with project.worker("--time-limit", 1):
        with pytest.raises(TimeLimitExceeded):
            project.tasks.takes.delay(60).get(timeout=PATIENCE)
        assert project.tasks.add.delay(1, 2).get(timeout=PATIENCE) == 3


def test_max_tasks_per_child_replaces_children(project: Project) -> None:
    with project.worker("-c", 1, "--max-tasks-per-child", 1):
        pids = {project.tasks.whereabouts.delay().get(timeout=PATIENCE)["pid"] for _ in range(3)}
    assert len(pids) == 3


def test_max_memory_per_child_replaces_a_child_that_grew(project: Project) -> None:
    with project.worker("-c", 1, "--max-memory-per-child", 300_000) as worker:
        grown = project.tasks.grows.delay(400).get(timeout=PATIENCE)
        worker.says("exceeds its memory limit")
        assert project.tasks.whereabouts.delay().get(timeout=PATIENCE)["pid"] != grown


def test_autoscale_grows_under_a_backlog_and_shrinks_when_idle(project: Project, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with project.worker("--autoscale", "3,1", AUTOSCALE_KEEPALIVE="1") as worker:
        assert "{min=1, max=3}" in worker.said
        before = len(children(worker))
        waiting = [project.tasks.waits_for.delay(str(go)) for _ in range(3)]
        wait_until(lambda: len([line for line in project.told if line.startswith("waits")]) == 3)
        assert len(children(worker)) == before + 2
        go.touch()
        assert len({result.get(timeout=PATIENCE) for result in waiting}) == 3
        wait_until(lambda: len(children(worker)) == before)
        (reply,) = project.app.control.autoscale(4, 2, reply=True, destination=[nodename(worker)], timeout=PATIENCE)
        assert list(reply.values()) == [{"ok": "autoscale now max=4 min=2"}]
        wait_until(lambda: len(children(worker)) == before + 1)


def nodename(worker: WorkerProcess) -> str:
    (line,) = [line for line in worker.said.splitlines() if " - pyramid-temporal-compat " in line]
    return line.partition(" ")[0]


def test_purge_ends_waiting_tasks(project: Project) -> None:
    waiting = [project.tasks.add.delay(n, n) for n in range(3)]

    def listed() -> bool:
        return all(result.state == "PENDING" for result in waiting) and len(waiting_tasks(project)) == 3

    wait_until(listed)
    with project.worker("--purge") as worker:
        worker.says("purge: Erased 3 messages")
        assert project.tasks.add.delay(1, 2).get(timeout=PATIENCE) == 3
    assert {result.state for result in waiting} == {"REVOKED"}


def waiting_tasks(project: Project) -> list[str]:
    async def ask(client: object) -> list[str]:
        query = f"TaskQueue = '{project.queue}' AND ExecutionStatus = 'Running'"
        return [run.id async for run in client.list_workflows(query)]  # type: ignore[attr-defined]

    found: list[str] = project.app.temporal.call(ask, 20)
    return found


def test_settings_can_be_given_as_words(project: Project) -> None:
    with project.worker("-c", 1, "max_tasks_per_child=1"):
        pids = {project.tasks.whereabouts.delay().get(timeout=PATIENCE)["pid"] for _ in range(2)}
    assert len(pids) == 2


def test_an_app_starts_its_own_worker(project: Project) -> None:
    with pytest.raises(ValueError, match="lacks the command 'worker'"):
        project.app.worker_main(["-l", "info"])
    with pytest.raises(ImproperlyConfigured, match="nearest is 'concurrency'"):
        project.app.Worker(concurency=2)
