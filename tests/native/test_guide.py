"""The program of the guide's page on activities and workflows, run as the page says."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.parts import ROOT, wait_until
from tests.test_docs import FILE, GUIDE

FILES = {found["name"]: found["text"] for found in FILE.finditer((GUIDE / "native.md").read_text())}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The folder with the page's files."""
    assert set(FILES) == {"crm.py", "activities.py", "workflows.py", "run_worker.py", "test_onboarding.py"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)


def test_the_pages_worker_runs_the_pages_workflow(program: Path, temporal_address: str) -> None:
    async def first_mail() -> Any:
        client = await Client.connect(temporal_address)
        handle = await client.start_workflow("Onboarding", 1, id="guide-onboarding", task_queue="crm")
        try:
            async for event in handle.fetch_history_events(wait_new_event=True):
                if event.HasField("timer_started_event_attributes"):
                    return event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
        finally:
            await handle.terminate()

    file = program / "crm.db"
    with running(program, "run_worker.py", temporal_address, f"sqlite:///{file}"):
        wait_until(lambda: file.exists() and file.stat().st_size > 0, message="the worker made no tables")
        with closing(sqlite3.connect(file, timeout=30)) as connection, connection:
            connection.execute("INSERT INTO users (id, email, score) VALUES (1, 'ada@example.org', 0)")
        assert asyncio.run(asyncio.wait_for(first_mail(), 60)) == timedelta(days=1)
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT score FROM users").fetchall() == [(30,)]


@pytest.mark.integration
def test_the_pages_tests_pass(program: Path) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "pytest_ptemporal",
            "test_onboarding.py",
        ],
        cwd=program,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout
