"""`ptemporal-compat beat`, `schedule` and `worker -B`, as processes."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.parts import SCRIPT, WorkerProcess, environment
from tests.parts import wait_until

APP = """\
from pyramid_temporal_compat import Celery

app = Celery("{name}", **{{"ptemporal.address": "{address}"}})
app.conf.task_default_queue = "{name}"

@app.task(name="add")
def add(x, y):
    return x + y

app.add_periodic_task({schedule}, add.s(1, 2), name="tick")
"""
INI = """\
[app:main]
use = call:beat_project:main
pyramid.includes = pyramid_temporal_compat
ptemporal.app = beat_project:app
"""


class BeatProject:
    def __init__(self, address: str, folder: Path) -> None:
        self.name, self.address, self.folder = f"beat-{uuid.uuid4().hex[:8]}", address, folder
        self.declares("86400")
        (folder / "beat.ini").write_text(INI)

    def declares(self, schedule: str) -> None:
        text = APP.format(name=self.name, address=self.address, schedule=schedule)
        main = "\n\ndef main(settings, **more):\n    from pyramid.config import Configurator\n"
        main += "    return Configurator(settings=more).make_wsgi_app()\n"
        (self.folder / "beat_project.py").write_text(text + main)

    def runs(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*SCRIPT, *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=100, check=False
        )


@pytest.fixture
def project(temporal_address: str, tmp_path: Path) -> Iterator[BeatProject]:
    found = BeatProject(temporal_address, tmp_path)
    yield found
    found.runs("schedule", "delete", "beat.ini", "tick")


def test_beat_makes_the_server_equal_and_check_tells_whether_it_is(project: BeatProject) -> None:
    checked = project.runs("beat", "-A", "beat_project", "--check")
    assert (checked.returncode, checked.stdout.splitlines()[-1]) == (3, "schedules: 1 to create"), checked.stderr
    dry = project.runs("beat", "-A", "beat_project", "--dry-run")
    assert (dry.returncode, dry.stdout.split()[:3]) == (0, ["create", "tick", "add"])
    done = project.runs("beat", "beat.ini", "--wait-server", "20", "-s", "file", "--max-interval", "5")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "schedules: 1 created"), done.stderr
    assert "--schedule: no file is written" in done.stderr
    assert project.runs("beat", "beat.ini", "--check").returncode == 0


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (["-S", "redbeat.RedBeatScheduler"], "--scheduler is refused"),
        (["--detach"], "--detach is refused"),
        (["--watch", "5", "--check"], "--watch changes schedules"),
    ],
)
def test_an_option_that_has_no_meaning_is_refused_in_one_line(
    project: BeatProject, option: list[str], why: str
) -> None:
    done = project.runs("beat", "-A", "beat_project", *option)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert why in done.stderr


def test_a_bad_entry_is_told_in_one_line(project: BeatProject) -> None:
    project.declares("0")
    for command in (["beat", "-A", "beat_project"], ["-A", "beat_project", "worker", "-B"]):
        done = project.runs(*command)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith("ptemporal-compat: periodic task 'tick': its interval is 0")


def test_schedules_are_shown_paused_fired_and_deleted(project: BeatProject) -> None:
    assert project.runs("beat", "beat.ini").returncode == 0

    def schedule(command: str, *more: str) -> str:
        done = project.runs("schedule", command, "beat.ini", *more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert schedule("pause", "tick", "--note", "the disk is full") == "tick: paused\n"
    shown = json.loads(schedule("show", "tick", "--json"))
    assert (shown["paused"], shown["note"], shown["starts"]) == (True, "the disk is full", "add")
    assert project.runs("beat", "beat.ini").stdout == "schedules: 1 unchanged\n"
    assert schedule("resume", "tick") == "tick: resumed\n"
    schedule("trigger", "tick")
    schedule("backfill", "tick", "2026-01-01", "2026-01-03T12:00")
    wait_until(
        lambda: json.loads(schedule("show", "tick", "--json"))["runs"] == 1 + 3, 60, "one run, and three of the past"
    )
    assert len(json.loads(schedule("show", "tick", "--json"))["next"]) == 5
    assert [row["name"] for row in json.loads(schedule("list", "--json"))] in ([], ["tick"])  # the list lags behind
    assert schedule("delete", "tick") == "tick: deleted\n"
    missing = project.runs("schedule", "show", "beat.ini", "tick")
    assert (missing.returncode, "no schedule 'tick' of this application" in missing.stderr) == (2, True)
    for before in (["--ini", "beat.ini"], ["-A", "beat_project"]):
        missing = project.runs(*before, "schedule", "show", "tick")
        assert (missing.returncode, "no schedule 'tick' of this application" in missing.stderr) == (2, True)


def test_several_workers_started_with_b_synchronise_once_and_others_tell_differences(
    project: BeatProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    arguments = ("-A", "beat_project", "worker", "-P", "solo", "-l", "info")
    with WorkerProcess(None, *arguments, log=tmp_path / "without") as without:
        without.says("the server's schedules differ from the declared ones: 1 to create")
    logs = [tmp_path / f"log{number}" for number in range(3)]
    workers = [WorkerProcess(None, *arguments, "-B", "-n", log.name, log=log) for log in logs]
    try:
        for worker in workers:
            worker.__enter__()
        for worker in workers:
            worker.says("schedules: 1 ")
    finally:
        for worker in workers:
            worker.__exit__(None, None, None)
    assert project.runs("beat", "beat.ini", "--check").returncode == 0
