"""The options of `ptemporal-compat beat`, and an app whose only purpose is beat. No server is needed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.cli import beat
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.schedules.declaration import declarations


def test_the_help_says_what_becomes_of_each_option_of_celerys_beat() -> None:
    shown = " ".join(CliRunner().invoke(beat.command, ["--help"]).output.split())
    for name in (*beat.TAKEN, *beat.REFUSED):
        assert f"--{name.replace('_', '-')}" in shown
        assert beat.said_of(name) in shown


def test_an_app_that_is_only_beat_names_the_tasks_of_another_app(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyramid_temporal_compat.app.shared._shared", {})  # of other tests
    app = Celery("names", set_as_current=False)
    app.conf.task_routes = {"shop.report": {"queue": "slow"}}
    app.conf.beat_schedule = {"nightly": {"task": "shop.report", "schedule": 30, "args": ("all",)}}
    with pytest.raises(ImproperlyConfigured, match=r"'shop.report' is not a task of this application, which has 0;"):
        declarations(app)
    beat.stand_in_for_tasks(app)
    (declared,) = declarations(app)
    start = declared.schedule.action.start_workflow
    assert (start.workflow_type.name, start.task_queue.name) == ("shop.report", "slow")
    assert "not checked" in capsys.readouterr().err
