"""When the server fires an entry: Celery's schedules as the calendars and intervals of a Temporal Schedule."""

from __future__ import annotations

import calendar
import datetime as dt
import functools
import itertools
import os
import zoneinfo
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from temporalio.api.schedule.v1 import IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec

from .celery_schedules import BaseSchedule, crontab, schedule
from .clock_changes import YEARS, runs_near_changes, skips_a_midnight
from .timezones import DAY, HOUR, LONGEST_DURATION, MINUTE, UTC, LocalTimezone, zone_of

if TYPE_CHECKING:
    from ..interfaces import AppLike

SECOND = dt.timedelta(seconds=1)
LEAST_CATCHUP = dt.timedelta(seconds=10)
"""The server's own minimum."""
LONGEST_CATCHUP = dt.timedelta(days=365)
FIRST_YEAR, LAST_YEAR = 2000, 2100
"""The years that the server's calendars can have."""
LOOKED_AT = dt.date(2024, 1, 1)
"""The first of the four years in which the smallest gap of a crontab is looked for."""
OWN_TIMES = ("remaining_estimate", "is_due", "now", "remaining_delta")


class NotOnTheServer(ValueError):
    """No times of the schedule can be worked out, by the server or by its class."""


def is_driven(found: BaseSchedule, app: AppLike) -> bool:
    """Return whether a driver has to ask the schedule when it is due: the server can't work out its times.

    These are:

    - subclasses with times of their own, and schedules with a clock of their own
    - intervals with a fraction of a second, and several days until a midnight of the application's zone
    - days of the week in a zone whose clock skips a midnight: the server takes such a day for the day before
    """
    kind = kind_of(found)
    if kind is None or found.nowfun is not None:
        return True
    if isinstance(found, schedule):
        several_days = found.relative and found.run_every >= 2 * DAY
        return bool(several_days or found.run_every % SECOND)
    assert isinstance(found, crontab)
    return len(found.day_of_week) < 7 and skips_a_midnight(zone_of(app), dt.datetime.now(UTC).year)


def kind_of(found: BaseSchedule) -> type[BaseSchedule] | None:
    """Return the class of ours that tells the times of a schedule; None if its own class has other times."""
    for kind in (crontab, schedule):
        if isinstance(found, kind):
            own = any(getattr(type(found), name, None) is not getattr(kind, name, None) for name in OWN_TIMES)
            return None if own else kind
    return None


def check_times(found: BaseSchedule) -> None:
    """Raise `NotOnTheServer` if a schedule never fires, or more often than the server can."""
    if type(found).is_due is BaseSchedule.is_due:
        raise NotOnTheServer(f"{type(found).__qualname__} defines no is_due(), and is no crontab() or schedule()")
    if isinstance(found, schedule):
        check_interval(found)
    elif isinstance(found, crontab):
        check_fields(found)


def check_interval(found: schedule) -> None:
    every = found.run_every
    if not isinstance(every, dt.timedelta):
        raise NotOnTheServer(f"its interval is {every!r}: it takes seconds or a timedelta")
    # The id of a run ends with the second of its firing, so that two runs within a second would have the same id.
    if dt.timedelta(0) < every < SECOND:
        raise NotOnTheServer(
            f"its interval is {every.total_seconds():g} seconds, and the server starts runs at whole seconds: make it "
            "1 second, and let the task do its work several times, with pauses"
        )
    if every < SECOND:
        raise NotOnTheServer(f"its interval is {every.total_seconds():g} seconds: it takes 1 second or more")
    if every > LONGEST_DURATION:
        raise NotOnTheServer(f"its interval is {every.days:,} days: it takes {LONGEST_DURATION.days:,} days at most")


def check_fields(found: crontab) -> None:
    for field in ("minute", "hour", "day_of_month", "month_of_year", "day_of_week"):
        if not getattr(found, field):
            raise NotOnTheServer(f"its {field} has no number, so that it never fires")
    if min(found.day_of_month) > max(map(most_days, found.month_of_year)):
        raise NotOnTheServer(
            f"it never fires: day_of_month {found._orig_day_of_month!r} never occurs in month_of_year "
            f"{found._orig_month_of_year!r}"
        )


def most_days(month: int) -> int:
    """Return the number of days of a month, in a leap year."""
    return calendar.monthrange(2000, month)[1]


