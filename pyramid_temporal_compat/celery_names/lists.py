"""Options that take one value or several, as lists."""

from __future__ import annotations

from typing import Any


def as_list(value: Any) -> list[Any]:
    """Return one value, or a collection of values, as a list. None gives an empty list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def split_names(value: Any) -> list[str]:
    """Return names as a list. They may be one text with commas, or a collection of names and of objects with a name."""
    names = value.split(",") if isinstance(value, str) else list(value or ())
    return [stripped for name in names if (stripped := str(getattr(name, "name", name)).strip())]
