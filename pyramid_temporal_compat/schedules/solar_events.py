"""`solar`: a run at sunrise, sunset or another event of the sun, with the API of `celery.schedules.solar`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..exceptions import ImproperlyConfigured
from .celery_schedules import BaseSchedule, schedstate
from .timezones import UTC

if TYPE_CHECKING:
    from ..interfaces import AppLike


class Event(NamedTuple):
    """How ephem finds an event of the sun."""

    search: str
    """The method of ephem's observer."""
    height: str = "0"
    """Degrees of the sun above the horizon. Sunrise allows for the sun's radius and the bending of its light."""
    by_centre: bool = False
    """Whether the sun's centre counts, and not its upper edge."""


EVENTS: Mapping[str, Event] = {
    "dawn_astronomical": Event("next_rising", "-18", True),
    "dawn_nautical": Event("next_rising", "-12", True),
    "dawn_civil": Event("next_rising", "-6", True),
    "sunrise": Event("next_rising", "-0:34"),
    "solar_noon": Event("next_transit"),
    "sunset": Event("next_setting", "-0:34"),
    "dusk_civil": Event("next_setting", "-6", True),
    "dusk_nautical": Event("next_setting", "-12", True),
    "dusk_astronomical": Event("next_setting", "-18", True),
}


class solar(BaseSchedule):
    """A run at each occurrence of an event of the sun: `solar("sunset", -37.81753, 144.96715)`.

    Where the sun does not rise or set on a day, as beyond the polar circles, the day has no run.
    """

    max_search_days = 366
    """How far the search for an event goes. Some events do not come every day."""
    _all_events = frozenset(EVENTS)  # Celery's attribute, from which django_celery_beat makes a list of choices

    def __init__(
        self,
        event: str,
        lat: float,
        lon: float,
        nowfun: Callable[[], dt.datetime] | None = None,
        app: AppLike | None = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        if event not in EVENTS:
            raise ValueError(f"Event {event!r} is not valid: it must be one of {', '.join(sorted(EVENTS))}.")
        if not -90 <= lat <= 90:
            raise ValueError(f"Latitude {lat} is invalid: it must be between -90 and 90.")
        if not -180 <= lon <= 180:
            raise ValueError(f"Longitude {lon} is invalid: it must be between -180 and 180.")
        self.ephem = ephem()
        self.event, self.lat, self.lon = event, lat, lon
        self.cal = self.ephem.Observer()
        self.cal.lat, self.cal.lon = str(lat), str(lon)
        self.cal.elev = self.cal.pressure = 0
        self.cal.horizon = EVENTS[event].height
        self.method = EVENTS[event].search
        self.use_center = EVENTS[event].by_centre

    def next_event(self, after: dt.datetime) -> dt.datetime:
        """Return the next time of the event. If it never comes, return the time at which the search ends."""
        options = {"use_center": True} if self.use_center else {}
        sun, start = self.ephem.Sun(), self.ephem.Date(after.astimezone(UTC).replace(tzinfo=None))
        for _ in range(self.max_search_days):
            try:
                start = getattr(self.cal, self.method)(sun, start=start, **options)
                break
            except self.ephem.CircumpolarError:  # the day has no such event
                start = self.cal.next_antitransit(sun, start=start)
        found: dt.datetime = start.datetime()
        return found.replace(tzinfo=UTC)

    def remaining_estimate(self, last_run_at: dt.datetime) -> dt.timedelta:
        now = self.maybe_make_aware(self.now()).astimezone(UTC)
        return self.next_event(self.maybe_make_aware(last_run_at)) - now

    def is_due(self, last_run_at: dt.datetime) -> tuple[bool, float]:
        left = max(self.remaining_estimate(last_run_at).total_seconds(), 0)
        if left > 0:
            return schedstate(False, left)
        return schedstate(True, max(self.remaining_estimate(self.now()).total_seconds(), 0))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, solar):
            return NotImplemented
        return (other.event, other.lat, other.lon) == (self.event, self.lat, self.lon)

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.event, self.lat, self.lon)

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"


def ephem() -> Any:
    try:
        import ephem  # an extra: few applications have schedules of the sun
    except ImportError:
        raise ImproperlyConfigured(
            "solar() needs the package ephem: pip install pyramid-temporal-compat[solar]"
        ) from None
    return ephem