def spec_of(
    found: BaseSchedule, app: AppLike, *, jitter: dt.timedelta | None = None, offset: dt.timedelta | None = None
) -> ScheduleSpec:
    """Return the `ScheduleSpec` with the firing times of Celery's schedule, which is not driven.

    Raises `NotOnTheServer`.
    """
    if isinstance(found, crontab):
        if offset:
            raise NotOnTheServer("a crontab has no offset")
        spec = calendars_of(found, zone_of(app))
    else:
        assert isinstance(found, schedule)
        spec = interval_of(found, app, offset)
    if jitter:
        spec.jitter.FromTimedelta(jitter)
    return spec


def interval_of(found: schedule, app: AppLike, offset: dt.timedelta | None) -> ScheduleSpec:
    """Return the spec of a run every so many seconds."""
    every = whole_units(found.run_every) if found.relative else found.run_every
    if offset and offset >= every:
        raise NotOnTheServer(f"its offset {offset} is not shorter than its interval {every}")
    if found.relative and every == DAY and not offset:
        # A whole day by the clock of the application's zone, also when it has 23 or 25 hours.
        midnight = calendar_of(crontab(minute=0, hour=0))
        return ScheduleSpec(structured_calendar=[midnight], timezone_name=zone_name(zone_of(app)))
    interval = IntervalSpec()
    interval.interval.FromTimedelta(every)
    if offset:
        interval.phase.FromTimedelta(offset)
    return ScheduleSpec(interval=[interval])


def whole_units(every: dt.timedelta) -> dt.timedelta:
    """Return the time between two runs of a relative interval.

    Celery rounds each run down to a whole day, hour or minute: the largest unit that fits in the interval. So every
    90 minutes means every hour.
    """
    unit = next((unit for unit in (DAY, HOUR, MINUTE) if every >= unit), SECOND)
    return every // unit * unit


def calendars_of(found: crontab, zone: dt.tzinfo) -> ScheduleSpec:
    """Return the spec of a crontab. Its runs near clock changes are given one by one."""
    year = dt.datetime.now(UTC).year
    replaced = runs_near_changes(found, zone, year)
    return ScheduleSpec(
        structured_calendar=calendars_without(found, replaced.times, range(year, year + YEARS)),
        interval=map(at_moment, replaced.moments),
        timezone_name=zone_name(zone),
    )


def calendars_without(
    found: crontab, times: Collection[dt.datetime], years: Collection[int]
) -> Iterator[StructuredCalendarSpec]:
    """Yield the calendars of a crontab without some of its times, all of which are within `years`.

    The calendars differ only for the hours and months of these times. The server could also exclude the times, but then
    nothing else could put them back.
    """
    if not times:
        yield calendar_of(found)
        return
    hours, months = {time.hour for time in times}, {time.month for time in times}
    yield from calendar_unless_empty(found, hour=found.hour - hours)
    yield from calendar_unless_empty(found, hour=hours, month=found.month_of_year - months)
    others = [year for year in range(FIRST_YEAR, LAST_YEAR + 1) if year not in years]
    for month in sorted(months):
        yield calendar_of(found, hour=hours, month={month}, year=others)
        for year in years:
            days = {time.day for time in times if (time.year, time.month) == (year, month)}
            left = found.day_of_month - days
            yield from calendar_unless_empty(found, hour=hours, month={month}, year={year}, day_of_month=left)
    for day, hour in sorted({(time.date(), hour) for time in times for hour in hours}):
        minutes = found.minute - {time.minute for time in times if (time.date(), time.hour) == (day, hour)}
        only = {"year": {day.year}, "month": {day.month}, "day_of_month": {day.day}, "hour": {hour}}
        yield from calendar_unless_empty(found, minute=minutes, **only)


def calendar_unless_empty(found: crontab, **fields: Collection[int]) -> Iterator[StructuredCalendarSpec]:
    if all(fields.values()):
        yield calendar_of(found, **fields)


def calendar_of(found: crontab, **fields: Collection[int]) -> StructuredCalendarSpec:
    """Return the calendar of a crontab, with other numbers for some of its fields.

    The server, like Celery, asks that all fields match.
    """
    own: dict[str, Collection[int]] = {
        "second": [0],
        "minute": found.minute,
        "hour": found.hour,
        "day_of_month": found.day_of_month,
        "month": found.month_of_year,
        "day_of_week": found.day_of_week,
    }
    numbers = {name: ranges(each) for name, each in {**own, **fields}.items()}
    return StructuredCalendarSpec(**numbers)  # type: ignore[arg-type]  # `comment` is not among them


