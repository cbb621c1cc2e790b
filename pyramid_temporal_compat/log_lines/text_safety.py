"""Escape untrusted text so that it can't fake a log line: task names, arguments and error messages."""

from __future__ import annotations


def one_line(value: object) -> str:
    """Return `value` as one line. Control characters, line ends and lone surrogates are escaped as in `repr`."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def safe_lines(text: str) -> str:
    """Return `text` for a terminal. Its line ends stay, and all other control characters are escaped."""
    return "\n".join(map(_tabbed, text.split("\n")))


def record_text(text: str) -> str:
    """Return a record's text with all lines but the first indented, so that no line looks like a new record."""
    first, *more = text.split("\n")
    return "\n".join([_tabbed(first), *(f"  {_tabbed(line)}" if line else line for line in more)])


def _tabbed(line: str) -> str:
    return "\t".join(map(one_line, line.split("\t")))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
