"""The runs of a crontab around the moments at which a clock goes forward or back.

Celery runs a skipped time after the gap, once however many times are skipped. It runs a time that the clock
shows twice when the clock shows it first. The server would leave out a skipped time, and would run a repeated time
twice, late or not at all. So these runs are worked out here, one by one.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator
from typing import NamedTuple

from .celery_schedules import crontab
from .timezones import DAY, HOUR, UTC

YEARS = 3
"""Calendar years from now on for which clock changes are worked out. Each synchronisation works them out anew."""
STEP = dt.timedelta(minutes=1)


class Change(NamedTuple):
    """The clock times around one change, minute by minute."""

    affected: tuple[dt.datetime, ...]
    """The times that the clock skips, or shows twice."""
    near: tuple[dt.datetime, ...]
    """The times for which the server's calendars are not right."""
    is_forward: bool


class Replaced(NamedTuple):
    """What the server's calendars must leave out, and what takes place instead."""

    times: list[dt.datetime]
    """Clock times."""
    moments: list[dt.datetime]
    """In UTC."""


def runs_near_changes(found: crontab, zone: dt.tzinfo, year: int) -> Replaced:
    """Return the runs near clock changes, from `year` on."""
    replaced = Replaced([], [])
    for change in changes(zone, year):
        # When the clock goes back, the server is wrong about the hours before and after, too.
        if any(found.has_time(time) for time in (change.affected if change.is_forward else change.near)):
            replaced.times.extend(filter(found.has_time, change.near))
            replaced.moments.extend(_runs(found, zone, change))
    return replaced


def _runs(found: crontab, zone: dt.tzinfo, change: Change) -> Iterator[dt.datetime]:
    """Yield the moments at which Celery runs the times near a change: each follows from the last one."""
    run = found.next_run((change.near[0] - STEP).replace(tzinfo=zone))
    end = change.near[-1].replace(tzinfo=zone, fold=1).astimezone(UTC)
    while run <= end:
        yield run
        run = found.next_run(run.astimezone(zone))


def skips_a_midnight(zone: dt.tzinfo, year: int) -> bool:
    """Return whether a day begins later than at midnight, from `year` on. Chile and Egypt have such days."""
    return any(change.is_forward and change.affected[0].time() == dt.time() for change in changes(zone, year))


@functools.lru_cache(16)
def changes(zone: dt.tzinfo, year: int) -> tuple[Change, ...]:
    """Return the clock changes of a zone."""
    found = []
    day = dt.datetime(year, 1, 1)
    while day.year < year + YEARS:
        if _offset(day + DAY, zone) != _offset(day, zone):
            # A change at midnight affects the times of the next day.
            times = _minutes(day, day + 2 * DAY)
            affected = tuple(time for time in times if _offset(time, zone, fold=0) != _offset(time, zone))
            if affected:
                found.append(_around(affected, zone))
        day += DAY
    return tuple(found)


def _around(affected: tuple[dt.datetime, ...], zone: dt.tzinfo) -> Change:
    first, last = affected[0], affected[-1]
    gap = _offset(first, zone) - _offset(first, zone, fold=0)
    if gap > dt.timedelta(0):
        return Change(affected, tuple(_minutes(first, last + gap + STEP)), True)
    # The server takes other times for the repeated ones: in Paris those from 1 to 2, and not from 2 to 3.
    return Change(affected, tuple(_minutes(first - HOUR, last + HOUR + STEP)), False)


def _minutes(begin: dt.datetime, end: dt.datetime) -> Iterator[dt.datetime]:
    while begin < end:
        yield begin
        begin += STEP


def _offset(clock: dt.datetime, zone: dt.tzinfo, fold: int = 1) -> dt.timedelta:
    # With fold=1, a time that is skipped or repeated has the offset after the change.
    return clock.replace(tzinfo=zone, fold=fold).utcoffset() or dt.timedelta(0)
