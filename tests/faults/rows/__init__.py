"""The faults, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence

from .fault import Fault
from .server import SERVER
from .web import WEB
from .worker import WORKER

FAULTS: Sequence[type[Fault]] = (*WEB, *SERVER, *WORKER)

__all__ = ["FAULTS", "Fault"]
