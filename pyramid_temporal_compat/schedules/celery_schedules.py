"""Tell when periodic tasks are due: `schedule` and `crontab`, with the API of `celery.schedules`."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from ..current import current_app
from ..settings import CrontabFields
from .timezones import (
    UTC,
    ffwd,
    humanize_seconds,
    maybe_make_aware,
    maybe_timedelta,
    remaining,
    timezone,
    weekday,
    yearmonth,
    zone_of,
)

if TYPE_CHECKING:
    from ..interfaces import AppLike

Cronspec = int | str | Iterable[int]

# Within this many years the 29th of February falls on each day of the week at least once, even around 2100, which is no
# leap year.
LONGEST_SEARCH_YEARS = 41


class schedstate(NamedTuple):
    """The answer of `is_due`: whether to run now, and in how many seconds to ask again."""

    is_due: bool
    next: float


class ParseException(Exception):
    """A crontab expression can't be read."""


class SchedulingError(Exception):
    """A periodic task could not be sent."""


class BaseSchedule:
    """The base class of schedules: a subclass defines `remaining_estimate` and `is_due`."""

    def __init__(self, nowfun: Callable[[], dt.datetime] | None = None, app: AppLike | None = None) -> None:
        self.nowfun = nowfun
        self._app = app

    @property
    def app(self) -> AppLike:
        return self._app or current_app()

    @app.setter
    def app(self, app: AppLike | None) -> None:
        self._app = app

    @cached_property
    def tz(self) -> dt.tzinfo:
        """The time zone of the schedule."""
        return zone_of(self.app)

    @cached_property
    def utc_enabled(self) -> bool:
        return bool(self.app.conf.enable_utc)

    def now(self) -> dt.datetime:
        return self.nowfun() if self.nowfun else dt.datetime.now(UTC).astimezone(zone_of(self.app))

    def remaining_estimate(self, last_run_at: dt.datetime) -> dt.timedelta:
        """Return the time until the run that follows `last_run_at`; negative if that run is overdue."""
        raise TypeError(f"a schedule defines remaining_estimate(); {type(self).__qualname__} does not")

    def is_due(self, last_run_at: dt.datetime) -> tuple[bool, float]:
        """Return whether to run now, and the seconds after which to ask again."""
        raise TypeError(f"a schedule defines is_due(); {type(self).__qualname__} does not")

    def maybe_make_aware(self, dt: dt.datetime, naive_as_utc: bool = True) -> dt.datetime:
        return maybe_make_aware(dt, self.tz, naive_as_utc=naive_as_utc)

    def to_local(self, dt: dt.datetime) -> dt.datetime:
        return dt if self.utc_enabled else timezone.to_local_fallback(dt)

    def __eq__(self, other: object) -> bool:
        return other.nowfun == self.nowfun if isinstance(other, BaseSchedule) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # schedules that are equal now may differ later: their app is set afterwards


class schedule(BaseSchedule):
    """A run every so many seconds.

    With `relative`, runs are at round times: whole minutes, hours or days, depending on the size of the interval.
    """

    def __init__(
        self,
        run_every: float | dt.timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], dt.datetime] | None = None,
        app: AppLike | None = None,
    ) -> None:
        self.run_every: dt.timedelta = maybe_timedelta(run_every)
        self.relative = relative
        super().__init__(nowfun=nowfun, app=app)

    relative = False

    @property
    def seconds(self) -> float:
        return max(self.run_every.total_seconds(), 0)

    @property
    def human_seconds(self) -> str:
        return humanize_seconds(self.seconds)

    def remaining_estimate(self, last_run_at: dt.datetime) -> dt.timedelta:
        last, now = self.maybe_make_aware(last_run_at), self.maybe_make_aware(self.now())
        return remaining(last, self.run_every, now, self.relative)

    def is_due(self, last_run_at: dt.datetime) -> tuple[bool, float]:
        last = self.maybe_make_aware(last_run_at)
        left = self.remaining_estimate(last).total_seconds()
        if left > 0:
            return schedstate(False, left)
        if self.relative:
            # This run may be late, so the next round time may be nearer than a whole interval.
            now = self.maybe_make_aware(self.now()).astimezone(last.tzinfo)
            until_round = self.remaining_estimate(now).total_seconds()
            if until_round > 0:
                return schedstate(True, until_round)
        return schedstate(True, self.seconds)

    def __eq__(self, other: object) -> bool:
        return bool(self.run_every == (other.run_every if isinstance(other, schedule) else other))

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_every, self.relative, self.nowfun)

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"


