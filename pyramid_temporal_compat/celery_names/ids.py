"""`celery.uuid()`."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable


def uuid(_uuid: Callable[[], uuids.UUID] = uuids.uuid4) -> str:
    """A new unique id, as tasks have."""
    return str(_uuid())
