"""The workflow on a worker, with its ten idle minutes skipped."""

from __future__ import annotations

from typing import Any

import pytest
from chat.activities import log_end, log_start, reply_to
from chat.models import SessionLog
from chat.workflows import ChatSession, Line
from sqlalchemy.orm import Session

TEN_MINUTES = 600.0


@pytest.fixture
def worker(ptemporal_time_skipping: Any, ptemporal_worker: Any) -> Any:
    return ptemporal_worker(activities=[log_start, reply_to, log_end], workflows=[ChatSession])


def test_an_idle_session_ends_by_itself(worker: Any, app: Any) -> None:
    assert worker.execute(ChatSession.run, args=["ada", "quiet", TEN_MINUTES]) == 0
    with Session(app.registry["engine"]) as session:
        assert session.get_one(SessionLog, "quiet").status == "ended"


def test_a_message_is_answered_before_the_session_ends(worker: Any) -> None:
    count = worker.execute(
        ChatSession.run,
        args=["ada", "talks", TEN_MINUTES],
        id="chat-talks",
        start_signal="say",
        start_signal_args=["What is the price?"],
    )
    assert count == 1
    handle = worker.client.get_workflow_handle("chat-talks")
    assert worker.run(handle.query(ChatSession.transcript)) == [
        Line("ada", "What is the price?"),
        Line("support", "A night costs 90 euros."),
    ]
