"""Times and time zones for schedules: Celery's rules for naive times, and for the change to and from summer time."""

from __future__ import annotations

import calendar
import datetime as dt
import random
import zoneinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..exceptions import ImproperlyConfigured
from ..message.backoff import exponential_pause

if TYPE_CHECKING:
    from ..interfaces import AppLike

UTC = zoneinfo.ZoneInfo("UTC")
DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)
LONGEST_DURATION = dt.timedelta(days=36500)
"""Of an interval, a jitter and so on. The server's durations end at 292 years."""

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class LocalTimezone(dt.tzinfo):
    """The time zone of this machine, with summer time. It needs no name of the zone from the system."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        return (when or dt.datetime.now()).replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, when: dt.datetime | None) -> dt.timedelta | None:
        return None  # the system does not tell how much of the offset is summer time

    def tzname(self, when: dt.datetime | None) -> str | None:
        return (when or dt.datetime.now()).replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, when: dt.datetime) -> dt.datetime:
        # A conversion from a timestamp sets `fold`: it tells which moment is meant if the clock shows a time twice.
        return dt.datetime.fromtimestamp(when.replace(tzinfo=dt.timezone.utc).timestamp()).replace(tzinfo=self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalTimezone)

    def __hash__(self) -> int:
        return hash(LocalTimezone)

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalTimezone, ()

    def __repr__(self) -> str:
        return "<LocalTimezone>"


class _Timezone:
    """Celery's `timezone` object: UTC, the local time zone, and conversions between zones."""

    utc = UTC

    @cached_property
    def local(self) -> dt.tzinfo:
        return LocalTimezone()

    def get_timezone(self, zone: str | dt.tzinfo) -> dt.tzinfo:
        return zoneinfo.ZoneInfo(zone) if isinstance(zone, str) else zone

    def tz_or_local(self, tzinfo: str | dt.tzinfo | None = None) -> dt.tzinfo:
        return self.local if tzinfo is None else self.get_timezone(tzinfo)

    def to_local(
        self, when: dt.datetime, local: str | dt.tzinfo | None = None, orig: dt.tzinfo | None = None
    ) -> dt.datetime:
        aware = make_aware(when, orig or self.utc) if is_naive(when) else when
        return localize(aware, self.tz_or_local(local))

    def to_system(self, when: dt.datetime) -> dt.datetime:
        return when.astimezone(tz=None)

    def to_local_fallback(self, when: dt.datetime) -> dt.datetime:
        return make_aware(when, self.local) if is_naive(when) else localize(when, self.local)


timezone = _Timezone()