class crontab_parser:
    """Parses one field of a crontab: `crontab_parser(60).parse("*/15")` is {0, 15, 30, 45}.

    The field has `max_` numbers, from `min_` on.
    """

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.max_ = max_
        self.min_ = min_

    def parse(self, spec: str) -> set[int]:
        """Return the numbers that `spec` means.

        `spec` has parts, separated by commas. A part is written like `*`, `5`, `mon`, `1-5`, `*/2` or `8-18/2`.
        """
        return {number for part in spec.split(",") for number in self._part(part)}

    def _part(self, part: str) -> Sequence[int]:
        if not part:
            raise self.ParseException("empty part")
        # Like Celery, this ignores any text after the readable beginning of a part, such as blanks.
        if found := re.match(r"(\w+?)-(\w+)(/(\w+)?)?", part):
            return self._every(self._range(found[1], found[2]), found[3], found[4])
        if found := re.match(r"\*(/)(\w+)?|\*$", part):
            return self._every(range(self.min_, self.min_ + self.max_), found[1], found[2])
        return [self._number(part)]

    def _every(self, numbers: Sequence[int], slash: str | None, step: str | None) -> Sequence[int]:
        if slash is None:
            return numbers
        if not step:
            raise self.ParseException("empty filter")
        if int(step) == 0:
            raise ValueError("a step of 0 leads nowhere")
        return numbers[:: int(step)]

    def _range(self, first: str, last: str) -> Sequence[int]:
        begin, end = self._number(first), self._number(last)
        if begin <= end:
            return range(begin, end + 1)
        return [
            *range(begin, self.min_ + self.max_),
            *range(self.min_, end + 1),
        ]  # the range goes past the end, like fri-mon

    def _number(self, text: str) -> int:
        if text.startswith("-"):
            raise self.ParseException("negative numbers not supported")
        number = self._named(text)
        highest = self.min_ + self.max_ - 1
        if number > highest:
            raise ValueError(f"Invalid end range: {number} > {highest}.")
        if number < self.min_:
            raise ValueError(f"Invalid beginning range: {number} < {self.min_}.")
        return number

    def _named(self, text: str) -> int:
        for read in (int, yearmonth, weekday):
            try:
                return read(text)
            except (ValueError, KeyError):
                continue
        raise ValueError(f"Invalid weekday literal {text!r}.")


