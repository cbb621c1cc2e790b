"""How many tasks and hand-written activities a worker takes from the server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pyramid_temporal_compat.worker.slot_supplier import QueuePermit, SharedSlots


def taken(slots: SharedSlots, activity: str) -> QueuePermit:
    """Take one activity from the queue, as a poll does that brings work."""
    permit = slots.take("queue")
    assert permit is not None
    context: Any = SimpleNamespace(permit=permit, slot_info=SimpleNamespace(activity_type=activity))
    slots.mark_slot_used(context)
    return permit


def given_back(slots: SharedSlots, permit: QueuePermit) -> None:
    context: Any = SimpleNamespace(permit=permit)
    slots.release_slot(context)


def test_hand_written_activities_take_no_place_of_the_pool() -> None:
    slots = SharedSlots(1, 2, {"charge"})
    taken(slots, "charge")
    task = taken(slots, "myapp.tasks.add")
    assert slots.take("queue") is None
    given_back(slots, task)
    assert slots.take("queue") is not None


def test_hand_written_activities_have_a_limit_of_their_own() -> None:
    slots = SharedSlots(8, 2, {"charge"})
    first = taken(slots, "charge")
    taken(slots, "charge")
    assert slots.take("queue") is None
    given_back(slots, first)
    assert slots.take("queue") is not None