def zone_of(app: AppLike) -> dt.tzinfo:
    """Return the time zone of an app's schedules.

    That is its `timezone` setting. Without it, the zone is UTC, or local time with `enable_utc = false`.
    """
    zone = app.conf.timezone
    if zone:
        try:
            return timezone.get_timezone(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ImproperlyConfigured(
                f"celery.timezone = {zone!r} is no time zone that this machine knows: set it to a name like "
                "Europe/Paris; a machine without time zones needs pip install tzdata"
            ) from None
    return timezone.utc if app.conf.enable_utc else timezone.local


# --- naive and aware -------------------------------------------------------------------------------


def is_naive(when: dt.datetime) -> bool:
    return when.utcoffset() is None


def make_aware(when: dt.datetime, tz: dt.tzinfo) -> dt.datetime:
    """Return the naive time `when` as a time of this zone.

    If the clocks skip the time, it moves on past the gap. If the clocks show it twice, the earlier moment is meant.
    """
    aware = when.replace(tzinfo=tz)
    if not _offset_depends_on_fold(aware):
        return aware
    return _past_the_gap(aware) if _is_skipped(aware) else aware.replace(fold=0)


def localize(when: dt.datetime, tz: dt.tzinfo) -> dt.datetime:
    """Convert a UTC time, or a naive time of this zone, to this zone. A time of any other zone stays, as in Celery."""
    aware = make_aware(when, tz) if is_naive(when) else when
    return aware.astimezone(tz) if aware.tzinfo == UTC else aware


def to_utc(when: dt.datetime) -> dt.datetime:
    """Return a naive time as a time in UTC."""
    return make_aware(when, UTC)


def maybe_make_aware(when: dt.datetime, tz: str | dt.tzinfo | None = None, naive_as_utc: bool = True) -> dt.datetime:
    """Return a naive time as an aware time of this zone; return an aware time unchanged.

    The naive time is read as UTC, or as a time of this zone if `naive_as_utc` is false.
    """
    if not is_naive(when):
        return when
    return localize(to_utc(when) if naive_as_utc else when, UTC if tz is None else timezone.get_timezone(tz))


def maybe_iso8601(when: dt.datetime | str | None) -> dt.datetime | None:
    """Return a datetime. A string is read as ISO 8601."""
    if not when:
        return None
    if isinstance(when, dt.datetime):
        return when
    # Python 3.10 can't read a Z at the end.
    return dt.datetime.fromisoformat(when[:-1] + "+00:00" if when[-1] in "zZ" else when)


def _utc(when: dt.datetime) -> dt.datetime:
    return when.astimezone(UTC)


def _offset_depends_on_fold(when: dt.datetime) -> bool:
    """Return whether a clock change skips this time, or shows it twice."""
    return when.replace(fold=0).utcoffset() != when.replace(fold=1).utcoffset()


def _is_skipped(when: dt.datetime) -> bool:
    return _utc(when).astimezone(when.tzinfo).replace(tzinfo=None) != when.replace(tzinfo=None)


def _past_the_gap(when: dt.datetime) -> dt.datetime:
    before, after = (when - DAY).utcoffset(), (when + DAY).utcoffset()
    assert before is not None
    assert after is not None
    return when + (after - before)


# --- how long until --------------------------------------------------------------------------------


def maybe_timedelta(delta: Any) -> Any:
    """Return a number of seconds as a timedelta, and any other value unchanged."""
    return dt.timedelta(seconds=delta) if isinstance(delta, (int, float)) else delta


def add_seconds_to_datetime(when: dt.datetime, seconds: float) -> dt.datetime:
    """Return the time that is so many real seconds after `when`, also across a clock change."""
    delta = dt.timedelta(seconds=seconds)
    return when + delta if is_naive(when) else (_utc(when) + delta).astimezone(when.tzinfo)


def subtract_datetimes(end: dt.datetime, start: dt.datetime) -> dt.timedelta:
    """Return the real time between two times. A naive time is read as UTC."""
    return _utc(maybe_make_aware(end)) - _utc(maybe_make_aware(start))


def delta_resolution(when: dt.datetime, delta: dt.timedelta) -> dt.datetime:
    """Round `when` down to whole days, hours or minutes: the largest unit that fits in `delta`."""
    if delta >= DAY:
        return when.replace(hour=0, minute=0, second=0, microsecond=0)
    if delta >= HOUR:
        return when.replace(minute=0, second=0, microsecond=0)
    if delta >= MINUTE:
        return when.replace(second=0, microsecond=0)
    return when


class ffwd:
    """A step that can be added to a time. It sets fields, then goes on to a day of the week, then adds whole weeks."""

    def __init__(
        self,
        year: int | None = None,
        month: int | None = None,
        weeks: int = 0,
        weekday: int | None = None,
        day: int | None = None,
        hour: int | None = None,
        minute: int | None = None,
        second: int | None = None,
        microsecond: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.year = year
        self.month = month
        self.weeks = weeks
        self.weekday = weekday
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
        self.microsecond = microsecond
        self.days = weeks * 7

    def _fields(self) -> dict[str, int]:
        names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def __radd__(self, other: Any) -> Any:
        if not isinstance(other, dt.date):
            return NotImplemented
        year, month = self.year or other.year, self.month or other.month
        day = min(calendar.monthrange(year, month)[1], self.day or other.day)
        made = other.replace(**{**self._fields(), "year": year, "month": month, "day": day})
        if self.weekday is not None:
            made += dt.timedelta(days=(self.weekday - made.weekday()) % 7)
        return made + dt.timedelta(days=self.days)

    def __repr__(self) -> str:
        fields = {**self._fields(), "weeks": self.weeks, "weekday": self.weekday}
        return f"ffwd({', '.join(f'{name}={value!r}' for name, value in fields.items() if value is not None)})"


def remaining(start: dt.datetime, ends_in: Any, now: dt.datetime | None = None, relative: bool = False) -> dt.timedelta:
    """Return the time from `now` until `start` plus `ends_in`; negative if that end has passed.

    `ends_in` is a timedelta or an `ffwd`. With `relative` the end is a round time: midnight for steps of days, a whole
    hour or minute for shorter steps. It is the last round time before the plain end, but later than the start.
    """
    if relative:
        end = _end_in_days(start, ends_in) if ends_in >= DAY else _end_within_a_day(start, ends_in)
    elif isinstance(ends_in, dt.timedelta):
        end = add_seconds_to_datetime(start, ends_in.total_seconds())
    else:
        end = start + ends_in
    return _utc(end) - _utc(now or dt.datetime.now(UTC))


def _end_in_days(start: dt.datetime, delta: dt.timedelta) -> dt.datetime:
    # Steps of days follow the calendar: on the day of a clock change, 24 hours later may be the wrong day.
    end = start + delta
    return min((time for time in _rounded(end, delta) if time > _utc(start)), default=_utc(end))


def _end_within_a_day(start: dt.datetime, delta: dt.timedelta) -> dt.datetime:
    begin = _utc(start)
    end = begin + delta
    local_end = add_seconds_to_datetime(start, delta.total_seconds())
    candidates = _rounded(local_end, delta)
    best = _last_up_to(end, candidates, min(candidates))
    if best > begin or delta < MINUTE:
        return best
    # The clocks went back over the round time. Look also at the next round time, and at the time on the wall clock.
    step = HOUR if delta >= HOUR else MINUTE
    candidates += _rounded(local_end + step, delta) + _rounded(start + delta, delta)
    later = [time for time in candidates if time > begin]
    return _last_up_to(end, later, min(later, default=end))


def _last_up_to(end: dt.datetime, candidates: list[dt.datetime], otherwise: dt.datetime) -> dt.datetime:
    return max((time for time in candidates if time <= end), default=otherwise)


def _rounded(when: dt.datetime, delta: dt.timedelta) -> list[dt.datetime]:
    """Return the moments, in UTC, at which a clock shows `when` rounded down for steps of `delta`.

    There are two moments, which differ if the clock shows the time twice.
    """
    shown = delta_resolution(when, delta).replace(microsecond=0)
    moments = []
    for fold in (0, 1):
        time = shown.replace(fold=fold)
        if _is_skipped(time):
            # In a zone without folds, a time that is shown twice looks like a skipped time. It must not move back.
            time = max(time, _past_the_gap(time))
        moments.append(_utc(time))
    return moments


# --- words -----------------------------------------------------------------------------------------


def weekday(name: str) -> int:
    """Return the number of a day of the week, from the first three letters of its English name; Sunday is 0."""
    return _position(name, DAYS)


def yearmonth(name: str) -> int:
    """Return the number of a month, from the first three letters of its English name; January is 1."""
    return _position(name, MONTHS) + 1


def _position(name: str, names: tuple[str, ...]) -> int:
    try:
        return names.index(name[:3].lower())
    except ValueError:
        raise KeyError(name) from None


def humanize_seconds(secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False) -> str:
    """Return a number of seconds as text, in the largest unit that fits: 90 gives `1.50 minutes`."""
    secs = round(float(secs), 2)
    for unit, size in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0)):
        if secs >= size:
            count = secs / size
            return f"{prefix}{sep}{count:.2f} {unit}{'' if count == 1 else 's'}"
    return f"{prefix}{sep}{secs:.2f} seconds" if microseconds and secs > 0 else now


def rate(r: str | float | None) -> float:
    """Return the tasks per second of a rate limit such as `100/m`, `2/h` or `0.5/s`."""
    if not isinstance(r, str):
        return r or 0
    count, _, unit = r.partition("/")
    return float(count) / {"s": 1, "m": 60, "h": 3600}[unit or "s"] if r else 0


def get_exponential_backoff_interval(factor: int, retries: int, maximum: int, full_jitter: bool = False) -> int:
    """Return the seconds to wait before retry number `retries`, for the task option `retry_backoff`."""
    countdown = int(exponential_pause(factor, retries, maximum))
    return max(0, random.randrange(countdown + 1) if full_jitter else countdown)
