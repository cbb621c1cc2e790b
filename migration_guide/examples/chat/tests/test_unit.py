"""Activities and views by themselves: nothing is sent to the server."""

from __future__ import annotations

from typing import Any

from chat.activities import log_end, log_start, reply_to
from chat.models import SessionLog
from temporalio.testing import ActivityEnvironment
from webtest import TestApp

from pyramid_temporal_compat import ActivityContext


def test_a_session_is_logged_from_its_start_to_its_end(ptemporal_context: ActivityContext) -> None:
    run = ActivityEnvironment().run
    run(log_start, ptemporal_context, "ada", "s1")
    log = ptemporal_context.request.dbsession.get(SessionLog, "s1")
    assert (log.user_id, log.status) == ("ada", "open")
    run(log_end, ptemporal_context, "s1", 3)
    assert (log.status, log.message_count) == ("ended", 3)


def test_a_question_for_the_price_is_answered(ptemporal_context: ActivityContext) -> None:
    assert ActivityEnvironment().run(reply_to, ptemporal_context, "What is the price?") == "A night costs 90 euros."


def test_the_service_starts_a_session(web: TestApp, ptemporal_dispatched: Any) -> None:
    session_id = web.post("/sessions", {"user": "ada"}).json["session"]
    (start,) = ptemporal_dispatched.workflows
    assert (start.name, start.workflow_id, start.args) == (
        "ChatSession",
        f"chat-{session_id}",
        ("ada", session_id, 600.0),
    )


def test_a_session_without_a_user_is_refused(web: TestApp, ptemporal_dispatched: Any) -> None:
    web.post("/sessions", status=400)
    assert ptemporal_dispatched.workflows == []
