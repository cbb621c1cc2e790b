"""A context activity starts workflows with its own transaction."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from pyramid_temporal_compat import temporal
from pyramid_temporal_compat.exceptions import WorkflowNotFound
from tests.native import starting
from tests.native.client_parts import unique
from tests.native.running import run_activity
from tests.worker.shop import Shop

BOTH = pytest.mark.parametrize("activity", [starting.start_and_end, starting.start_await_and_end])


@BOTH
def test_the_workflow_starts_when_the_activity_has_returned(shop: Shop, activity: Any) -> None:
    name = unique()
    assert run_activity(shop, activity, {"id": name, "fails": False}) == name
    handle = temporal(shop.registry).get_workflow_handle(name)
    assert handle.describe().task_queue == starting.STARTED_ON
    handle.terminate()


@BOTH
def test_no_workflow_starts_if_the_activity_fails(shop: Shop, activity: Any) -> None:
    name = unique()
    with pytest.raises(WorkflowFailureError):
        run_activity(shop, activity, {"id": name, "fails": True})
    with pytest.raises(WorkflowNotFound):
        temporal(shop.registry).get_workflow_handle(name).describe()
