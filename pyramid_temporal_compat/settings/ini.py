"""Settings in ini files: `ptemporal.*` and `celery.*` keys, and the sections that pyramid_celery reads."""

from __future__ import annotations

import configparser
import datetime
import difflib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..exceptions import CeleryWarning, ImproperlyConfigured, UnknownSetting
from .table import SETTINGS, celery_name, misspelled, resolve, warn_of_own_key
from .values import boolean, mapping, text

Sections = Mapping[str, Mapping[str, str]]
BEAT_KEYS = frozenset({"task", "schedule", "args", "kwargs", "options", "relative", "enabled"})
SECTION = re.compile(r"celery$|celery:|celerybeat:|celeryroutes?$|celeryroute:")


@dataclass(frozen=True)
class CrontabFields:
    """The fields of a crontab as an ini file has them. `schedules` makes the schedule from them."""

    minute: str | int = "*"
    hour: str | int = "*"
    day_of_week: str | int = "*"
    day_of_month: str | int = "*"
    month_of_year: str | int = "*"


def read_ini(path: str | os.PathLike[str], app: str = "main") -> dict[str, Any]:
    """Return the settings of the ini file at `path`, from `[app:NAME]` and from Celery's sections."""
    sections = read_sections(path, lambda section: SECTION.match(section) or _is_application(section))
    return from_pyramid(sections.get(f"app:{app}") or sections.get(app) or {}, sections)


