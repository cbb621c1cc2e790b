"""The server fires when Celery's own crontab is due: random expressions, zones and dates, asked of the real server."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import zoneinfo
from typing import Any

import pytest
from temporalio.client import Client

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.schedules import crontab, schedule
from pyramid_temporal_compat.schedules.firing_times import catchup_of, spec_of
from tests.schedules.firing_comparison import celerys, compare, matching
from tests.schedules.test_schedules_beside_celery import ZONES, apps

UTC = dt.timezone.utc
COUNT = min(int(os.environ.get("PTEMPORAL_FUZZ_EXAMPLES", 60)), 180)
"""Random crontabs to compare in each zone. `make fuzz` compares more."""


@pytest.mark.parametrize("zone", ZONES)
def test_the_server_fires_when_celerys_crontab_is_due(zone: str, temporal_address: str) -> None:
    """A third of the spans is around a clock change. `python -m tests.schedules.firing_comparison` compares more."""
    kept = asyncio.run(compare(temporal_address, zone, COUNT))
    assert kept == COUNT or (zone == "America/Santiago" and kept > COUNT / 10)


@pytest.mark.parametrize(
    ("day", "zone"),
    [
        (dt.date(2027, 3, 28), "Europe/Paris"),
        (dt.date(2027, 3, 14), "America/New_York"),
        (dt.date(2027, 10, 3), "Australia/Lord_Howe"),
        (dt.date(2027, 9, 5), "America/Santiago"),
    ],
)
def test_a_daily_run_takes_place_once_on_the_day_that_the_clock_goes_forward(
    day: dt.date, zone: str, temporal_address: str
) -> None:
    """A time that the clock skips is run later, as Celery does it."""
    ours, others = apps(zone)
    begin = dt.datetime.combine(day, dt.time(0), tzinfo=UTC) - dt.timedelta(hours=16)
    end = begin + dt.timedelta(hours=48)

    async def ask() -> None:
        client = await Client.connect(temporal_address)
        for hour in range(5):
            for minute in (0, 20, 40):
                found = crontab(minute=minute, hour=hour, day_of_month=day.day, app=ours)
                times = await matching(client, 0, spec_of(found, ours), begin, end)
                expected = celerys([minute, hour, "*", day.day, "*"], others, begin, end, most=5)
                assert len(times) == len(expected) == 1, (hour, minute, times, expected)
                local = zoneinfo.ZoneInfo(zone)
                assert [each.astimezone(local).replace(tzinfo=None, fold=0) for each in times] == [
                    each.astimezone(local).replace(tzinfo=None, fold=0) for each in expected
                ]

    asyncio.run(ask())


def test_a_leap_day_fires_in_leap_years_only(temporal_address: str) -> None:
    ours, _ = apps("UTC")
    spec = spec_of(crontab(minute=0, hour=0, day_of_month=29, month_of_year=2, app=ours), ours)

    async def ask() -> list[dt.datetime]:
        client = await Client.connect(temporal_address)
        return await matching(client, 0, spec, dt.datetime(2023, 1, 1), dt.datetime(2033, 1, 1))

    assert [each.year for each in asyncio.run(ask())] == [2024, 2028, 2032]


def test_a_whole_day_is_a_day_of_the_applications_zone_if_it_is_relative(temporal_address: str) -> None:
    ours, _ = apps("Europe/Paris")
    spec = spec_of(schedule(dt.timedelta(days=1), relative=True, app=ours), ours)

    async def ask() -> list[dt.datetime]:
        client = await Client.connect(temporal_address)
        return await matching(client, 0, spec, dt.datetime(2026, 3, 28), dt.datetime(2026, 3, 31))

    assert [(each.day, each.hour) for each in asyncio.run(ask())] == [(28, 23), (29, 22), (30, 22)]


def test_an_interval_has_an_offset(temporal_address: str) -> None:
    ours, _ = apps("UTC")
    spec = spec_of(schedule(3600, app=ours), ours, offset=dt.timedelta(minutes=5))

    async def ask() -> list[dt.datetime]:
        client = await Client.connect(temporal_address)
        return await matching(client, 0, spec, dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, 3))

    assert [(each.hour, each.minute) for each in asyncio.run(ask())] == [(0, 5), (1, 5), (2, 5)]


@pytest.mark.parametrize(
    ("found", "deadline", "expected"),
    [
        (crontab(hour=3, minute=0), None, dt.timedelta(days=1)),
        (crontab(minute="*/15"), None, dt.timedelta(minutes=15)),
        (crontab(minute=0, hour="6,22"), None, dt.timedelta(hours=8)),
        (crontab(minute=0, hour=9, day_of_week="mon"), None, dt.timedelta(days=7)),
        (crontab(minute=0, hour=9, day_of_month=1), None, dt.timedelta(days=28)),
        (crontab(minute=0, hour=9, day_of_month=29, month_of_year=2), None, dt.timedelta(days=365)),
        (crontab(hour=3, minute=0), 600, dt.timedelta(minutes=10)),
        (schedule(90), 600, dt.timedelta(seconds=90)),
        (schedule(1), None, dt.timedelta(seconds=10)),
    ],
    ids=str,
)
def test_after_an_outage_at_most_one_run_is_made_up_for(
    found: Any, deadline: int | None, expected: dt.timedelta
) -> None:
    app = Celery("outage", set_as_current=False)
    app.conf.beat_cron_starting_deadline = deadline
    assert catchup_of(found, app) == expected
