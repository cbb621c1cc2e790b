"""Turns Celery's settings of an ini file into keys of the application's section, and back.

Values and comments stay as they are. A note names each setting that can't be carried over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..exceptions import ImproperlyConfigured
from ..settings.declare import Effect
from ..settings.ini import beat_fields, json_or_text
from ..settings.table import SETTINGS, celery_name
from .findings import Edit, applied
from .ini_text import Entry, Section, sections

INCLUDES = "pyramid.includes"
PACKAGE = "pyramid_temporal_compat"
MODULES = ("imports", "include")
ADDRESS = "ptemporal.address"
INCLUDE = "ptemporal.include"


@dataclass
class Converted:
    text: str
    notes: list[str] = field(default_factory=list)


def to_keys(text: str, *, address: str, names: str = "new", more: Iterable[tuple[str, str]] = ()) -> Converted:
    """Return the ini with all of Celery's settings as keys of the application's section.

    `more` are settings from elsewhere, such as a module: name and value as the ini has it.
    """
    return _ToKeys(text, address, names).done(more)


def application_section(found: list[Section]) -> Section:
    applications = [each for each in found if each.name.startswith("app:")]
    main = [each for each in applications if each.name == "app:main"] or applications
    if not main:
        raise ImproperlyConfigured("the file has no section [app:main], so it is no ini file of a Pyramid application")
    return main[0]


def written_name(name: str, names: str) -> str:
    """Return the name of a setting as it is to be written: the new one, or Celery 3's."""
    setting = SETTINGS[name]
    return setting.old[0] if names == "old" and setting.old else name


def in_place_of_pyramid_celery(text: str, entry: Entry) -> Edit | None:
    """Return the edit that includes this package in the place of pyramid_celery; None if the key does not name it."""
    found = re.compile(r"(?<!\S)pyramid_celery(?!\S)").search(text, entry.value_start, entry.end)
    return Edit(found.start(), found.end(), PACKAGE) if found else None


