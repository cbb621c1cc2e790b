"""Findings about ini files: Celery's sections, its keys in the application's section, hooks of monitoring tools."""

from __future__ import annotations

import re
from collections.abc import Iterator

from . import commands
from .extensions import AGENT_SETTINGS
from .findings import Finding, SourceFile
from .ini_convert import INCLUDES, in_place_of_pyramid_celery
from .ini_text import Entry, Section, is_application, sections
from .rules import RULES, Fix, Severity
from .settings_rules import said_of

LOOKS_LIKE = re.compile(r"celery|broker_url|amqp_url|result_backend", re.IGNORECASE)


def findings(file: SourceFile) -> Iterator[Finding]:
    for section in sections(file.text):
        yield from _of_section(file, section)
    yield from commands.findings(file)


def _of_section(file: SourceFile, section: Section) -> Iterator[Finding]:
    kind, _, name = section.name.partition(":")
    if section.name == "celery":
        for entry in section.entries:
            yield from _setting(file, entry, entry.key)
    elif kind == "celerybeat":
        yield Finding(RULES["PTC501"], file.path, section.line, f"[{section.name}]")
    elif kind == "import-hook" and name.partition(".")[0] in ("celery", "billiard", "kombu"):
        sentence = (
            "The hook waits for the real module, which is not imported here. Keep the section: it does no harm. "
            "With `install_as_celery()`, the module exists."
        )
        nothing = Severity.NOTHING
        yield Finding(RULES["PTC105"], file.path, section.line, f"[{section.name}]", sentence, severity_here=nothing)
    elif is_application(section.name) or section.name == "DEFAULT":
        for entry in section.entries:
            yield from _of_application(file, entry)


def _of_application(file: SourceFile, entry: Entry) -> Iterator[Finding]:
    key = entry.key
    if key.lower().startswith("celery."):
        rest = key[len("celery.") :]
        yield from _setting(file, entry, rest.partition(".")[0])
    elif key == INCLUDES and (edit := in_place_of_pyramid_celery(file.text, entry)):
        yield Finding(RULES["PTC207"], file.path, entry.line, INCLUDES, fix=Fix.UNSAFE, edits=(edit,))
    elif key in AGENT_SETTINGS:
        yield Finding(RULES["PTC107"], file.path, entry.line, key)
    elif LOOKS_LIKE.search(key) and not key.startswith("ptemporal."):
        yield Finding(RULES["PTC408"], file.path, entry.line, key)


def _setting(file: SourceFile, entry: Entry, name: str) -> Iterator[Finding]:
    if name.lower() == "use_celeryconfig":
        yield Finding(RULES["PTC407"], file.path, entry.line, entry.key)
        return
    for said in said_of(name, entry.value, own_section=True):
        yield Finding(RULES[said.code], file.path, entry.line, entry.key, said.sentence)
