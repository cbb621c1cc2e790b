"""Text of others' in lines of ours: what a task is called, given and told must not look like a line of its own."""

from __future__ import annotations


def one_line(value: object) -> str:
    """`value` as text in which every control character, line end and lone surrogate is written as `repr` has it."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def record_text(text: str) -> str:
    """A record's text for a log of lines: whatever is in it, only its first line begins where records begin."""
    first, *more = text.split("\n")
    return "\n".join([_tabbed(first), *(f"  {_tabbed(line)}" if line else line for line in more)])


def _tabbed(line: str) -> str:
    return "\t".join(map(one_line, line.split("\t")))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
