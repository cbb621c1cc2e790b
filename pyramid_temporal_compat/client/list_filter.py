"""Write conditions in Temporal's list filter language."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

WILDCARDS = "*?["
"""The characters that make a name a glob."""


def quoted(text: str) -> str:
    """Return the text as a string of the language."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def one_of(attribute: str, values: Iterable[str]) -> str:
    """Return the condition that the attribute has one of these values."""
    return f"{attribute} IN ({', '.join(map(quoted, values))})"


def like_glob(attribute: str, glob: str) -> str | None:
    """Return a condition that is true for every value that the glob matches; None if there is no such condition.

    The server knows no globs. So it compares the part before the first wildcard, and the caller compares the rest.
    """
    literal = next((glob[:place] for place, character in enumerate(glob) if character in WILDCARDS), glob)
    if literal == glob:
        return f"{attribute} = {quoted(glob)}"
    return f"{attribute} STARTS_WITH {quoted(literal)}" if literal else None


def since(attribute: str, moment: datetime.datetime) -> str:
    """Return the condition that the attribute is this moment or later."""
    return f"{attribute} >= {quoted(moment.astimezone(datetime.timezone.utc).isoformat())}"


def all_of(conditions: Iterable[str | None]) -> str:
    """Return the condition that all these conditions are fulfilled. None stands for no condition."""
    return " AND ".join(f"({condition})" for condition in conditions if condition)


def any_of(conditions: Iterable[str]) -> str:
    """Return the condition that at least one of these conditions is fulfilled."""
    return " OR ".join(f"({condition})" for condition in conditions)
