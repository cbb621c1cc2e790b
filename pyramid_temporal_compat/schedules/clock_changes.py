"""Times that a clock skips when it goes forward. Celery's crontab runs them later; the server would leave them out."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator

from .celery_schedules import crontab

YEARS = 5
"""Calendar years from now on for which the moved times are worked out. Each synchronisation works them out anew."""
STEP = dt.timedelta(minutes=1)
DAY = dt.timedelta(days=1)


def moved_times(found: crontab, zone: dt.tzinfo, year: int) -> Iterator[dt.datetime]:
    """Yield the clock times at which the runs of skipped times take place, from `year` on."""
    for skipped, gap in skipped_times(zone, year):
        day = skipped.date()
        matches = day.month in found.month_of_year and day.day in found.day_of_month
        if matches and day.isoweekday() % 7 in found.day_of_week:
            end = skipped + gap
            while skipped < end:
                if skipped.hour in found.hour and skipped.minute in found.minute:
                    yield skipped + gap
                skipped += STEP


@functools.lru_cache(16)
def skipped_times(zone: dt.tzinfo, year: int) -> tuple[tuple[dt.datetime, dt.timedelta], ...]:
    """Return the first time of each gap in the clock of a zone, and how long the gap is."""
    found = []
    day = dt.datetime(year, 1, 1)
    while day.year < year + YEARS:
        gap = _offset(day + DAY, zone) - _offset(day, zone)
        if gap > dt.timedelta(0):
            found.append((_first_skipped(day, zone), gap))
        day += DAY
    return tuple(found)


def _first_skipped(day: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """Return the first time that the clock skips within the 24 hours from `day` on."""
    before, after = day, day + DAY  # the first is a time that the clock shows under the old offset
    while after - before > STEP:
        middle = before + (after - before) // 2
        middle = middle.replace(second=0, microsecond=0)
        if middle in (before, after):
            break
        if _offset(middle, zone) == _offset(day, zone):
            before = middle
        else:
            after = middle
    return after


def _offset(clock: dt.datetime, zone: dt.tzinfo) -> dt.timedelta:
    # A skipped time with fold=1 has the offset that is in force after the change.
    return clock.replace(tzinfo=zone, fold=1).utcoffset() or dt.timedelta(0)
