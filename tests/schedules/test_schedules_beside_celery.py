"""Our schedules and Celery's give the same answers, for random crontabs and intervals, also around clock changes."""

from __future__ import annotations

import datetime as dt
import pickle
import random
import zoneinfo
from typing import Any

import celery.schedules as theirs
import celery.utils.time as their_times
import pytest
from celery import Celery as TheirCelery

from pyramid_temporal_compat import Celery, settings
from pyramid_temporal_compat.schedules import celery_schedules as schedules
from pyramid_temporal_compat.schedules import solar
from pyramid_temporal_compat.schedules import timezones as zones

ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago"]
CHANGES = [
    dt.datetime(2026, 3, 29, 1),  # Paris forward
    dt.datetime(2026, 10, 25, 1),  # Paris back
    dt.datetime(2026, 3, 8, 7),  # New York forward
    dt.datetime(2026, 11, 1, 6),  # New York back
    dt.datetime(2026, 4, 4, 15),  # Lord Howe back by half an hour
    dt.datetime(2026, 10, 3, 15, 30),  # Lord Howe forward by half an hour
    dt.datetime(2026, 4, 5, 3),  # Santiago back, at midnight
    dt.datetime(2026, 9, 6, 4),  # Santiago forward, at midnight
    dt.datetime(2028, 2, 29, 12),
    dt.datetime(2026, 12, 31, 23, 30),
]


def apps(zone: str) -> tuple[Celery, TheirCelery]:
    ours = Celery("ours", set_as_current=False)
    ours.conf.timezone = zone
    other = TheirCelery("theirs", set_as_current=False)
    other.conf.timezone = zone
    return ours, other


def moment(pick: random.Random) -> dt.datetime:
    """Return a random time in UTC. Every other time is near a clock change."""
    if pick.random() < 0.5:
        near = pick.choice(CHANGES) + dt.timedelta(seconds=pick.randint(-20_000, 20_000))
    else:
        near = dt.datetime(2024, 1, 1) + dt.timedelta(seconds=pick.randint(0, 5 * 365 * 86400))
    return near.replace(microsecond=pick.choice([0, 0, 1, 999_999]), tzinfo=zones.UTC)


def field(pick: random.Random, low: int, high: int) -> object:
    a, b = pick.randint(low, high), pick.randint(low, high)
    return pick.choice(
        [
            "*",
            "*",
            a,
            f"{a}",
            f"{a},{b}",
            f"{a}-{b}",
            f"*/{pick.randint(1, 12)}",
            f"{a}-{b}/{pick.randint(1, 5)}",
            {a, b},
        ]
    )


def random_fields(pick: random.Random) -> list[object]:
    while True:
        fields = [field(pick, *r) for r in ((0, 59), (0, 23), (0, 6), (1, 31), (1, 12))]
        if pick.random() < 0.5:
            fields[3] = fields[4] = "*"
        try:
            theirs.crontab(*fields)
        except ValueError:
            continue  # the 31st of February
        return fields


@pytest.mark.parametrize("zone", ZONES)
def test_crontabs_are_due_when_celerys_are(zone: str) -> None:
    pick = random.Random(f"crontab {zone}")
    ours_app, theirs_app = apps(zone)
    for _ in range(400):
        fields, last = random_fields(pick), moment(pick)
        now = last + dt.timedelta(seconds=pick.choice([0, 30, 3600, 86400, 86400 * 40]) * pick.random())
        deadline = pick.choice([None, None, 60, 7200])
        ours_app.conf.beat_cron_starting_deadline = theirs_app.conf.beat_cron_starting_deadline = deadline
        spelled = last.replace(tzinfo=None) if pick.random() < 0.3 else last
        if pick.random() < 0.3:
            spelled = last.astimezone(zoneinfo.ZoneInfo(pick.choice(ZONES)))

        def now_in_zone(now: dt.datetime = now) -> dt.datetime:
            return now.astimezone(zoneinfo.ZoneInfo(zone))

        ours = schedules.crontab(*fields, nowfun=now_in_zone, app=ours_app)
        other = theirs.crontab(*fields, nowfun=now_in_zone, app=theirs_app)
        asked = f"{other} last={spelled!r} now={now} zone={zone}"
        assert ours.remaining_estimate(spelled) == other.remaining_estimate(spelled), asked
        assert tuple(ours.is_due(spelled)) == tuple(other.is_due(spelled)), asked
        start, step, then = ours.remaining_delta(spelled)
        their_start, their_step, their_then = other.remaining_delta(spelled)
        assert (start, start + step, then) == (their_start, their_start + their_step, their_then), asked
        assert repr(ours) == repr(other)


