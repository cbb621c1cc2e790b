"""What other users of the host and web pages in a local browser can't do with the embedded server."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import stat
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from temporalio.client import Client

from pyramid_temporal_compat.cli import server as server_command
from pyramid_temporal_compat.exceptions import ServerFailed
from pyramid_temporal_compat.server import EmbeddedServer
from tests.test_file_safety import NOBODY, as_root, mode

START = json.dumps({"workflowType": {"name": "FromAPage"}, "taskQueue": {"name": "q"}})


def start_workflow(address: str) -> None:
    async def start() -> None:
        await (await Client.connect(address)).start_workflow("Any", id="any", task_queue="nobody's")

    asyncio.run(start())


@pytest.mark.integration
@pytest.mark.parametrize("existing", [False, True])
def test_state_files_can_be_read_by_their_owner_only(tmp_path: Path, existing: bool) -> None:
    database = tmp_path / "state.db"
    before = os.umask(0o022)
    try:
        if existing:
            with EmbeddedServer(headless=True, database=database):
                pass
            database.chmod(0o644)
        with EmbeddedServer(headless=True, database=database) as server:
            start_workflow(server.address)
            modes = {path.name: mode(path) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert {"state.db", "state.db-wal", "state.db-shm"} <= set(modes)
    assert set(modes.values()) == {0o600}, modes
    assert {mode(path) for path in tmp_path.iterdir()} == {0o600}


@as_root
@pytest.mark.parametrize("name", ["state.db", "state.db-wal", "state.db.lock"])
def test_a_state_file_that_is_a_link_of_another_user_is_refused(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    (tmp_path / name).symlink_to(target)
    os.lchown(tmp_path / name, NOBODY, NOBODY)
    with pytest.raises(ServerFailed, match="can't write the state file"):
        EmbeddedServer(headless=True, database=tmp_path / "state.db").start()
    assert not target.exists()


def test_the_default_directory_is_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made: list[Path] = []

    def refuse(**options: object) -> None:
        made.append(Path(str(options["database"])).parent)
        raise ServerFailed("the directory is made before the server")

    monkeypatch.setattr(server_command, "EmbeddedServer", refuse)
    for directory_exists in (False, True):
        if directory_exists:
            made[0].chmod(0o755)
        CliRunner().invoke(server_command.server, [])
        assert stat.S_IMODE(made[0].stat().st_mode) == 0o700
    assert (tmp_path / ".ptemporal" / ".gitignore").read_text() == "*\n"


@pytest.mark.integration
def test_a_web_page_can_not_start_workflows() -> None:
    """A page of any origin may send such a POST without asking first, to every port and for every host name."""
    with EmbeddedServer() as server:
        ports = {
            connection.laddr.port
            for connection in psutil.Process(server.pid).net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert server.ui_port in ports
        answers = {
            (port, path, host): post(port, path, host)
            for port in ports
            for path in ("/api/v1/namespaces/default/workflows/page", "/namespaces/default/workflows/page")
            for host in (f"127.0.0.1:{port}", f"localhost:{port}", "evil.example")
        }
        assert 403 in answers.values()
        assert 200 not in answers.values(), answers

        async def started() -> list[str]:
            client = await Client.connect(server.address)
            return [found.id async for found in client.list_workflows()]

        assert asyncio.run(started()) == []


def post(port: int, path: str, host: str) -> int | None:
    """Return the status of the answer, or None if the port does not speak HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"Host": host, "Origin": "https://evil.example", "Content-Type": "text/plain"}
    try:
        connection.request("POST", path, START, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
