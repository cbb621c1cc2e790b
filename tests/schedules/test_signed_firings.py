"""Signed arguments of a periodic task are signed once, for all runs of its entry and for no other task."""

from __future__ import annotations

import pytest

from pyramid_temporal_compat.exceptions import SecurityError
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.security.signed_places import check_body

BODY = {"task": "add", "id": "shop:nightly", "chord": None}


def message(task_id: str) -> Message:
    return Message("add", task_id, (), "q", scheduled="nightly")


def test_a_firing_is_run_with_the_arguments_that_its_entry_was_signed_with() -> None:
    check_body(message("shop:nightly-2026-11-28T03:00:00Z"), BODY)


@pytest.mark.parametrize("other", ["shop:nightly-x", "shop:nightly2-2026-11-28T03:00:00Z", "2026-11-28T03:00:00Z"])
def test_another_task_is_not_run_with_them(other: str) -> None:
    with pytest.raises(SecurityError, match="were signed for"):
        check_body(message(other), BODY)
