"""Which lane a call may take."""

from __future__ import annotations

from typing import Any

import pytest

from pyramid_temporal_compat.exceptions import InvalidCall, InvalidTaskError
from pyramid_temporal_compat.message.lane import ACTIVITY, WORKFLOW, lane_of_call
from pyramid_temporal_compat.message.message import Message

NEEDS_NOTHING = {"id_is_new": True, "needs_workflow": False, "at_most_once": False}


def test_a_call_that_needs_no_workflow_takes_the_lane_that_the_task_asks_for() -> None:
    assert lane_of_call("pack", "activity", **NEEDS_NOTHING) == ACTIVITY
    assert lane_of_call("pack", "workflow", **NEEDS_NOTHING) == WORKFLOW


@pytest.mark.parametrize("need", [{"id_is_new": False}, {"needs_workflow": True}, {"at_most_once": True}], ids=str)
def test_a_call_that_needs_a_workflow_takes_it(need: dict[str, bool]) -> None:
    assert lane_of_call("pack", "activity", **{**NEEDS_NOTHING, **need}) == WORKFLOW


@pytest.mark.parametrize("asked", ["aktivity", None, 1])
def test_another_lane_is_refused_with_its_value(asked: Any) -> None:
    with pytest.raises(InvalidCall, match=f"task 'pack': lane={asked!r} can't be used; it takes 'workflow' or"):
        lane_of_call("pack", asked, **NEEDS_NOTHING)


def test_a_message_carries_its_lane() -> None:
    message = Message("pack", "1", (), "items", lane=ACTIVITY)
    envelope = message.encode()[0].data
    assert Message.decode(envelope, ()).lane == ACTIVITY
    with pytest.raises(InvalidTaskError, match="lane is 'broad'"):
        Message.decode(envelope.replace(b'"activity"', b'"broad"'), ())