class crontab(BaseSchedule):
    """A run at every time that all five fields allow, in the app's time zone: `crontab(minute=0, hour="8-18/2")`.

    A field is a number, several numbers, or an expression for `crontab_parser`. A day must match all of day_of_month,
    month_of_year and day_of_week.
    """

    def __init__(
        self,
        minute: Cronspec = "*",
        hour: Cronspec = "*",
        day_of_week: Cronspec = "*",
        day_of_month: Cronspec = "*",
        month_of_year: Cronspec = "*",
        **kwargs: Any,
    ) -> None:
        # These are Celery's attribute names: libraries that keep schedules in a database read them.
        self._orig_minute = minute
        self._orig_hour = hour
        self._orig_day_of_week = day_of_week
        self._orig_day_of_month = day_of_month
        self._orig_month_of_year = month_of_year
        self._orig_kwargs = kwargs
        self.hour = _numbers(hour, 24)
        self.minute = _numbers(minute, 60)
        self.day_of_week = _numbers(day_of_week, 7)
        self.day_of_month = _numbers(day_of_month, 31, 1)
        self.month_of_year = _numbers(month_of_year, 12, 1)
        super().__init__(**kwargs)

    @classmethod
    def from_string(cls, crontab: str) -> crontab:
        """Return the schedule for a line of a crontab: minute, hour, day of the month, month, day of the week."""
        minute, hour, day_of_month, month_of_year, day_of_week = crontab.split(" ")
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    def remaining_delta(
        self, last_run_at: dt.datetime, tz: str | dt.tzinfo | None = None, ffwd: type[ffwd] = ffwd
    ) -> tuple[dt.datetime, Any, dt.datetime]:
        """Return the last run, the step from it to the next run, and the present time, in the schedule's time zone."""
        zone = timezone.get_timezone(tz or self.tz)
        last = self.maybe_make_aware(last_run_at).astimezone(zone)
        return last, ffwd(**self._step(last)), self.maybe_make_aware(self.now()).astimezone(zone)

    def remaining_estimate(self, last_run_at: dt.datetime, ffwd: type[ffwd] = ffwd) -> dt.timedelta:
        return remaining(*self.remaining_delta(last_run_at, ffwd=ffwd))

    def is_due(self, last_run_at: dt.datetime) -> tuple[bool, float]:
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, left)
        due = left == 0 or self._is_within_deadline()
        return schedstate(due, max(self.remaining_estimate(self.now()).total_seconds(), 0))

    def _is_within_deadline(self) -> bool:
        """Return whether the latest missed run is recent enough to be made up for."""
        deadline = self.app.conf.beat_cron_starting_deadline
        if deadline is None:
            return True
        now = self.maybe_make_aware(self.now())
        # A run at the deadline itself still counts.
        since = now.astimezone(UTC) - dt.timedelta(seconds=deadline, microseconds=1)
        return self.remaining_estimate(since.astimezone(now.tzinfo)).total_seconds() <= 0

    def _step(self, last: dt.datetime) -> dict[str, int]:
        """Return the fields of the date and time in which the next run differs from the last run."""
        step = {"minute": min(self.minute), "second": 0, "microsecond": 0}
        if self.has_day(last):
            minutes = [minute for minute in self.minute if minute > last.minute]
            if last.hour in self.hour and minutes:
                return {**step, "minute": min(minutes)}
            hours = [hour for hour in self.hour if hour > last.hour]
            if hours:
                return {**step, "hour": min(hours)}
        day = next((day for day in self._days_after(last) if self.has_day(day)), None)
        if day is None:
            raise RuntimeError(f"{self!r} has no day within {LONGEST_SEARCH_YEARS} years after {last:%Y-%m-%d}")
        return {**step, "year": day.year, "month": day.month, "day": day.day, "hour": min(self.hour)}

    def next_run(self, last_run_at: dt.datetime) -> dt.datetime:
        """Return the moment of the run that follows `last_run_at`, in UTC."""
        last, step, now = self.remaining_delta(last_run_at, tz=last_run_at.tzinfo)
        return now.astimezone(UTC) + remaining(last, step, now)

    def has_time(self, clock: dt.datetime) -> bool:
        """Return whether a run takes place when the clock shows a time."""
        return clock.minute in self.minute and clock.hour in self.hour and self.has_day(clock)

    def has_day(self, day: dt.date) -> bool:
        """Return whether runs take place on a day."""
        return (
            day.month in self.month_of_year
            and day.day in self.day_of_month
            and day.isoweekday() % 7 in self.day_of_week  # Sunday is 0 in a crontab
        )

    def _days_after(self, last: dt.date) -> Iterator[dt.date]:
        """Yield the days after `last` that match month_of_year and day_of_month."""
        days, months = sorted(self.day_of_month), sorted(self.month_of_year)
        for year in range(last.year, last.year + LONGEST_SEARCH_YEARS):
            for month in months:
                if (year, month) < (last.year, last.month):
                    continue
                for day in days:
                    if day <= calendar.monthrange(year, month)[1] and (year, month, day) > _ymd(last):
                        yield dt.date(year, month, day)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, crontab):
            return NotImplemented
        fields = ("month_of_year", "day_of_month", "day_of_week", "hour", "minute", "nowfun")
        return all(getattr(self, field) == getattr(other, field) for field in fields)

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        fields = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
        return type(self), tuple(getattr(self, f"_orig_{field}") for field in fields), self._orig_kwargs

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__init__(**state)
        self._orig_kwargs = dict(state)

    def __repr__(self) -> str:
        time = f"{self._orig_minute} {self._orig_hour}"
        day = f"{self._orig_day_of_month} {self._orig_month_of_year} {self._orig_day_of_week}"
        return f"<crontab: {time} {day} (m/h/dM/MY/d)>"


def maybe_schedule(s: Any, relative: bool = False, app: AppLike | None = None) -> Any:
    """Return the schedule that `s` means: seconds, a timedelta, a crontab from an ini file, or a schedule.

    The schedule gets the app.
    """
    if s is None:
        return None
    if isinstance(s, CrontabFields):
        s = crontab(s.minute, s.hour, s.day_of_week, s.day_of_month, s.month_of_year)
    s = maybe_timedelta(s)
    if isinstance(s, dt.timedelta):
        return schedule(s, relative, app=app)
    s.app = app
    return s


def _numbers(spec: Cronspec, count: int, lowest: int = 0) -> set[int]:
    """Return the numbers of one field. The field allows `count` numbers, from `lowest` on."""
    if isinstance(spec, int):
        numbers = {spec}
    elif isinstance(spec, str):
        numbers = crontab_parser(count, lowest).parse(spec)
    elif isinstance(spec, Iterable):
        numbers = set(spec)
    else:
        raise TypeError(
            f"Argument cronspec needs to be of any of the following types: int, str, or an iterable type. "
            f"{type(spec)!r} was given."
        )
    for number in numbers:
        if not isinstance(number, Integral):
            raise TypeError(f"a field of a crontab takes whole numbers, and {number!r} is none")
        if not lowest <= number < lowest + count:
            raise ValueError(
                f"Invalid crontab pattern. Valid range is {lowest}-{lowest + count - 1}. '{number}' was found."
            )
    return numbers


def _ymd(day: dt.date) -> tuple[int, int, int]:
    return day.year, day.month, day.day