def once(time: dt.datetime, comment: str = "") -> StructuredCalendarSpec:
    """Return the calendar of one time."""
    return StructuredCalendarSpec(
        second=ranges([time.second]),
        minute=ranges([time.minute]),
        hour=ranges([time.hour]),
        day_of_month=ranges([time.day]),
        month=ranges([time.month]),
        year=ranges([time.year]),
        day_of_week=ranges(range(7)),
        comment=comment,
    )


def at_moment(moment: dt.datetime) -> IntervalSpec:
    """Return a spec that fires at one moment. A calendar can't tell two moments with the same clock time apart.

    The server counts intervals from 1970. So an interval as long as the time since then ends at the moment, and then
    again after as many years.
    """
    found = IntervalSpec()
    found.interval.FromSeconds(int(moment.timestamp()))
    return found


def ranges(numbers: Collection[int]) -> list[Range]:
    """Return numbers as ranges: as one with a step if that is possible."""
    ordered = sorted(numbers)
    steps = {after - before for before, after in itertools.pairwise(ordered)}
    if len(steps) <= 1:
        return [Range(start=ordered[0], end=ordered[-1], step=steps.pop() if steps else 1)]
    return list(_runs(ordered))


def _runs(ordered: list[int]) -> Iterator[Range]:
    first = last = ordered[0]
    for number in ordered[1:]:
        if number != last + 1:
            yield Range(start=first, end=last, step=1)
            first = number
        last = number
    yield Range(start=first, end=last, step=1)


def zone_name(zone: dt.tzinfo) -> str:
    """Return the name by which the server knows a time zone."""
    if zone is UTC or zone is dt.timezone.utc:
        return "UTC"
    if isinstance(zone, LocalTimezone):
        return local_zone_name()
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    if not name:
        raise NotOnTheServer(f"the server can't know the time zone {zone!r}: set timezone to a name like Europe/Paris")
    return str(name)


def local_zone_name() -> str:
    """Return the name of this machine's time zone."""
    name = os.environ.get("TZ", "").lstrip(":")
    if not name:
        _, found, name = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")
        name = name if found else "UTC"
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise NotOnTheServer(
            f"with enable_utc = false the times are this machine's, whose time zone {name!r} has no name that the "
            "server knows: set timezone to a name like Europe/Paris"
        ) from None
    return name


# --- how late a firing may be ------------------------------------------------------------------------


def catchup_of(found: BaseSchedule, app: AppLike) -> dt.timedelta:
    """Return how late a firing may start after the server was away, so that at most one is made up for."""
    gap = least_gap(found)
    if isinstance(found, crontab) and (deadline := app.conf.beat_cron_starting_deadline) is not None:
        gap = min(gap, dt.timedelta(seconds=deadline))
    return min(max(gap, LEAST_CATCHUP), LONGEST_CATCHUP)


def least_gap(found: BaseSchedule) -> dt.timedelta:
    """Return the shortest time between two firings."""
    if isinstance(found, schedule):
        return found.run_every
    assert isinstance(found, crontab)
    minutes = sorted(hour * 60 + minute for hour in found.hour for minute in found.minute)
    within_a_day = [after - before for before, after in itertools.pairwise(minutes)]
    days = least_days(frozenset(found.month_of_year), frozenset(found.day_of_month), frozenset(found.day_of_week))
    overnight = days * 24 * 60 - minutes[-1] + minutes[0]
    return dt.timedelta(minutes=min([*within_a_day, overnight]))


@functools.lru_cache(256)
def least_days(months: frozenset[int], days: frozenset[int], weekdays: frozenset[int]) -> int:
    """Return the smallest number of days between two days that match."""
    last, least = None, 365
    for number in range(4 * 365 + 1):
        day = LOOKED_AT + dt.timedelta(days=number)
        if day.month in months and day.day in days and day.isoweekday() % 7 in weekdays:
            if last is not None:
                least = min(least, number - last)
                if least == 1:
                    break
            last = number
    return least
