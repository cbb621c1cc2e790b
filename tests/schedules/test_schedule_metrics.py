"""The exporter's figures of schedules: late, paused, and left out."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exporter import Exporter, lag
from pyramid_temporal_compat.schedules import crontab
from tests.parts import wait_until
from tests.schedules.parts import rewrite, synchronise, trigger

NIGHT = crontab(hour=3, minute=0)
NOW = dt.datetime(2026, 1, 31, 8, tzinfo=dt.timezone.utc)


def test_the_exporter_knows_each_schedule_of_the_application(app: Celery) -> None:
    app.conf.beat_schedule = {
        "clean": {"task": "add", "schedule": NIGHT, "args": (1, 2), "overlap": "skip"},
        "tell": {"task": "tell", "schedule": NIGHT},
    }
    synchronise(app)
    rewrite(app, "tell", lambda held: setattr(held.schedule.state, "paused", True))
    trigger(app, "clean")  # it goes on, because no worker runs

    async def fire_again(client: Any) -> None:
        await client.get_schedule_handle(f"{app.main}/clean").trigger()

    app.temporal.call(fire_again, 20)
    exporter = Exporter(app, (), worker_timeout=0.1)

    def figures(what: str) -> dict[str, float]:
        exporter._next_missed = 0.0  # the round of questions for each schedule does not wait for its minute
        exporter.refresh()
        collected = {metric.name: metric for metric in exporter.registry.collect()}
        return {each.labels["schedule"]: each.value for each in collected[f"ptemporal_schedule_{what}"].samples}

    wait_until(lambda: figures("paused") == {"clean": 0.0, "tell": 1.0})
    wait_until(lambda: figures("skipped") == {"clean": 1.0, "tell": 0.0})
    assert figures("lag_seconds") == figures("missed") == {"clean": 0.0, "tell": 0.0}
    assert exporter.registry.get_sample_value("ptemporal_exporter_up", {"source": "schedules"}) == 1.0
    del app.conf.beat_schedule["tell"]
    synchronise(app)
    wait_until(lambda: figures("paused") == {"clean": 0.0})


@pytest.mark.parametrize(
    ("next_time", "is_paused", "seconds"),
    [
        (NOW - dt.timedelta(minutes=2), False, 120.0),
        (NOW - dt.timedelta(minutes=2), True, 0.0),
        (NOW - dt.timedelta(seconds=2), False, 0.0),
        (NOW + dt.timedelta(minutes=2), False, 0.0),
    ],
)
def test_a_schedule_is_late_if_its_next_time_is_past(next_time: dt.datetime, is_paused: bool, seconds: float) -> None:
    state = SimpleNamespace(paused=is_paused)
    found = SimpleNamespace(info=SimpleNamespace(next_action_times=[next_time]), schedule=SimpleNamespace(state=state))
    assert lag(found, NOW) == seconds
