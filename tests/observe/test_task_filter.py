"""Which workflows the server is asked for, and which rows a filter takes."""

from __future__ import annotations

import datetime

import pytest

from pyramid_temporal_compat.client.list_filter import like_glob, quoted
from pyramid_temporal_compat.exceptions import InvalidCall
from pyramid_temporal_compat.observe.task_filter import TaskFilter
from pyramid_temporal_compat.observe.task_list import Cursor


def test_a_name_without_wildcards_is_compared_by_the_server() -> None:
    assert like_glob("WorkflowType", "shop.add") == "WorkflowType = 'shop.add'"
    assert like_glob("WorkflowType", "shop.*.add") == "WorkflowType STARTS_WITH 'shop.'"
    assert like_glob("WorkflowType", "*.add") is None


def test_text_cannot_leave_its_quotes() -> None:
    assert quoted("it's \\ here") == "'it\\'s \\\\ here'"
    assert "OR 1" not in TaskFilter(name="x' OR 1=1 --").query().replace("x\\' OR 1=1 --", "")


def test_a_filter_of_errors_wants_failed_tasks_and_looks_at_members() -> None:
    asked = TaskFilter(error="KeyError*")
    assert asked.lists_members
    assert asked.wanted_states == {"FAILURE", "RETRY"}
    assert "ExecutionStatus IN ('Failed', 'TimedOut', 'Running')" in asked.query()
    assert asked.matches_error("KeyError: 'x'")
    assert asked.matches_error("my.KEYERROR: 'x'")
    assert not asked.matches_error("ValueError: 'x'")


def test_a_task_counts_as_recent_if_it_began_or_ended_since() -> None:
    now = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    asked = TaskFilter(since=now)
    assert asked.matches_time([now - datetime.timedelta(days=1), now])
    assert not asked.matches_time([now - datetime.timedelta(days=1), None])
    assert "2026-01-02T00:00:00+00:00" in asked.query()


def test_an_unknown_state_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidCall, match=r"there is no state 'DONE'; there are PENDING, STARTED, RETRY, SUCCESS"):
        TaskFilter(states=frozenset({"DONE"}))


@pytest.mark.parametrize("written", ["x", "9" * 5000, "WzEsMl0", "W1siIiwgMF1d" * 100, "bnVsbA", "é", "WyIiLCAtMV0"])
def test_a_forged_page_is_refused(written: str) -> None:
    with pytest.raises(InvalidCall, match="begin with the first page"):
        Cursor.read(written)


def test_a_page_survives_the_way_through_a_browser() -> None:
    cursor = Cursor(b"\x00\xff{server}", 7)
    assert Cursor.read(str(cursor)) == cursor
