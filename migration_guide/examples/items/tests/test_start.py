"""The whole system, as `start.sh` starts it: the web, a worker, and a graceful stop."""

import configparser
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

HOME = Path(__file__).parent.parent


@pytest.fixture
def port():
    """A free port for the web."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def ini(tmp_path, port):
    """development.ini with this port."""
    parser = configparser.RawConfigParser()
    parser.read(HOME / "development.ini")
    parser["server:main"]["listen"] = f"127.0.0.1:{port}"
    path = tmp_path / "test.ini"
    with path.open("w") as file:
        parser.write(file)
    return path


@pytest.fixture
def system(ini, variables):
    """`start.sh` in a process of its own, with the commands of this Python."""
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    with subprocess.Popen([HOME / "start.sh", ini], env=variables) as system:
        yield system
        system.send_signal(signal.SIGTERM)


def test_system_processes_an_item_and_stops(system, port, web, png, eventually):
    item = web.post("/items", {"owner": "ann@example.org"}, upload_files=[("image", "sea.png", png)]).json["item"]

    def status():
        try:
            with urlopen(f"http://127.0.0.1:{port}/items/{item}") as answer:
                return json.load(answer)["status"]
        except URLError:
            return "the web does not listen yet"

    eventually(status, "ready")
    system.send_signal(signal.SIGTERM)
    assert system.wait(60) == 0
    assert web.get(f"/items/{item}").json["images"][0]["suggestion"] == "Sea (landscape)"
    assert web.get("/items/404/processing", status=404).json["message"]