def celery_sections(path: str | os.PathLike[str], variables: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return Celery's sections of an ini file. `variables` are Paste's: `%(port)s` stands for the one named `port`."""
    return read_sections(path, SECTION.match, variables)


def read_sections(
    path: str | os.PathLike[str], wanted: Callable[[str], object], variables: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """Return the wanted sections of an ini file, with `%(here)s`, `%(ENV_NAME)s` and the variables replaced."""
    given = _given(path, variables or {})
    with _parsed(path, given) as parser:
        return {section: _options(parser, section, given) for section in parser.sections() if wanted(section)}


def value_of_application(path: str | os.PathLike[str], key: str, variables: Mapping[str, str]) -> str | None:
    """Return an option of the first application in an ini file that sets it; None if none does.

    The variables of the file's other options need no value.
    """
    with _parsed(path, _given(path, variables)) as parser:
        sections = [section for section in parser.sections() if _is_application(section)]
        return next((value for section in sections if (value := parser.get(section, key, fallback=None))), None)


def _given(path: str | os.PathLike[str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return what `%(name)s` can stand for in an ini file."""
    file = Path(path).resolve()
    environ = {f"ENV_{name}": value for name, value in os.environ.items()}
    return {"here": str(file.parent), "__file__": str(file), **environ, **variables}


@contextmanager
def _parsed(path: str | os.PathLike[str], given: Mapping[str, str]) -> Iterator[configparser.ConfigParser]:
    """Parse an ini file. An error in the file, also one that the block meets, is an `ImproperlyConfigured`."""
    parser = configparser.ConfigParser()
    # Task names keep their case in [celeryroutes].
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_dict({parser.default_section: {name: value.replace("%", "%%") for name, value in given.items()}})
    try:
        with Path(path).open(encoding="utf-8") as stream:
            parser.read_file(stream)
        yield parser
    except OSError as error:
        raise ImproperlyConfigured(f"the ini file {os.fspath(path)!r} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ImproperlyConfigured(f"the ini file {os.fspath(path)!r} can't be read: {error.reason}") from None
    except configparser.Error as error:
        raise unreadable(path, error) from None


def unreadable(path: str | os.PathLike[str], error: configparser.Error) -> ImproperlyConfigured:
    """Return the error about an ini file. Unlike the parser's own error, it shows no value, which may be a secret."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        reason = f"line {error.lineno} stands before the first [section]"
    elif isinstance(error, configparser.ParsingError):
        reason = f"line {', '.join(str(line) for line, _ in error.errors)} is neither [section] nor name = value"
    elif isinstance(error, configparser.InterpolationMissingOptionError):
        reason = f"{error.option} in [{error.section}] refers to %({error.reference})s, which is not set"
    elif isinstance(error, configparser.InterpolationError):
        reason = f"{error.option} in [{error.section}] has a % that can't be replaced; write a percent sign as %%"
    else:
        reason = " ".join(str(error).split())
    return ImproperlyConfigured(f"the ini file {os.fspath(path)!r} can't be read: {reason}")


def from_pyramid(settings: Mapping[str, Any], sections: Sections | None = None) -> dict[str, Any]:
    """Return the settings from a registry's `settings`, which win, and from the `sections` of its ini file.

    An empty value counts as none.
    """
    found: dict[str, Any] = {}
    for section, values in (sections or {}).items():
        _take_section(found, section, values)
    if found.get("use_celeryconfig"):
        # As in pyramid_celery: the module is then the configuration, and the sections are not.
        found = {"use_celeryconfig": True}
    for key, value in settings.items():
        if not isinstance(key, str) or not key.lower().startswith(("ptemporal.", "celery.")):
            continue
        if value in ("", None):
            continue
        if name := resolve(key):
            found[name] = read_value(name, key, value)
        elif option := option_of(key):
            found[option.setting] = {**(found.get(option.setting) or {}), option.name: _option(key, value)}
        else:
            warn_of_own_key(key, key.partition(".")[2])
    return found


class Option(NamedTuple):
    """One entry of a setting that is a mapping."""

    setting: str
    name: str


def option_of(key: str) -> Option | None:
    """Return what `celery.SETTING.NAME` sets, such as `celery.broker_transport_options.visibility_timeout`."""
    _, _, rest = key.partition(".")
    first, dot, name = rest.partition(".")
    setting = celery_name(first)
    if not dot or setting is None or SETTINGS[setting].kind is not mapping:
        return None
    return Option(setting, name)


def _option(key: str, value: Any) -> Any:
    return json_or_text(key, value) if isinstance(value, str) else value


def read_value(name: str, key: str, value: Any) -> Any:
    """Return the value of the setting `name`, which a file has under `key`."""
    # A program that makes the settings itself may give them any value that `app.conf` takes.
    if not isinstance(value, str) and not name.startswith("ptemporal."):
        return value
    read = SETTINGS[name].parse(value, key)
    if name == "beat_schedule":
        return {entry: _beat_entry(f"{key}: {entry}", fields) for entry, fields in read.items()}
    return read


def _is_application(section: str) -> bool:
    return section == "main" or section.startswith("app:")


def _options(parser: configparser.ConfigParser, section: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return a section's options. The options of [DEFAULT] are left out, because they are no Celery settings."""
    defaults = parser.defaults()
    return {
        key: parser.get(section, key)
        for key in parser.options(section)
        if key not in given and (_is_application(section) or parser.get(section, key, raw=True) != defaults.get(key))
    }


def _take_section(found: dict[str, Any], section: str, values: Mapping[str, str]) -> None:
    """Add the settings of one of Celery's sections to `found`."""
    kind, _, name = section.partition(":")
    if section == "celery":
        _take_celery(found, values)
    elif kind == "celery":
        _take_options(found, section, name, values)
    elif kind == "celerybeat" and name:
        found.setdefault("beat_schedule", {})[name] = _beat_entry(f"[{section}]", beat_fields(section, values))
    elif kind == "celeryroute" and name:
        found.setdefault("task_routes", {})[name] = _route(section, values)
    elif section == "celeryroutes":
        routes = found.setdefault("task_routes", {})
        routes.update({pattern: json_or_text(f"[{section}] {pattern}", value) for pattern, value in values.items()})


def _take_celery(found: dict[str, Any], values: Mapping[str, str]) -> None:
    for key, value in values.items():
        if key.lower() == "use_celeryconfig":
            found["use_celeryconfig"] = _checked(boolean.parse, f"[celery] {key}", value, boolean.takes)
        elif name := celery_name(key):
            if value.strip():
                found[name] = read_value(name, f"[celery] {key}", value)
        else:
            # Celery lets an application keep keys of its own here; one that looks like a slip is pointed out.
            if near := difflib.get_close_matches(key.lower(), SETTINGS, n=1, cutoff=0.85):
                warnings.warn(f"[celery] has {key!r}, which is no setting; did you mean {near[0]!r}?", CeleryWarning, 2)
            found[key] = value


def _take_options(found: dict[str, Any], section: str, name: str, values: Mapping[str, str]) -> None:
    """Read a section that is the value of a setting, such as `[celery:broker_transport_options]`."""
    setting = celery_name(name)
    if setting is not None:
        found[setting] = {key: json_or_text(f"[{section}] {key}", value) for key, value in values.items()}
    elif meant := misspelled(name):
        raise UnknownSetting(f"there is no setting for [{section}]; did you mean [celery:{meant}]?")
    else:
        warn_of_own_key(f"[{section}]", name)


def beat_fields(section: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a periodic task from its section. The type and the schedule become one field."""
    fields: dict[str, Any] = {}
    for key, value in values.items():
        if key in ("task", "type"):
            fields[key] = _checked(text.parse, f"[{section}] {key}", value, text.takes)
        else:
            fields[key] = _checked(json.loads, f"[{section}] {key}", value, "JSON")
    if "type" in fields and "schedule" in fields:
        fields["schedule"] = {fields.pop("type"): fields["schedule"]}
    return fields


def _beat_entry(where: str, entry: Any) -> dict[str, Any]:
    """Read a periodic task from a file. Its `schedule` becomes seconds, a timedelta, or the fields of a crontab."""
    if not isinstance(entry, dict) or not isinstance(entry.get("task"), str) or "schedule" not in entry:
        raise ImproperlyConfigured(f"{where} = {entry!r}: a periodic task needs a task and a schedule (and its type)")
    if more := sorted(set(entry) - BEAT_KEYS):
        near = difflib.get_close_matches(more[0], BEAT_KEYS, n=1, cutoff=0.0)
        raise ImproperlyConfigured(f"{where} has {more[0]!r}; the nearest that a periodic task takes is {near[0]!r}")
    return {**entry, "schedule": _schedule(where, entry["schedule"])}


def _schedule(where: str, schedule: Any) -> Any:
    if isinstance(schedule, (int, float)) and not isinstance(schedule, bool) and schedule > 0:
        return schedule
    if isinstance(schedule, dict) and len(schedule) == 1:
        ((kind, value),) = schedule.items()
        try:
            if kind == "crontab":
                return CrontabFields(**value)
            if kind == "timedelta":
                return datetime.timedelta(**value)
            if kind == "integer":
                return int(value)
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"{where} has the {kind} {value!r}, which can't be read: {error}") from None
    raise ImproperlyConfigured(
        f"{where} has the schedule {schedule!r}: it takes seconds above 0, or a type of crontab "
        '({"minute": 0, "hour": "*/2"}), timedelta ({"seconds": 30}) or integer (30)'
    )


def _route(section: str, values: Mapping[str, str]) -> dict[str, str]:
    if not values.get("queue"):
        raise ImproperlyConfigured(f"[{section}] needs a queue, as `queue = videos`")
    return {key: values[key] for key in ("queue", "routing_key") if values.get(key)}


def json_or_text(where: str, value: str) -> Any:
    """Return a value that is JSON, or the text itself if it is none."""
    if value.lstrip()[:1] in ("{", "[", '"'):
        return _checked(json.loads, where, value, "JSON, or a plain text")
    try:
        return json.loads(value)
    except ValueError:
        return value


def _checked(parse: Callable[[str], Any], where: str, value: str, takes: str) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{where} = {value!r} can't be read ({error}): it takes {takes}") from None
