"""A worker that starts while the server is away."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.server import EmbeddedServer
from pyramid_temporal_compat.worker.first_connection import tries_at_start
from tests.cli.project_parts import PATIENCE, Project, children
from tests.client.client_parts import closed_port, silent_server
from tests.parts import pid_exists, wait_until


@pytest.mark.integration
def test_a_worker_retries_until_the_server_comes(tmp_path: Path) -> None:
    port = closed_port()
    project = Project(f"127.0.0.1:{port}", tmp_path)
    with project.worker(ready="Trying again in 2 seconds... (1/100)") as worker:
        assert "connection refused" in worker.said
        with EmbeddedServer(port=port, headless=True):
            worker.says("ready.")
            assert project.tasks.add.delay(1, 1).get(timeout=PATIENCE) == 2
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0
            project.app.close()


@pytest.mark.integration
def test_a_worker_says_once_that_the_server_is_lost_and_once_that_it_is_back(tmp_path: Path) -> None:
    with EmbeddedServer(headless=True, database=tmp_path / "temporal.db") as server:
        project = Project(server.address, tmp_path)
        with project.worker("-l", "warning", ready="[tasks]") as worker:
            revoked = project.tasks.takes.delay(60)
            wait_until(lambda: revoked.state == "STARTED")
            revoked.revoke(terminate=True)
            worker.says("is terminated")
            server.kill()
            worker.says(f"lost the server at {server.address}: ")
            worker.says("gRPC call ")  # which the client library has repeated a few times by now
            server.start()
            worker.says(f"the server at {server.address} answers again, after ")
            assert project.tasks.add.delay(1, 1).get(timeout=PATIENCE) == 2
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0
            project.app.close()
    assert worker.said.count("lost the server") == worker.said.count("answers again, after") == 1
    assert "\x1b" not in worker.said
    assert "oken" not in worker.said
    own_lines = [line for line in worker.said.splitlines() if line.startswith("[") and "MainProcess]" in line]
    assert len(own_lines) < 10, worker.said
    assert all(line in own_lines for line in worker.said.splitlines() if "gRPC" in line)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_can_be_ended_before_the_server_comes(tmp_path: Path, pool: str) -> None:
    project = Project(f"127.0.0.1:{closed_port()}", tmp_path)
    with project.worker("-P", pool, ready="Trying again") as worker:
        family = children(worker)
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        assert "Traceback" not in worker.said
        wait_until(lambda: not any(map(pid_exists, family)))


def test_a_worker_can_be_ended_while_a_server_does_not_answer(tmp_path: Path) -> None:
    with silent_server() as address:
        project = Project(address, tmp_path)
        with project.worker("-P", "threads", ready="") as worker:
            wait_until(lambda: catches(worker.process.pid, signal.SIGTERM))
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0
            assert "Traceback" not in worker.said


def catches(pid: int, signum: int) -> bool:
    (caught,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    return bool(int(caught.split()[1], 16) & 1 << signum - 1)


def test_a_worker_gives_up_after_its_last_retry(tmp_path: Path) -> None:
    project = Project(f"127.0.0.1:{closed_port()}", tmp_path)
    with project.worker("-P", "solo", "broker.connection_max_retries=1", ready="(1/1)") as worker:
        assert worker.ends() == 1
        assert worker.said.count("can't be reached") == 2


@pytest.mark.parametrize(
    ("settings", "tries"),
    [
        ({}, 100),
        ({"broker_connection_max_retries": 3}, 3),
        ({"broker_connection_max_retries": 0}, None),
        ({"broker_connection_max_retries": None}, None),
        ({"broker_connection_retry": False}, 0),
        ({"broker_connection_retry": False, "broker_connection_retry_on_startup": True}, 100),
        ({"broker_connection_retry_on_startup": False}, 0),
    ],
)
def test_celerys_settings_say_how_often_a_worker_retries(settings: dict[str, object], tries: int | None) -> None:
    assert tries_at_start(Celery("shop", set_as_current=False, changes=settings)) == tries
