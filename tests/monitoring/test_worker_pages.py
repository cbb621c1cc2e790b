"""Probes and metrics of real processes: a worker, an exporter beside it, and the command `health`."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyramid_temporal_compat.monitoring.sdk_metrics import free_port
from tests.cli.parts import SCRIPT, environment
from tests.cli.project_parts import PATIENCE, PROJECT, Project
from tests.parts import wait_until


@pytest.fixture
def project(temporal_address: str, tmp_path: Path) -> Iterator[Project]:
    found = Project(temporal_address, tmp_path)
    yield found
    found.app.close()


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except urllib.error.URLError:
        return 0, ""


def value(port: int, metric: str, /, **labels: str) -> float | None:
    """Return the value of a metric that has these labels, among others."""
    for line in get(port, "/metrics")[1].splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found is None or found[1] != metric:
            continue
        if all(f'{key}="{text}"' in (found[2] or "") for key, text in labels.items()):
            return float(found[3])
    return None


def health(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SCRIPT, "health", *map(str, options)], env=environment(), capture_output=True, text=True, timeout=60
    )


@contextmanager
def exporter(project: Project, port: int, log: Path) -> Iterator[None]:
    command = [*SCRIPT, *PROJECT, "exporter", "--port", f"127.0.0.1:{port}", "--interval", "1"]
    with log.open("w") as said:
        process = subprocess.Popen(
            command, env={**environment(), **project.environ}, stdout=said, stderr=subprocess.STDOUT
        )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def test_a_workers_life_in_probes_and_metrics(project: Project, tmp_path: Path) -> None:
    port, of_all = free_port(), free_port()
    ini = tmp_path / "app.ini"
    ini.write_text(f"[app:main]\nptemporal.health_port = 127.0.0.1:{port}\n")
    assert health(ini).returncode == 2  # nobody answers
    settings = ("ptemporal.log_format=json", "ptemporal.memory_limit=100000000")
    pages = ("--health-port", port, "--metrics-port", port, *settings)
    with project.worker(*pages) as worker, exporter(project, of_all, tmp_path / "exporter-log"):
        wait_until(lambda: get(port, "/ready")[0] == 200)
        found = health(ini)
        assert (found.returncode, found.stdout.splitlines()[0]) == (0, "ok"), found
        assert re.search(r"^memory \d{5,} KiB of 100000000 KiB$", found.stdout, re.MULTILINE), found.stdout
        node = f"celery@{socket.gethostname()}"
        wait_until(lambda: value(of_all, "celery_worker_up", hostname=node) == 1.0)
        result = project.tasks.add.delay(1, 2)
        assert result.get(timeout=PATIENCE) == 3
        project.tasks.fails.delay().get(timeout=PATIENCE, propagate=False)

        def counted(what: str, task: str, **more: str) -> Any:
            return value(port, f"celery_task_{what}_total", name=f"tests.cli.project.celery.{task}", **more)

        wait_until(lambda: counted("failed", "fails", exception="ValueError") == 1.0)
        assert counted("succeeded", "add", queue_name=project.queue, hostname=node) == 1.0
        assert counted("received", "add") == counted("started", "add") == 1.0
        assert value(port, "ptemporal_dispatch_seconds_count") == 0.0
        called = project.tasks.calls_add.delay(1).get(timeout=PATIENCE)
        assert project.app.AsyncResult(called).get(timeout=PATIENCE) == 2
        assert value(port, "ptemporal_dispatch_seconds_count") == 1.0  # of a call that a child process has sent
        wait_until(lambda: value(port, "celery_worker_tasks_active") == 0.0)
        assert value(port, "temporal_workflow_completed_total", task_queue=project.queue)  # the client library's own
        wait_until(lambda: value(of_all, "celery_active_process_count", queue_name=project.queue) == 2.0)
        wait_until(lambda: value(of_all, "celery_queue_length", queue_name=project.queue) == 0.0)
        line = next(line for line in worker.said.splitlines() if "succeeded in" in line)
        assert f'"workflow_id": "{result.id}"' in line
        assert '"task_name": "tests.cli.project.celery.add"' in line

        waits = project.tasks.waits_for.delay(str(tmp_path / "go"))
        wait_until(lambda: value(port, "celery_worker_tasks_active") == 1.0)
        worker.signal(signal.SIGTERM)
        wait_until(lambda: get(port, "/ready")[0] == 503)
        assert "stopping; 1 tasks still run" in get(port, "/ready")[1]
        assert get(port, "/live")[0] == 200
        assert health("--port", port).returncode == 1
        assert health("--port", port, "--live").returncode == 0
        (tmp_path / "go").touch()
        assert waits.get(timeout=PATIENCE)
        assert worker.ends() == 0
        assert get(port, "/live")[0] == 0
        wait_until(lambda: value(of_all, "celery_worker_up", hostname=node) == 0.0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "name the ini file whose ptemporal.health_port the worker uses, or --port PORT"),
        (("nowhere.ini",), "the ini file 'nowhere.ini' can't be read"),
        (("--port", "eighty"), "'eighty' is not a port"),
    ],
)
def test_health_says_what_it_needs(options: tuple[str, ...], text: str) -> None:
    found = health(*options)
    assert found.returncode == 2
    assert text in found.stderr
