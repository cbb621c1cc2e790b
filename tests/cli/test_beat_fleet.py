"""Periodic tasks of a deployment: fleets of workers that are killed, a watch, the report, the completion of names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.parts import SCRIPT, WorkerProcess, environment
from tests.cli.test_beat_command import BeatProject, project  # noqa: F401  a fixture
from tests.parts import wait_until

ARGUMENTS = ("-A", "beat_project", "worker", "-P", "solo", "-l", "info")


@pytest.fixture(autouse=True)
def in_its_folder(project: BeatProject, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.chdir(project.folder)


def runs_of(project: BeatProject, least: int) -> int:  # noqa: F811
    """Return how often the entry has fired, once that is `least` times."""

    def count() -> int:
        shown = project.runs("schedule", "show", "beat.ini", "tick", "--json")
        found = int(json.loads(shown.stdout)["runs"]) if shown.returncode == 0 else 0
        return found if found >= least else 0

    return wait_until(count, 60, f"tick has fired {least} times")


def test_workers_with_b_that_are_killed_leave_one_schedule_that_goes_on(
    project: BeatProject,  # noqa: F811
    tmp_path: Path,
) -> None:
    project.declares("1")
    for fleet in range(2):
        logs = [tmp_path / f"log{fleet}{number}" for number in range(3)]
        workers = [WorkerProcess(None, *ARGUMENTS, "-B", "-n", log.name, log=log) for log in logs]
        for worker in workers:
            worker.__enter__()
        workers[0].says("ready.")
        for worker in workers:  # the others may be in the middle of it
            os.killpg(worker.process.pid, signal.SIGKILL)
            worker.__exit__(None, None, None)
    with WorkerProcess(None, *ARGUMENTS, "-B", log=tmp_path / "last") as last:
        last.says("schedules: 1 unchanged")
        before = runs_of(project, 1)
        runs_of(project, before + 2)
        listed = json.loads(project.runs("schedule", "list", "beat.ini", "--json").stdout)
    assert [row["name"] for row in listed] == ["tick"]


def test_a_worker_synchronises_on_start_if_the_setting_says_so(
    project: BeatProject,  # noqa: F811
    tmp_path: Path,
) -> None:
    (project.folder / "beat.ini").write_text((project.folder / "beat.ini").read_text() + "ptemporal.beat = on-start\n")
    with WorkerProcess("beat.ini", "-P", "solo", "-l", "info", log=tmp_path / "log") as worker:
        worker.says("schedules: 1 created")
    assert project.runs("beat", "beat.ini", "--check").returncode == 0


TABLE = """
def rows(app):
    import json, pathlib
    for name in json.loads(pathlib.Path("table.json").read_text()):
        yield {"name": name, "task": "add", "args": (1, 2), "schedule": 86400}

app.conf["ptemporal.schedules"] = rows
"""


def test_a_watch_follows_a_table_and_outlives_an_entry_that_is_wrong(project: BeatProject) -> None:  # noqa: F811
    source = project.folder / "beat_project.py"
    source.write_text(source.read_text() + TABLE.replace("= rows", '= "beat_project:rows"'))
    table = project.folder / "table.json"
    table.write_text('["one"]')
    log = project.folder / "watch"
    with log.open("w") as out:
        command = [*SCRIPT, "beat", "-A", "beat_project", "--watch", "1"]
        watch = subprocess.Popen(command, env=environment(), stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: "schedules: 2 created" in log.read_text(), 30, "the first entries")
        table.write_text('["one", "two"]')
        wait_until(lambda: "1 created" in log.read_text().partition("2 created")[2], 30, "the added row")
        table.write_text('["one", "one"]')
        wait_until(
            lambda: "not synchronised: periodic task 'one'" in log.read_text(), 30, "the row that is there twice"
        )
        table.write_text("[]")
        wait_until(lambda: "2 deleted" in log.read_text(), 30, "the deleted rows")
        assert watch.poll() is None
    finally:
        watch.kill()
        watch.wait(10)


def test_a_report_shows_how_the_server_differs(project: BeatProject) -> None:  # noqa: F811
    assert (
        "schedules: 1 to create (ptemporal-compat beat makes them equal)" in project.runs("report", "beat.ini").stdout
    )
    project.runs("beat", "beat.ini")
    wait_until(
        lambda: "schedules: the server has them as declared" in project.runs("report", "beat.ini").stdout,
        60,
        "the list has the schedule",
    )
    source = project.folder / "beat_project.py"
    source.write_text(source.read_text().replace(project.address, "localhost:1"))
    told = project.runs("report", "beat.ini")
    assert (told.returncode, "schedules: not compared with the server's" in told.stdout) == (0, True)


def test_the_shell_completes_the_names_of_schedules(project: BeatProject) -> None:  # noqa: F811
    project.runs("beat", "beat.ini")

    def completed(words: str, count: int) -> str:
        asked = {"_PTEMPORAL_COMPAT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(count)}
        code = "from pyramid_temporal_compat.cli import group; group(prog_name='ptemporal-compat')"
        command = [SCRIPT[0], "-c", code]
        done = subprocess.run(
            command, env={**environment(), **asked}, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout.strip()

    wait_until(lambda: completed("ptemporal-compat schedule show beat.ini t", 4) == "plain,tick", 60, "tick is listed")
    assert completed("ptemporal-compat schedule show beat.ini x", 4) == ""
    assert completed("ptemporal-compat schedule show none.ini t", 4) == ""
    assert "plain,pause" in completed("ptemporal-compat schedule p", 2)
