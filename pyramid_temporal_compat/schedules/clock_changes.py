"""Times that a clock skips when it goes forward, and times that it shows twice when it goes back.

Celery's crontab runs a skipped time after the gap, and a repeated time once, when the clock shows it first. The server
would leave a skipped time out, and would run a repeated time twice, late or not at all.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator

from .celery_schedules import crontab

YEARS = 5
"""Calendar years from now on for which clock changes are worked out. Each synchronisation works them out anew."""
STEP = dt.timedelta(minutes=1)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def moved_times(found: crontab, zone: dt.tzinfo, year: int) -> Iterator[dt.datetime]:
    """Yield the clock times at which the runs of skipped times take place, from `year` on."""
    for skipped, gap in skipped_times(zone, year):
        if found.has_day(skipped):
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


def skips_a_midnight(zone: dt.tzinfo, year: int) -> bool:
    """Return whether a day begins later than at midnight, from `year` on. Chile and Egypt have such days."""
    return any(skipped.time() == dt.time() for skipped, _ in skipped_times(zone, year))


def runs_near_repeated_times(found: crontab, zone: dt.tzinfo, year: int) -> list[dt.datetime]:
    """Return the clock times of the runs for which the server's calendars are wrong, from `year` on."""
    times = near_repeated_times(zone, year)
    return [time for time in times if time.minute in found.minute and time.hour in found.hour and found.has_day(time)]


@functools.lru_cache(16)
def near_repeated_times(zone: dt.tzinfo, year: int) -> tuple[dt.datetime, ...]:
    """Return every minute that the clock of a zone shows twice, and those of an hour before and after.

    The server takes other times for the repeated ones: in Paris those from 1 to 2 in the place of those from 2 to 3.
    """
    found = []
    day = dt.datetime(year, 1, 1)
    while day.year < year + YEARS:
        if _offset(day + DAY, zone) < _offset(day, zone):
            minutes = (day + number * STEP for number in range(DAY // STEP))
            repeated = [time for time in minutes if _offset(time, zone, fold=0) > _offset(time, zone)]
            time = repeated[0] - HOUR
            while time <= repeated[-1] + HOUR:
                found.append(time)
                time += STEP
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


def _offset(clock: dt.datetime, zone: dt.tzinfo, fold: int = 1) -> dt.timedelta:
    # A skipped time with fold=1 has the offset that is in force after the change.
    return clock.replace(tzinfo=zone, fold=fold).utcoffset() or dt.timedelta(0)
