"""The faults, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence

from .database import DATABASE
from .fault import Fault
from .server import SERVER
from .stopping import STOPPING
from .times import TIMES
from .web import WEB
from .worker import WORKER

FAULTS: Sequence[type[Fault]] = (*WEB, *SERVER, *WORKER, *DATABASE, *STOPPING, *TIMES)

__all__ = ["FAULTS", "Fault"]
