"""The guide's first page, done as it says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.orm

from pyramid_temporal_compat.server.embedded import free_ports

from .parts import wait_until

GUIDE = Path(__file__).parent.parent / "migration_guide"
BIN = Path(sys.executable).parent
FILE = re.compile(r"`(?P<name>[\w.]+)`:\n\n```\w+\n(?P<text>.*?)```", re.DOTALL)
INI = re.compile(r"```ini\n(.*?)```", re.DOTALL)


def test_the_application_of_the_first_page_does_what_the_page_says(tmp_path: Path, temporal_address: str) -> None:
    files = {found["name"]: found["text"] for found in FILE.finditer((GUIDE / "start.md").read_text())}
    assert set(files) == {"shop.py", "shop.ini"}
    [port] = free_ports("127.0.0.1", 1)
    ini = files["shop.ini"].replace("localhost:7233", temporal_address).replace("localhost:6543", f"127.0.0.1:{port}")
    ini = ini.replace("ptemporal.include = shop", "ptemporal.include = shop\ncelery.task_default_queue = test_docs")
    (tmp_path / "shop.ini").write_text(ini)
    (tmp_path / "shop.py").write_text(files["shop.py"])

    with (
        running(tmp_path, "pserve", "shop.ini"),
        running(tmp_path, "ptemporal-compat", "worker", "shop.ini", "-c", "2"),
    ):
        wait_until(lambda: reachable(port), message="the application does not serve")
        made = ask(port, "/orders", item="book")
        wait_until(lambda: ask(port, f"/tasks/{made['task']}")["state"] == "SUCCESS", message="the task did not run")
        assert ask(port, f"/tasks/{made['task']}")["result"] == "book is packed"
        assert refused(port, "/orders", item="nothing")
        assert ask(port, "/orders") == [{"id": 1, "item": "book", "status": "packed"}]


@pytest.mark.skipif(
    not hasattr(sqlalchemy.orm, "DeclarativeBase"), reason="the models of the first page are written for SQLAlchemy 2"
)
def test_the_tasks_of_the_first_page_are_listed(tmp_path: Path) -> None:
    for found in FILE.finditer((GUIDE / "start.md").read_text()):
        (tmp_path / found["name"]).write_text(found["text"])
    command = [BIN / "ptemporal-compat", "list", "tasks", "shop.ini"]
    listed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert listed.stdout == "shop.pack\n"
    assert listed.stderr == ""


def test_no_comment_of_the_guides_would_be_read_as_part_of_a_value() -> None:
    pages = {page.name: page.read_text() for page in GUIDE.glob("*.md")}
    blocks = [(name, block) for name, text in pages.items() for block in INI.findall(text)]
    lines = [(name, line) for name, block in blocks for line in block.splitlines() if not line.startswith((";", "#"))]
    assert blocks
    assert [found for found in lines if re.search(r"\s[;#]", found[1])] == []


@contextmanager
def running(folder: Path, *command: str) -> Iterator[None]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen([BIN / command[0], *command[1:]], cwd=folder, env=environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def reachable(port: int) -> bool:
    try:
        ask(port, "/orders")
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def ask(port: int, path: str, **form: str) -> Any:
    data = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=20) as answer:
        return json.load(answer)


def refused(port: int, path: str, **form: str) -> bool:
    try:
        ask(port, path, **form)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 500
    return False
