"""The sections and keys of an ini file, with their places in the text, so that edits leave the rest as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

HEADER = re.compile(r"\[(?P<name>[^\]\n]+)\]")
PAIR = re.compile(r"(?P<key>[^\s=:#;\[][^=:]*?)\s*(?P<sign>[=:])[ \t]*(?P<value>.*)")


@dataclass
class Entry:
    """One key with its value, which may go on in lines below that are indented."""

    section: str
    key: str
    value: str
    line: int
    start: int
    end: int
    """Where the line after the value begins."""
    value_start: int


@dataclass
class Section:
    name: str
    line: int
    start: int
    header_end: int
    """Where the line after the header begins."""
    end: int
    """Where the next section begins, or the file ends."""
    entries: list[Entry] = field(default_factory=list)

    def get(self, key: str) -> Entry | None:
        return next((each for each in self.entries if each.key == key), None)


def sections(text: str) -> list[Section]:
    """Return the sections of an ini file in their order. Comments and empty lines belong to no entry."""
    found: list[Section] = []
    entry: Entry | None = None
    at = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        end = at + len(line)
        bare = line.rstrip("\r\n")
        if header := HEADER.match(bare):
            if found:
                found[-1].end = at
            found.append(Section(header["name"], number, at, end, len(text)))
            entry = None
        elif bare[:1] in (" ", "\t") and bare.strip() and not bare.strip().startswith(("#", ";")):
            if entry is not None:
                entry.value += "\n" + bare.strip()
                entry.end = end
        elif found and bare[:1] not in ("#", ";", "") and (pair := PAIR.match(bare)):
            entry = Entry(found[-1].name, pair["key"], pair["value"], number, at, end, at + pair.start("value"))
            found[-1].entries.append(entry)
        elif not bare.strip():
            pass  # an empty line may stand inside of a value
        at = end
    return found


def is_application(section: str) -> bool:
    return section == "main" or section.startswith(("app:", "composite:", "pipeline:"))