class _ToKeys:
    def __init__(self, text: str, address: str, names: str) -> None:
        self.text = text
        self.address = address
        self.names = names
        self.sections = sections(text)
        self.application = application_section(self.sections)
        self.edits: list[Edit] = []
        self.notes: list[str] = []
        self.added: list[str] = []
        """Lines for the end of the application's section."""
        self.mappings: dict[str, dict[str, Any]] = {}
        """Key to the entries that have sections of their own: periodic tasks and routes."""
        self.mapping_comments: dict[str, list[str]] = {}
        self.set_keys = {entry.key for entry in self.application.entries if not entry.key.lower().startswith("celery.")}
        """Keys of the application's section in the new text. An ini file must not have a key twice."""

    def done(self, more: Iterable[tuple[str, str]]) -> Converted:
        self._include()
        for entry in self.application.entries:
            if entry.key.lower().startswith("celery."):
                self._rename(entry)
        for section in self.sections:
            self._section(section)
        self._add_mappings()
        for name, value in more:
            if (key := self._key(name, f"{name} of the module")) is not None:
                self.added.append(f"{key} = {self._value(key, value)}\n".replace("= \n", "=\n", 1))
        self._add()
        return Converted(applied(self.text, self.edits), self.notes)

    # --- the application's section ---

    def _include(self) -> None:
        entry = self.application.get(INCLUDES)
        if entry is None:
            self.notes.append(
                f"there is no {INCLUDES}: call config.include({PACKAGE!r}) in the application, or add the key"
            )
            return
        if PACKAGE in entry.value.split():
            return
        if replacing := in_place_of_pyramid_celery(self.text, entry):
            self.edits.append(replacing)
            return
        lines = self.text[entry.start : entry.end].rstrip().splitlines()
        end = entry.start + len(self.text[entry.start : entry.end].rstrip())
        indent = lines[-1][: len(lines[-1]) - len(lines[-1].lstrip())]
        self.edits.append(Edit(end, end, f" {PACKAGE}" if len(lines) == 1 else f"\n{indent}{PACKAGE}"))

    def _rename(self, entry: Entry) -> None:
        """Give a `celery.` key its new name, or remove it if it has no meaning here."""
        first, dot, option = entry.key[len("celery.") :].partition(".")
        name = celery_name(first)
        if name is None:
            self.set_keys.add(entry.key)
            self.notes.append(f"{entry.key} is no setting of Celery's: it stays")
            return
        key = self._key(name, entry.key, f"{dot}{option}")
        if key is None:
            self.edits.append(Edit(entry.start, entry.end, ""))
            return
        raw = self.text[entry.value_start : entry.end].rstrip()
        self.edits.append(Edit(entry.start, entry.start + len(entry.key), key))
        self.edits.append(Edit(entry.value_start, entry.value_start + len(raw), self._value(key, raw)))

    def _key(self, name: str, where: str, option: str = "") -> str | None:
        """Return the key for a setting, or for one option of it. None, with a note, if the setting is left out."""
        if name == "broker_url" and ADDRESS not in self.set_keys:
            self.notes.append(f"{where} named a broker: {ADDRESS} = {self.address} takes its place")
            return self._set(ADDRESS, where)
        if name in MODULES and INCLUDE not in self.set_keys:
            return self._set(INCLUDE, where)
        if SETTINGS[name].effect is Effect.REFUSED:
            self.notes.append(f"{where} is left out: {SETTINGS[name].sentence}")
            return None
        return self._set(f"celery.{written_name(name, self.names)}{option}", where)

    def _set(self, key: str, where: str) -> str | None:
        """Return a key that is about to be written. None, with a note, if the application's section has it."""
        if key in self.set_keys:
            self.notes.append(f"{where} is left out: [{self.application.name}] sets {key}, which wins")
            return None
        self.set_keys.add(key)
        return key

    def _value(self, key: str, value: str) -> str:
        return self.address if key == ADDRESS else value

    # --- Celery's sections ---

    def _section(self, section: Section) -> None:
        kind, _, name = section.name.partition(":")
        if section.name == "celery":
            self._take(section, "")
        elif kind == "celery" and celery_name(name):
            self._take(section, name)
        elif kind == "celerybeat" and name:
            self._take_mapping(section, "beat_schedule", {name: beat_fields(section.name, _pairs(section))})
        elif kind == "celeryroute" and name:
            self._take_mapping(section, "task_routes", {name: _pairs(section)})
        elif section.name == "celeryroutes":
            routes = {key: json_or_text(f"[{section.name}] {key}", value) for key, value in _pairs(section).items()}
            self._take_mapping(section, "task_routes", routes)

    def _take(self, section: Section, setting: str) -> None:
        """Move the lines of a section, each with its comments. They are options of `setting`, if it names one."""
        position = section.header_end
        for entry in section.entries:
            self.added += _comments(self.text[position : entry.start])
            position = entry.end
            rest = self.text[entry.start + len(entry.key) : entry.end]
            key = self._moved_key(entry, f"[{section.name}] {entry.key}", setting)
            if key is not None:
                self.added.append(f"{key} = {self.address}" if key == ADDRESS else f"{key}{rest}")
        self.added += _comments(self.text[position : section.end])
        self._remove(section)

    def _moved_key(self, entry: Entry, where: str, setting: str) -> str | None:
        """Return the key for a line of a section of Celery's. None, with a note, if the line is left out."""
        if name := celery_name(setting):
            return self._key(name, where, f".{entry.key}")
        if name := celery_name(entry.key):
            return self._key(name, where)
        if entry.key.lower() == "use_celeryconfig":
            self.notes.append("use_celeryconfig is left out: carry the module's settings over with --from-module FILE")
            return None
        self.notes.append(f"{where} is no setting of Celery's: it becomes celery.{entry.key}")
        return self._set(f"celery.{entry.key}", where)

    def _take_mapping(self, section: Section, setting: str, value: dict[str, Any]) -> None:
        """Collect sections that are entries of one setting. They become one key, whose value is JSON."""
        key = f"celery.{written_name(setting, self.names)}"
        self._remove(section)
        if key in self.mappings or self._set(key, f"[{section.name}]"):
            self.mappings.setdefault(key, {}).update(value)
            comments = _comments(self.text[section.header_end : section.end])
            self.mapping_comments.setdefault(key, []).extend(comments)

    def _remove(self, section: Section) -> None:
        self.edits.append(Edit(section.start, section.end, ""))

    def _add_mappings(self) -> None:
        for key, value in self.mappings.items():
            self.added += self.mapping_comments[key]
            self.added.append(f"{key} =\n{as_json_lines(value)}")

    def _add(self) -> None:
        """Write what was collected to the end of the application's section, before the empty lines there."""
        if not self.added:
            return
        at = max([self.application.header_end, *(entry.end for entry in self.application.entries)])
        lead = "" if self.text[:at].endswith("\n") else "\n"
        self.edits.append(Edit(at, at, lead + "".join(_ended(line) for line in self.added)))


