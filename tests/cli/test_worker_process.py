"""A worker as a process: its signals, its user and group, and its number of processors."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyramid_temporal_compat.worker.pools import pool_choice
from tests.cli.project_parts import PATIENCE, Project, children
from tests.parts import wait_until


@pytest.fixture
def project(temporal_address: str, tmp_path: Path) -> Iterator[Project]:
    found = Project(temporal_address, tmp_path)
    yield found
    found.app.close()


def waits(project: Project) -> list[str]:
    return [line for line in project.told if line.startswith("waits ")]


def test_sighup_restarts_the_worker_once_its_tasks_have_ended(project: Project, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with project.worker("-c", 1) as worker:
        before = children(worker)
        result = project.tasks.waits_for.delay(str(go))
        wait_until(lambda: waits(project))
        worker.signal(signal.SIGHUP)
        worker.says("the worker restarts when the 1 running tasks have ended")
        go.touch()
        assert result.get(timeout=PATIENCE) in before
        wait_until(lambda: worker.said.count("ready.") == 2)
        assert project.tasks.add.delay(1, 1).get(timeout=PATIENCE) == 2
        assert not set(before) & set(children(worker))
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0


def test_with_remap_sigterm_the_first_sigterm_ends_the_worker_at_once(project: Project, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with project.worker("-c", 1, REMAP_SIGTERM="SIGQUIT") as worker:
        result = project.tasks.waits_for.delay(str(go))
        wait_until(lambda: waits(project))
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 1
        assert "SIGQUIT: ending at once" in worker.said
    go.touch()
    with project.worker("-c", 1):
        assert result.get(timeout=PATIENCE)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_uid_and_gid_are_those_of_the_processes_that_run_tasks(project: Project, tmp_path: Path) -> None:
    user = pwd.getpwnam("nobody")
    project.told_file.touch()
    project.told_file.chmod(0o666)
    for directory in (tmp_path, *tmp_path.parents[:-2]):  # all below /tmp
        directory.chmod(0o755)
    with project.worker("-c", 1, "--uid", "nobody") as worker:
        found = project.tasks.whereabouts.delay().get(timeout=PATIENCE)
        assert (found["uid"], found["gid"]) == (user.pw_uid, user.pw_gid)
        assert os.stat(f"/proc/{worker.process.pid}").st_uid == user.pw_uid
    with project.worker("-c", 1, "--gid", user.pw_gid):
        found = project.tasks.whereabouts.delay().get(timeout=PATIENCE)
        assert (found["uid"], found["gid"]) == (0, user.pw_gid)


@pytest.mark.parametrize(
    ("quota", "size"), [("150000 100000", 1), ("50000 100000", 1), ("900000 100000", 4), ("max 100000", 4), (None, 4)]
)
def test_concurrency_auto_is_what_the_container_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str | None, size: int
) -> None:
    file = tmp_path / "cpu.max"
    if quota:
        file.write_text(quota)
    monkeypatch.setattr(pool_choice, "PROCESSOR_QUOTA", file)
    monkeypatch.setattr(pool_choice, "_processors", lambda: 4)
    assert pool_choice.pool_size("auto", "prefork") == size
    assert pool_choice.pool_size(None, "prefork") == 4
