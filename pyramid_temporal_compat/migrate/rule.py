"""What a rule of the audit is: its code, its severity, and what it says."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.Enum):
    BLOCKS = "blocks"
    """The application does not run here until this is changed."""
    CHANGES = "changes behaviour"
    """The application runs, and does something else than before."""
    ADVICE = "advice"
    """The application runs as before; something can go, or has to be renamed."""
    NOTHING = "nothing to do"
    """Looks like a difference, and is none."""


ORDER = {severity: position for position, severity in enumerate(Severity)}


class Fix(enum.Enum):
    NONE = "none"
    SAFE = "safe"
    """The program does the same after the edit."""
    UNSAFE = "unsafe"
    """The edit is right in most programs; a person has to look at it."""


@dataclass(frozen=True)
class Rule:
    code: str
    severity: Severity
    title: str
    finds: str
    here: str
    todo: str
    example: str
    fix: Fix = Fix.NONE
    """The best that `rewrite` can do. A finding says what it can do at that place."""
    minutes: int = 0
    """How long a person needs for one finding that `rewrite` leaves."""
    once: bool = False
    """Whether one change mends all places with the same detail, such as one property for all of `celery.request`."""
