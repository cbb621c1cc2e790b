"""`celery.uuid()`. It has its own module, because `import pyramid_temporal_compat` loads it."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable


def uuid(_uuid: Callable[[], uuids.UUID] = uuids.uuid4) -> str:
    """Return a new unique id, in the form of a task's id."""
    return str(_uuid())