@pytest.mark.parametrize("zone", ZONES)
def test_steps_are_due_when_celerys_are(zone: str) -> None:
    pick = random.Random(f"schedule {zone}")
    ours_app, theirs_app = apps(zone)
    for _ in range(400):
        step: object = pick.choice([0, 0.5, 30, 60, 90, 1800, 3600, 5400, 7200, 86400, 86400 * 1.5, 86400 * 7])
        step = step if pick.random() < 0.5 else dt.timedelta(seconds=step)  # type: ignore[arg-type]
        last = moment(pick)
        now = last + dt.timedelta(seconds=pick.choice([0, 30, 3600, 86400, 86400 * 10]) * pick.random())
        shown = pick.choice([last, last.replace(tzinfo=None), last.astimezone(zoneinfo.ZoneInfo(zone))])
        relative = pick.random() < 0.6

        def now_in_zone(now: dt.datetime = now) -> dt.datetime:
            return now.astimezone(zoneinfo.ZoneInfo(zone))

        ours = schedules.schedule(step, relative, now_in_zone, ours_app)  # type: ignore[arg-type]
        other = theirs.schedule(step, relative, now_in_zone, theirs_app)
        asked = f"{other} relative={relative} last={shown!r} now={now} zone={zone}"
        assert ours.remaining_estimate(shown) == other.remaining_estimate(shown), asked
        assert tuple(ours.is_due(shown)) == tuple(other.is_due(shown)), asked
        assert repr(ours) == repr(other)


SPECS = ["*", "5", "*/7", "1-5", "5-1", "1-9/3", "mon", "mon-fri", "fri-mon", "jan", "feb-apr", "Sunday", "0,30", " 3"]
SPECS += [
    "*/7 ",
    "1-5 ",
    "1-3-9",
    "",
    ",",
    "1,",
    "-1",
    "*/",
    "*/0",
    "1-5/",
    "1-5/x",
    "99",
    "x",
    "*5",
    "5/2",
    "1.5",
    "0",
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(("count", "lowest"), [(60, 0), (24, 0), (7, 0), (31, 1), (12, 1)])
def test_fields_are_read_as_celery_reads_them(spec: str, count: int, lowest: int) -> None:
    def read(parser: Any) -> object:
        try:
            return parser(count, lowest).parse(spec)
        except Exception as error:
            return type(error).__name__

    assert read(schedules.crontab_parser) == read(theirs.crontab_parser)


@pytest.mark.parametrize(
    "arguments", [{"minute": 60}, {"day_of_week": [7]}, {"hour": "x"}, {"minute": 1.5}, {"hour": None}]
)
def test_an_invalid_field_is_refused_as_celery_refuses_it(arguments: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)) as expected:
        theirs.crontab(**arguments)
    with pytest.raises((ValueError, TypeError)) as caught:
        schedules.crontab(**arguments)  # type: ignore[arg-type]
    assert caught.type is expected.type


def test_the_29th_of_february_on_a_monday_is_found_however_far_it_is() -> None:
    app, _ = apps("UTC")
    last = dt.datetime(2072, 3, 1, tzinfo=zones.UTC)
    leap_monday = schedules.crontab(0, 0, 1, 29, 2, nowfun=lambda: last, app=app)
    start, step, _now = leap_monday.remaining_delta(last)
    assert (start + step).date() == dt.date(2112, 2, 29)


def test_a_crontabs_line_is_read_in_crontabs_order() -> None:
    assert schedules.crontab.from_string("5 4 3 2 1") == schedules.crontab(5, 4, 1, 3, 2)
    assert repr(schedules.crontab.from_string("*/5 0 1-7 * mon")) == "<crontab: */5 0 1-7 * mon (m/h/dM/MY/d)>"


def test_schedules_are_equal_when_they_mean_the_same() -> None:
    assert schedules.crontab("*/30") == schedules.crontab("0,30")
    assert schedules.crontab(1) != schedules.crontab(2)
    assert schedules.crontab(1) != schedules.schedule(60)
    assert schedules.schedule(60) == schedules.schedule(dt.timedelta(minutes=1))
    assert schedules.schedule(60) == dt.timedelta(minutes=1)


def fixed_now() -> dt.datetime:
    return dt.datetime(2026, 1, 1, tzinfo=zones.UTC)


def test_schedules_come_back_from_a_pickle() -> None:
    crontab = schedules.crontab("*/7", nowfun=fixed_now)
    back = pickle.loads(pickle.dumps(crontab))
    assert back == crontab
    assert back.nowfun is fixed_now
    step = pickle.loads(pickle.dumps(schedules.schedule(90, relative=True)))
    assert (step, step.relative) == (schedules.schedule(90), True)


