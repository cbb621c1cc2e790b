"""The client in real web servers: gunicorn's forked workers and waitress's threads."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyramid_temporal_compat.server import EmbeddedServer
from tests.client import client_parts
from tests.client.client_parts import client_app, closed_port, started
from tests.parts import wait_until

WSGI = "tests.enlist.web_app:application"
MOST_DROPPED = 5
"""So often at most may one request meet a worker that ends."""


class WebServer:
    """The process of a web server, its log, and requests to it."""

    def __init__(self, command: list[str], environment: dict[str, str], serving: str) -> None:
        root = Path(client_parts.__file__).parents[2]
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=root,
            env={**os.environ, "PYTHONPATH": path, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(wait_until(lambda: self.find(serving), message=f"{serving} in the log")[0])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def find(self, pattern: str) -> list[str]:
        return re.findall(pattern, self.log)

    @property
    def log(self) -> str:
        return "\n".join(list(self.lines))

    def ask(self, method: str, path: str) -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
            return response.status, json.loads(body) if response.status == 200 else {"body": body}

    def ask_until_answered(self, method: str, path: str) -> tuple[int, dict]:
        """Ask again after a connection that was closed without an answer.

        A gunicorn worker that ends after `--max-requests` closes the connections that it has accepted and not yet
        read. A client can't tell such a request from one that was served, so an order may be made twice.
        """
        for _ in range(MOST_DROPPED):
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                return self.ask(method, path)
        return self.ask(method, path)

    def order(self, count: int = 1, at_once: int = 4, drops: bool = False) -> list[dict]:
        """Make this many orders. `drops`: whether the server may drop a request without an answer."""
        ask = self.ask_until_answered if drops else self.ask
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            answers = list(pool.map(lambda _: ask("POST", "/order"), range(count)))
        assert {status for status, _ in answers} == {200}, (answers, self.log)
        return [body for _, body in answers]

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join(10)
        return code


@contextlib.contextmanager
def serving(command: list[str], environment: dict[str, str], pattern: str) -> Iterator[WebServer]:
    server = WebServer(command, environment, pattern)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        server._reader.join(10)
        assert server.process.stdout is not None
        server.process.stdout.close()


@pytest.fixture
def environment(tmp_path):
    return {"DATABASE": f"sqlite:///{tmp_path}/orders.db"}


@pytest.mark.parametrize("preload", [False, True], ids=["plain", "preload"])
@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_gunicorn(temporal_address, environment, worker, preload):
    command = ["gunicorn", "-b", "127.0.0.1:0", "-w", "2", "-k", worker, "--threads", "4", "--max-requests", "12", WSGI]
    if preload:
        command.insert(1, "--preload")
    environment = {**environment, "TEMPORAL_ADDRESS": temporal_address, "IMPORT_CALL": "1"}
    with serving(command, environment, r"Listening at: http://127\.0\.0\.1:(\d+)") as server:
        answers = server.order(30, drops=True)  # workers are replaced, so more than two may answer
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "Hang up: " in server.log or "Handling signal: hup" in server.log)
        answers += server.order(10, drops=True)
        assert server.end(signal.SIGTERM) == 0
        made_at_import = server.find(r"called at import: (\S+) (\d+)")
        log = server.log
    assert len({answer["pid"] for answer in answers}) > 2
    if preload:
        assert made_at_import[0][1] not in {str(answer["pid"]) for answer in answers}  # the master's
    # The master may log SIGTERM: the hang-up can meet a worker that has reached its end and is being replaced.
    assert not re.search(r"was sent SIG(?!TERM)|exited with code|WORKER TIMEOUT|Traceback|ERROR", log), log
    ids = {answer["task"] for answer in answers} | {task_id for task_id, _ in made_at_import}
    assert len(ids) == 40 + len(made_at_import)
    with client_app(temporal_address) as app:
        assert started(app, sorted(ids)) == ids


def waitress(environment):
    command = ["waitress", "--listen=127.0.0.1:0", "--threads=8", WSGI]
    return serving(command, environment, r"Serving on http://127\.0\.0\.1:(\d+)")


def test_waitress(temporal_address, environment):
    with waitress({**environment, "TEMPORAL_ADDRESS": temporal_address}) as server:
        answers = server.order(40, at_once=8)
        assert server.end(signal.SIGINT) == 0
        assert "Traceback" not in server.log
    ids = {answer["task"] for answer in answers}
    with client_app(temporal_address) as app:
        assert started(app, sorted(ids)) == ids
    assert len(ids) == 40


@pytest.mark.integration
def test_a_web_process_serves_without_a_temporal_server_and_uses_one_that_starts_later(environment):
    temporal = EmbeddedServer(port=closed_port(), headless=True)
    environment = {**environment, "TEMPORAL_ADDRESS": f"127.0.0.1:{temporal.port}", "DISPATCH_TIMEOUT": "1"}
    with waitress(environment) as server:
        assert server.ask("GET", "/home") == (200, {"orders": 0})
        [lost] = server.order()
        assert server.ask("GET", "/home") == (200, {"orders": 1})  # the commit stands
        [line] = server.find(r"ERROR committed, but not started: .*")
        assert lost["task"] in line
        assert '"body": [1]' in line
        assert "is it running?" in line
        with temporal, client_app(temporal.address) as app:
            [answer] = server.order()
            assert started(app, [lost["task"], answer["task"]]) == {answer["task"]}
        assert server.ask("GET", "/home") == (200, {"orders": 2})
