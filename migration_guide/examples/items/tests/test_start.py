"""The whole system, as `start.sh` starts it: the web, a worker, and a graceful stop."""

import configparser
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent


@pytest.fixture
def ini(tmp_path):
    """development.ini, with a free port for the web."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parser = configparser.RawConfigParser()
    parser.read(HOME / "development.ini")
    parser["server:main"]["listen"] = f"127.0.0.1:{port}"
    path = tmp_path / "test.ini"
    with path.open("w") as file:
        parser.write(file)
    return path


def test_system_processes_an_item_and_stops(ini, variables, web, png, eventually):
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    with subprocess.Popen([HOME / "start.sh", ini], env=variables) as system:
        item = web.post("/items", {"owner": "ann@example.org"}, upload_files=[("image", "sea.png", png)]).json["item"]
        try:
            eventually(lambda: web.get(f"/items/{item}").json["status"], "ready")
        finally:
            system.send_signal(signal.SIGTERM)
    assert system.returncode == 0
    assert web.get(f"/items/{item}").json["images"][0]["suggestion"] == "Sea (landscape)"
    assert web.get("/items/404/processing", status=404).json["message"]
