"""The whole system: web, server, and a worker in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from chat.client_provider import ClientProvider
from chat.models import SessionLog
from chat.open_sessions import open_sessions
from chat.service import workflow_id
from pyramid.registry import Registry
from sqlalchemy.orm import Session
from webtest import TestApp

pytestmark = pytest.mark.usefixtures("worker_process")
Eventually = Callable[[Callable[[], Any]], Any]


def test_a_user_talks_to_support(web: TestApp, ptemporal_registry: Registry, eventually: Eventually) -> None:
    session_id = web.post("/sessions", {"user": "ada"}).json["session"]
    web.post(f"/sessions/{session_id}/messages", {"text": "Hello"})
    lines = eventually(lambda: len(found := web.get(f"/sessions/{session_id}").json) == 2 and found)
    assert [line["speaker"] for line in lines] == ["ada", "support"]
    eventually(lambda: workflow_id(session_id) in asyncio.run(open_sessions(ClientProvider(ptemporal_registry))))


def test_a_debug_session_ends_and_takes_no_more_messages(web: TestApp, app: Any, eventually: Eventually) -> None:
    started = web.post("/debug/sessions", {"user": "developer", "idle_seconds": "0.1"}).json
    assert started["web_ui"].endswith(workflow_id(started["session"]))

    def has_ended() -> bool:
        with Session(app.registry["engine"]) as session:
            log = session.get(SessionLog, started["session"])
            return log is not None and log.status == "ended"

    eventually(has_ended)
    path = f"/sessions/{started['session']}/messages"
    eventually(lambda: web.post(path, {"text": "Are you there?"}, expect_errors=True).status_code == 410)
