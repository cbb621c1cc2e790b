"""The example application, before and after: each passes its own tests, and the page shows what differs."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "migration_guide"


def run(*arguments, cwd=ROOT, path=()):
    """A Python program that finds this checkout first."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(path),
        capture_output=True,
        text=True,
    )


def environment(path=()):
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT, os.environ.get("PYTHONPATH", "")]))}


@pytest.mark.integration
@pytest.mark.parametrize("application", ["celery", "temporal"])
def test_application_passes_its_own_tests(application):
    home = GUIDE / "example" / application
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=home, path=[home])
    assert done.returncode == 0, done.stdout + done.stderr


def test_page_shows_the_differences_as_they_are():
    done = run(GUIDE / "example" / "differences.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
def test_demo_shows_what_it_promises_and_ends():
    done = run(GUIDE / "demo.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[NO]" not in done.stdout
    assert done.stdout.count("[ok]") >= 8


@pytest.mark.integration
def test_kept_demo_serves_until_interrupted_and_leaves_nothing_behind():
    with subprocess.Popen(
        [sys.executable, GUIDE / "demo.py", "--keep"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        printed = ""
        try:
            for line in demo.stdout:
                printed += line
                if line.startswith("Ctrl-C"):
                    break
            kept = dict(re.findall(r"^  the (gallery|web UI|logs) +(\S+)$", printed, re.MULTILINE))
            for name in ("gallery", "web UI"):
                with urllib.request.urlopen(kept[name], timeout=10) as response:
                    assert response.status == 200
            parts = parts_of(demo, kept["logs"])
            assert len(parts) >= 4, parts
        finally:
            demo.send_signal(signal.SIGINT)
            demo.stdout.read()
    assert demo.returncode == 0
    assert not Path(kept["logs"]).exists()
    assert still_running(parts) == []


def parts_of(demo, directory):
    """The demo's children, and PostgreSQL, which leaves its parent but names its directory."""
    descendants = psutil.Process(demo.pid).children(recursive=True)
    postgres = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(directory in word for word in process.info["cmdline"] or []) and process not in descendants
    ]
    return [*descendants, *postgres]


def still_running(processes):
    deadline = time.monotonic() + 10
    while (left := [process for process in processes if process.is_running()]) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=0.1)
    return left
