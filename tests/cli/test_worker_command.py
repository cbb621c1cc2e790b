"""`ptemporal-compat worker`: its banner, its queues, its logging and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from pyramid_temporal_compat import __version__
from pyramid_temporal_compat.exceptions import WorkerLostError
from pyramid_temporal_compat.server import EmbeddedServer
from tests.cli.parts import WorkerProcess, write_ini
from tests.parts import wait_until
from tests.worker.shop import (
    Shop,
    WorkerThread,
    add,
    events,
    waits_for_file,
    waits_for_file_at_most_once,
)

PATIENCE = 30


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return two paths: a task writes the first when it begins, and ends when the second exists."""
    return tmp_path / "started", tmp_path / "go"


def began(started: Path) -> int:
    return len(started.read_text()) if started.exists() else 0


def test_banner_shows_queues_and_tasks(shop: Shop, ini: Path, tmp_path: Path) -> None:
    queue = f"{shop.queue}-banner"
    with WorkerProcess(
        ini, "-Q", f"{queue},other", "-c", 1, "-n", "w1@%h", "-l", "info", log=tmp_path / "log"
    ) as worker:
        worker.is_ready()
        for line in (
            f"w1@{socket.gethostname()} - pyramid-temporal-compat {__version__}",
            f"{shop.settings['ptemporal.address']} (namespace default)",
            "1 (prefork)",
            f"{queue}, other",
            str(worker.process.pid),
            "  . tests.worker.shop.add\n",
        ):
            assert line in worker.said
        worker.says("ready.")
        result = add.apply_async((1, 2), queue=queue)
        assert result.get(timeout=PATIENCE) == 3
        worker.says(f"Task tests.worker.shop.add[{result.id}] succeeded")
        started = [
            event for event in events(shop, result.id) if event.HasField("activity_task_started_event_attributes")
        ]
        assert started[0].activity_task_started_event_attributes.identity == f"w1@{socket.gethostname()}"
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        assert "Traceback" not in worker.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_takes_no_new_task_and_ends_after_the_running_one(
    shop: Shop, ini: Path, tmp_path: Path, files: tuple[Path, Path], number: int
) -> None:
    started, go = files
    queue = f"{shop.queue}-stop-{number}"
    with WorkerProcess(ini, "-Q", queue, "-c", 2, log=tmp_path / "log") as worker:
        running = with_heartbeat_timeout(shop, 60, waits_for_file, (str(started), str(go)), queue)
        wait_until(lambda: began(started))
        worker.signal(number)
        worker.says("no new tasks; ending when the 1 running tasks have")
        waiting = add.apply_async((1, 1), queue=queue)
        go.touch()
        assert worker.ends() == 0
        assert "Traceback" not in worker.said
    assert running.get(timeout=PATIENCE) not in (os.getpid(), worker.process.pid)  # a child of the worker's
    assert waiting.state == "PENDING"
    assert shop.lines() == ["waited"]
    assert began(started) == 1
    waiting.revoke(terminate=True)


def test_after_the_graceful_timeout_the_task_is_given_back_and_runs_elsewhere(
    shop: Shop, ini: Path, tmp_path: Path, files: tuple[Path, Path]
) -> None:
    started, go = files
    queue = f"{shop.queue}-graceful"
    with WorkerProcess(ini, "-Q", queue, "--graceful-timeout", 0.3, log=tmp_path / "log") as worker:
        # The server would notice a lost worker after two minutes. A task that runs again earlier was given back.
        running = with_heartbeat_timeout(shop, 120, waits_for_file, (str(started), str(go)), queue)
        wait_until(lambda: began(started))
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        assert "is stopped with this worker and runs again" in worker.said
        assert "Traceback" not in worker.said
    with WorkerThread(shop.app, queue):
        wait_until(lambda: began(started) == 2)
        go.touch()
        assert running.get(timeout=PATIENCE) == os.getpid()
    assert shop.lines() == ["waited"]
    assert running.retries == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_worker_at_once_and_the_task_runs_again_soon(
    shop: Shop, tmp_path: Path, files: tuple[Path, Path], number: int
) -> None:
    started, go = files
    queue = f"{shop.queue}-twice-{number}"
    ini = write_ini(
        tmp_path / "patient.ini",
        {
            "sqlalchemy.url": shop.settings["sqlalchemy.url"],
            "ptemporal.address": shop.settings["ptemporal.address"],
            "ptemporal.include": "tests.worker.shop",
        },
    )
    with WorkerProcess(ini, "-Q", queue, log=tmp_path / "log") as worker:
        # The server would notice a lost worker after two minutes. A task that runs again earlier was given back.
        running = with_heartbeat_timeout(shop, 120, waits_for_file, (str(started), str(go)), queue)
        once = with_heartbeat_timeout(shop, 120, waits_for_file_at_most_once, (str(started), str(go)), queue)
        wait_until(lambda: began(started) == 2)
        worker.signal(number)
        worker.says("no new tasks")
        worker.signal(number)
        worker.says("again: ending at once")
        assert worker.ends() != -signal.SIGKILL
        assert "Traceback" not in worker.said
    with pytest.raises(WorkerLostError):
        once.get(timeout=PATIENCE)
    with WorkerThread(shop.app, queue):
        wait_until(lambda: began(started) == 3)
        go.touch()
        assert running.get(timeout=PATIENCE) == os.getpid()
    assert shop.lines() == ["waited"]


def with_heartbeat_timeout(shop: Shop, seconds: float, task: Any, args: tuple[Any, ...], queue: str) -> Any:
    """Start a task that the server takes for lost after so many seconds without a heartbeat.

    The shop's own 2 seconds suit tests that kill a worker. On a busy machine, a worker that lives may be late by as
    much. Its task then runs a second time, and both runs commit.
    """
    before = shop.app.conf.ptemporal_heartbeat_timeout
    shop.app.conf["ptemporal_heartbeat_timeout"] = seconds
    try:
        return task.apply_async(args, queue=queue)
    finally:
        shop.app.conf["ptemporal_heartbeat_timeout"] = before


def test_tasks_of_a_killed_worker_run_again_and_at_most_once_ones_fail(
    shop: Shop, ini: Path, tmp_path: Path, files: tuple[Path, Path]
) -> None:
    started, go = files
    queue = f"{shop.queue}-killed"
    with WorkerProcess(ini, "-Q", queue, "-c", 2, log=tmp_path / "log") as worker:
        durable = waits_for_file.apply_async((str(started), str(go)), queue=queue)
        once = waits_for_file_at_most_once.apply_async((str(started), str(go)), queue=queue)
        wait_until(lambda: began(started) == 2)
        worker.signal(signal.SIGKILL)
        worker.ends()
    with WorkerThread(shop.app, queue):
        wait_until(lambda: began(started) == 3)
        go.touch()
        assert durable.get(timeout=PATIENCE) == os.getpid()
        with pytest.raises(WorkerLostError, match=r"waits_for_file_at_most_once.*was lost"):
            once.get(timeout=PATIENCE)
    assert once.state == "FAILURE"
    assert began(started) == 3
    assert shop.lines() == ["waited"]


def test_a_worker_continues_after_the_server_was_away(shop: Shop, tmp_path: Path, files: tuple[Path, Path]) -> None:
    # A server deletes nothing before its queues have saved their progress, by default every half a minute.
    often = [
        word
        for queue in ("transfer", "visibility")
        for word in ("--dynamic-config-value", f'history.{queue}ProcessorUpdateAckInterval="1s"')
    ]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(headless=True, database=tmp_path / "temporal.db", extra_args=often))
        away = stack.enter_context(contextlib.closing(Shop(server.address, shop.settings["sqlalchemy.url"])))
        settings = {key: value for key, value in away.settings.items() if not key.startswith(("pyramid.", "tm."))}
        ini = write_ini(tmp_path / "away.ini", {**settings, "ptemporal.include": "tests.worker.shop"})
        with WorkerProcess(ini, "-c", 2, log=tmp_path / "log") as worker:
            worker.is_ready()
            assert add.delay(1, 1).get(timeout=PATIENCE) == 2
            server.kill()
            server.start()
            result = add.delay(2, 2)
            assert result.get(timeout=PATIENCE) == 4
            result.forget()
            wait_until(lambda: add.AsyncResult(result.id).state == "PENDING", message="the result to be forgotten")
            result.forget()  # no task is left
            assert worker.process.poll() is None
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0


def test_logging_of_the_ini_is_respected(shop: Shop, ini: Path, tmp_path: Path) -> None:
    logging_ini = tmp_path / "logging.ini"
    logging_ini.write_text(
        ini.read_text()
        + f"""
[loggers]
keys = root

[handlers]
keys = file

[formatters]
keys = plain

[logger_root]
level = INFO
handlers = file

[handler_file]
class = FileHandler
args = ({str(tmp_path / "own.log")!r},)
formatter = plain

[formatter_plain]
format = OWN %(message)s

[filter:passes]
use = call:tests.cli.filters:passes

[pipeline:piped]
pipeline = passes main

[app:other]
use = main
celery.task_default_queue = other-{shop.queue}
"""
    )
    with WorkerProcess(f"{logging_ini}#piped", "-q", log=tmp_path / "log") as worker:
        own = tmp_path / "own.log"
        wait_until(lambda: own.exists() and "ready." in own.read_text(), PATIENCE, "the ini's log file")
        assert own.read_text().startswith("OWN ")
        assert add.apply_async((1, 2)).get(timeout=PATIENCE) == 3
        assert "[tasks]" not in worker.said
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
    with WorkerProcess(f"{logging_ini}#other", log=tmp_path / "log") as worker:
        worker.is_ready()
        assert f"other-{shop.queue}" in worker.said
        assert add.apply_async((1, 2), queue=f"other-{shop.queue}").get(timeout=PATIENCE) == 3
