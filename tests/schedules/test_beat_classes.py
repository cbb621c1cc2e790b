"""The classes of `celery.beat`, without a server: when they would look again, and what they log."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.schedules import BaseSchedule
from pyramid_temporal_compat.schedules.beat_scheduler import Scheduler


class Answers(BaseSchedule):
    def __init__(self, due: bool, pause: float | None) -> None:
        super().__init__()
        self.answer: Any = due, pause

    def is_due(self, last_run_at: dt.datetime) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("due", "pause", "wait"), [(True, 60, 0), (False, 60, 59.99), (False, 0, 0), (False, None, 300), (False, 900, 300)]
)
def test_a_tick_tells_when_a_run_is_due_and_at_most_the_longest_pause(
    due: bool, pause: float | None, wait: float
) -> None:
    scheduler = Scheduler(Celery("ticks", set_as_current=False), lazy=True)
    scheduler.add(name="one", task="one", schedule=Answers(due, pause))
    assert scheduler.tick() == wait


def test_an_entry_that_is_sent_without_a_result_is_logged_without_an_id(caplog: pytest.LogCaptureFixture) -> None:
    class Silent(Scheduler):
        def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> None:
            return None

    scheduler = Silent(Celery("silent", set_as_current=False), lazy=True)
    entry = scheduler.add(name="one", task="shop.report", schedule=30)
    with caplog.at_level(logging.DEBUG, "celery.beat"):
        scheduler.apply_entry(entry)
    assert caplog.messages[-1] == "shop.report sent."
