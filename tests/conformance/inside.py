"""Celery-internal names that the suite reads to look into its worker, filled with data of this package's workers.

Applications may not use these names. The suite reads them to know when to look at something else.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from pyramid_temporal_compat import AsyncResult, signals
from pyramid_temporal_compat.as_celery.backend import Backend
from pyramid_temporal_compat.control import process_state
from pyramid_temporal_compat.states import RETRY, STARTED
from pyramid_temporal_compat.testing.celery_app import DEFAULT_TEST_CONFIG
from pyramid_temporal_compat.worker.celery_request import Request


class Revoked:
    """The ids that the worker remembers as revoked, each with the time of the order."""

    def as_dict(self) -> dict[str, float]:
        return dict(process_state.revoked._added)

    def discard(self, task_id: str) -> None:
        process_state.revoked.discard(task_id)


class Successful(set[str]):
    """The ids of tasks that succeeded and whose end the server knows. In Celery the result is stored earlier."""

    def __contains__(self, task_id: object) -> bool:
        return super().__contains__(task_id) and AsyncResult(str(task_id)).state not in {STARTED, RETRY}


def install(lane: str) -> None:
    """Prepare this process for the suite. `lane` is the setting `ptemporal.lane` of the suite's app."""
    DEFAULT_TEST_CONFIG["ptemporal.lane"] = lane
    successful = Successful()

    def succeeded(sender: Any = None, **details: Any) -> None:
        successful.add(sender.request.id)

    signals.task_success.connect(succeeded, weak=False)
    module = ModuleType("celery.worker.state")
    stamps = process_state.revoked_stamps
    module.__dict__.update(revoked=Revoked(), revoked_stamps=stamps, successful_requests=successful)
    sys.modules["celery.worker.state"] = module

    # A request's private attribute: the three parts of the message's body.
    Request._Request__payload = Request._payload  # type: ignore[attr-defined]

    # The suite runs some tests only for Celery's key-value backends, which poll for results. These tests define what
    # waiting with a timeout of 0 means, which holds for this package as well.
    import celery.backends.base

    celery.backends.base.BaseKeyValueStoreBackend = Backend  # type: ignore[attr-defined]
    Backend._cache = {}  # type: ignore[attr-defined]  # our backend has no cache; a test empties it

    import celery.worker

    celery.worker.state = module  # type: ignore[attr-defined]
