"""What the server says that it can do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.cli.report import _features
from pyramid_temporal_compat.client.server_features import FEATURES, Answers, numbers, server_features


def test_an_old_server_lacks_what_came_later() -> None:
    nothing: Any = SimpleNamespace(
        supports_schedules=True, worker_heartbeats=False, eager_workflow_start=False, standalone_activities=False
    )
    answers = Answers("1.27.4", nothing, nothing)
    there = {feature.name for feature in FEATURES if feature.is_there(answers)}
    assert there == {"schedules"}


def test_a_hidden_release_counts_as_new() -> None:
    assert numbers("") > numbers("1.32.0") > numbers("1.29.1-rc.1") > (1, 28)


def test_the_tests_own_server_has_everything(temporal_address: str) -> None:
    app = Celery("features", set_as_current=False)
    app.conf.update(ptemporal_address=temporal_address)
    try:
        found = app.temporal.call(server_features, 30)
        assert [feature.name for feature, is_there in found.features if not is_there] == []
        assert not found.is_too_old
        (line,) = _features(app)
        assert line == f"server release {found.version}, tested with 1.32: it has all that is used here"
    finally:
        app.close()


def test_a_report_is_made_without_a_server() -> None:
    app = Celery("away", set_as_current=False)
    app.conf.update(ptemporal_address="127.0.0.1:1")
    (line,) = _features(app)
    app.close()
    assert line.startswith("the server was not asked what it can do: ")
