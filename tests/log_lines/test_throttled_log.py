"""Log lines that are written less often than their reason occurs."""

from __future__ import annotations

import logging

import pytest

from pyramid_temporal_compat.log_lines.throttled_log import MOST_NAMES, LoggedNames, ThrottledLog


def test_a_throttled_line_is_written_once_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    line = ThrottledLog(logging.getLogger(__name__), logging.WARNING)
    for _ in range(3):
        line.say("%d rows wait for %s", "the relay")
    assert [record.getMessage() for record in caplog.records] == ["1 rows wait for the relay"]


def test_a_name_is_new_once() -> None:
    names = LoggedNames()
    assert [names.is_new(name) for name in ("add", "mail", "add", "mail")] == [True, True, False, False]


def test_made_up_names_do_not_fill_the_memory() -> None:
    names = LoggedNames()
    assert all(names.is_new(f"made-up-{number}") for number in range(2 * MOST_NAMES))
    assert len(vars(names)["_names"]) <= MOST_NAMES
