"""The faults, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence

from .database import DATABASE
from .fault import Fault
from .limits import LIMITS
from .relay import RELAY
from .server import SERVER
from .slices import SLICES
from .stopping import STOPPING
from .storm import STORM
from .times import TIMES
from .web import WEB
from .worker import WORKER

FAULTS: Sequence[type[Fault]] = (
    *WEB,
    *SERVER,
    *WORKER,
    *SLICES,
    *DATABASE,
    *RELAY,
    *STOPPING,
    *TIMES,
    *LIMITS,
    *STORM,
)

__all__ = ["FAULTS", "Fault"]
