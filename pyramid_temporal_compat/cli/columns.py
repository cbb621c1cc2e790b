"""Rows in columns for people, and moments and reports as values that JSON has."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as lines of text. Each column is as wide as its widest text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def moment(value: dt.datetime | None) -> str | None:
    """Return a moment as text, in UTC."""
    return None if value is None else value.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_plain(report: Any) -> dict[str, Any]:
    """Return the fields of a report as values that JSON has."""
    return {name: _plain(value) for name, value in dataclasses.asdict(report).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return moment(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