def test_each_kind_of_entry_becomes_a_schedule_of_the_app() -> None:
    app, _ = apps("Europe/Paris")
    crontab = schedules.crontab(0)
    assert schedules.maybe_schedule(crontab, app=app) is crontab
    assert crontab.app is app
    assert crontab.tz == zoneinfo.ZoneInfo("Europe/Paris")
    assert schedules.maybe_schedule(30) == schedules.schedule(30)
    assert schedules.maybe_schedule(dt.timedelta(hours=1), relative=True).relative
    assert schedules.maybe_schedule(None) is None
    nightly = schedules.maybe_schedule(settings.CrontabFields(minute=0, hour="2", day_of_week="mon"), app=app)
    assert (nightly, nightly.app) == (schedules.crontab(0, 2, "mon"), app)


def test_times_are_local_if_utc_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Paris")
    __import__("time").tzset()
    try:
        app = Celery("local", set_as_current=False)
        app.conf.enable_utc = False
        noon = schedules.crontab(0, 12, app=app, nowfun=lambda: dt.datetime(2026, 7, 1, 9, tzinfo=zones.UTC))
        assert noon.remaining_estimate(dt.datetime(2026, 7, 1, 8, tzinfo=zones.UTC)) == dt.timedelta(hours=1)
        twice = dt.datetime(2026, 10, 25, 1, 30, tzinfo=zones.UTC).astimezone(noon.tz)
        assert (twice.hour, twice.fold, twice.utcoffset()) == (2, 1, dt.timedelta(hours=1))
    finally:
        monkeypatch.undo()
        __import__("time").tzset()


@pytest.mark.parametrize("zone", ZONES)
def test_naive_times_become_aware_as_celery_makes_them(zone: str) -> None:
    pick = random.Random(zone)
    tz = zoneinfo.ZoneInfo(zone)
    for _ in range(300):
        naive = moment(pick).replace(tzinfo=None)
        for function in ("make_aware", "localize"):
            made, expected = getattr(zones, function)(naive, tz), getattr(their_times, function)(naive, tz)
            assert (made, made.fold, made.utcoffset()) == (expected, expected.fold, expected.utcoffset()), naive
        for as_utc in (True, False):
            assert zones.maybe_make_aware(naive, tz, as_utc) == their_times.maybe_make_aware(naive, tz, as_utc)


@pytest.mark.parametrize("seconds", [0, 0.004, 0.5, 1, 59.999, 60, 90, 3600, 7260, 86400, 200_000])
def test_seconds_are_told_as_celery_tells_them(seconds: float) -> None:
    told = their_times.humanize_seconds
    assert zones.humanize_seconds(seconds) == told(seconds)
    assert zones.humanize_seconds(seconds, prefix="in", sep=" ") == told(seconds, prefix="in", sep=" ")
    assert zones.humanize_seconds(seconds, microseconds=True) == told(seconds, microseconds=True)


@pytest.mark.parametrize("limit", ["100/m", "2/h", "0.5/s", "10", 3, None, ""])
def test_rates_are_read_as_celery_reads_them(limit: object) -> None:
    assert zones.rate(limit) == pytest.approx(their_times.rate(limit))  # type: ignore[arg-type]


def test_events_of_the_sun_are_due_when_celerys_are() -> None:
    pytest.importorskip("ephem", reason="events of the sun need ephem")
    pick = random.Random("sun")
    ours_app, theirs_app = apps("UTC")
    for _ in range(300):
        event = pick.choice(sorted(solar._all_events))
        place = pick.uniform(-90, 90), pick.uniform(-180, 180)
        now = moment(pick)
        last = now - dt.timedelta(seconds=pick.randint(0, 2 * 86400))
        ours = solar(event, *place, nowfun=lambda now=now: now, app=ours_app)  # type: ignore[misc]
        other = theirs.solar(event, *place, nowfun=lambda now=now: now, app=theirs_app)
        found, expected = ours.is_due(last), other.is_due(last)
        assert found[0] == expected[0], (event, place, now, last)
        assert abs(found[1] - expected[1]) < 0.01, (event, place, now, last)


@pytest.mark.parametrize("bad", [("noon", 0, 0), ("sunset", 91, 0), ("sunset", 0, -181)])
def test_an_event_of_the_sun_that_is_not_valid_is_refused(bad: tuple[str, float, float]) -> None:
    pytest.importorskip("ephem", reason="events of the sun need ephem")
    with pytest.raises(ValueError, match="valid"):
        solar(*bad)