def as_json_lines(value: dict[str, Any]) -> str:
    """Return JSON for a value of several lines: one line for each key."""
    lines = [f"    {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()]
    return "    {\n" + ",\n".join(lines) + "\n    }\n"


def _pairs(section: Section) -> dict[str, str]:
    return {entry.key: entry.value for entry in section.entries}


def _comments(text: str) -> list[str]:
    return [f"{line}\n" for line in text.splitlines() if line.lstrip()[:1] in ("#", ";")]


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n"


# --- and back ---------------------------------------------------------------------------------------


def to_sections(text: str, *, names: str = "new") -> Converted:
    """Return the ini with the `celery.` keys in sections, as pyramid_celery and Celery read them."""
    application = application_section(sections(text))
    edits: list[Edit] = []
    notes: list[str] = []
    made: dict[str, list[str]] = {"celery": []}
    position = application.header_end
    for entry in application.entries:
        comments = _comments(_right_above(text[position : entry.start]))
        position = entry.end
        in_celery = entry.key.lower().startswith("celery.")
        first, _, option = entry.key[len("celery.") :].partition(".") if in_celery else ("", "", "")
        name = "imports" if entry.key == INCLUDE else celery_name(first)
        if name is not None:
            edits.append(Edit(entry.start - len("".join(comments)), entry.end, ""))
            for section, lines in _in_sections(text, entry, name, option, names):
                made.setdefault(section, []).extend([*comments, *lines])
                comments = []
        elif in_celery:
            notes.append(f"{entry.key} stays: it is no setting of Celery's")
        elif entry.key == ADDRESS:
            notes.append(f"{ADDRESS} stays: add broker_url to [celery]")
    added = "".join(f"\n[{name}]\n{''.join(_ended(each) for each in lines)}" for name, lines in made.items() if lines)
    if added:
        end = application.end
        edits.append(Edit(end, end, f"{added.lstrip()}\n" if end < len(text) else added))
    return Converted(applied(text, edits), notes)


def _in_sections(text: str, entry: Entry, name: str, option: str, names: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each section that holds a part of a setting, with its lines."""
    rest = text[entry.start + len(entry.key) : entry.end]
    if option:
        yield f"celery:{name}", [f"{option}{rest}"]
    elif name == "beat_schedule":
        for key, fields in SETTINGS[name].parse(entry.value, entry.key).items():
            yield f"celerybeat:{key}", [*_beat_lines(fields)]
    elif name == "task_routes" and entry.value.lstrip().startswith("{"):
        routes = SETTINGS[name].parse(entry.value, entry.key).items()
        yield "celeryroutes", [f"{key} = {to if isinstance(to, str) else json.dumps(to)}\n" for key, to in routes]
    else:
        yield "celery", [f"{written_name(name, names)}{rest}"]


def _right_above(text: str) -> str:
    """Return the comment lines right above an entry. An empty line ends them."""
    return text.rpartition("\n\n")[2]


def _beat_lines(fields: dict[str, Any]) -> Iterator[str]:
    schedule = fields.pop("schedule", None)
    for key, value in fields.items():
        yield f"{key} = {value if key == 'task' else json.dumps(value)}\n"
    if isinstance(schedule, dict) and len(schedule) == 1:
        ((kind, value),) = schedule.items()
        yield f"type = {kind}\n"
        yield f"schedule = {json.dumps(value)}\n"
    else:
        yield "type = integer\n"
        yield f"schedule = {json.dumps(schedule)}\n"
