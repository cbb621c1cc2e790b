"""`celery.worker.state`, through which the suite looks into its worker, told by what this package's workers tell.

It is inside of Celery, and refused to applications; the suite reads it to know when to look at something else.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from pyramid_temporal_compat import signals
from pyramid_temporal_compat.control import state


class Revoked:
    """The ids that the worker remembers as revoked, and when it was told."""

    def as_dict(self) -> dict[str, float]:
        return dict(state.revoked._added)

    def discard(self, task_id: str) -> None:
        state.revoked.discard(task_id)


def install() -> None:
    successful: set[str] = set()

    def succeeded(sender: Any = None, **details: Any) -> None:
        successful.add(sender.request.id)

    signals.task_success.connect(succeeded, weak=False)
    module = ModuleType("celery.worker.state")
    module.__dict__.update(revoked=Revoked(), revoked_stamps=state.revoked_stamps, successful_requests=successful)
    sys.modules["celery.worker.state"] = module

    import celery.worker

    celery.worker.state = module  # type: ignore[attr-defined]
