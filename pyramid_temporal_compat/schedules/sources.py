"""Where periodic tasks are declared: `beat_schedule`, which every other form fills, and a callable for a database."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..exceptions import CeleryError, ImproperlyConfigured
from ..log_lines.error_place import place_of
from ..log_lines.text_safety import one_line
from ..settings.config_objects import import_object
from .entries import BadEntry, Entry, read_entry

if TYPE_CHECKING:
    from ..interfaces import AppLike


def declares_any(app: AppLike) -> bool:
    """Return whether the application declares periodic tasks at all."""
    return bool(app.conf["beat_schedule"] or app.conf["ptemporal.schedules"])


def declared_entries(app: AppLike) -> list[Entry]:
    """Return every periodic task of the application, by name. The task modules must have been imported.

    Raises `BadEntry` for the first entry that can't be scheduled.
    """
    found: dict[str, Entry] = {}
    for name, declared in enabled(app):
        if name in found:
            raise BadEntry(name, "the name is used twice, in beat_schedule and by ptemporal.schedules")
        found[name] = read_entry(app, name, declared)
    return [found[name] for name in sorted(found)]


def declared_entry(app: AppLike, entry: str) -> Entry | None:
    """Return one periodic task of the application; None if no entry has this name."""
    return next((read_entry(app, name, declared) for name, declared in enabled(app) if name == entry), None)


def declared_names(app: AppLike) -> list[str]:
    """Return the names of the application's periodic tasks. The task modules need not have been imported."""
    return [str(name) for name, _ in enabled(app)]


def enabled(app: AppLike) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yield every entry that is not switched off, with its name."""
    for name, declared in itertools.chain(from_setting(app), from_callable(app)):
        if not isinstance(declared, Mapping):
            raise BadEntry(name, f"it is {declared!r}, and an entry is a dict with a task and a schedule")
        if declared.get("enabled", True):
            yield name, declared


def from_setting(app: AppLike) -> Iterable[tuple[Any, Any]]:
    given: Any = app.conf["beat_schedule"]
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"beat_schedule is {given!r}; it takes a dict of entries by their names")
    return given.items()


def from_callable(app: AppLike) -> Iterator[tuple[Any, Any]]:
    """Yield the entries of the callable that `ptemporal.schedules` names."""
    setting = app.conf["ptemporal.schedules"]
    if setting is None:
        return
    given = given_by(setting, app)
    if isinstance(given, Mapping):
        yield from given.items()
        return
    seen: set[Any] = set()
    for each in given:
        if not isinstance(each, Mapping) or "name" not in each:
            raise ImproperlyConfigured(f"ptemporal.schedules = {setting} gives {each!r}, which has no name")
        if each["name"] in seen:
            raise BadEntry(each["name"], f"ptemporal.schedules = {setting} gives the name twice")
        seen.add(each["name"])
        yield each["name"], each


def given_by(setting: str, app: AppLike) -> Mapping[Any, Any] | list[Any]:
    """Return what the application's callable gives. Its errors become `ImproperlyConfigured`, with their place."""
    try:
        given: Any = import_object(setting)(app)
        if isinstance(given, Mapping):
            return given
        if isinstance(given, Iterable):
            return list(given)
    except CeleryError:
        raise
    except Exception as error:
        text = one_line(f"{type(error).__name__}: {error}")
        raise ImproperlyConfigured(f"ptemporal.schedules = {setting} has failed: {text} ({place_of(error)})") from error
    raise ImproperlyConfigured(f"ptemporal.schedules = {setting} gives {given!r}, and not a mapping or a list")
