"""What the rest of the application knows of chats: views, tasks and scripts call this, and no workflow."""

from __future__ import annotations

import uuid
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from .workflows import ChatSession, Line


class ChatService:
    def __init__(self, temporal: Any, idle_seconds: float) -> None:
        """Take `request.temporal`, or `temporal(registry)` outside of a request."""
        self._temporal = temporal
        self._idle_seconds = idle_seconds

    def start(self, user_id: str, idle_seconds: float | None = None) -> str:
        """Start a session when the transaction commits. Return the session's id."""
        session_id = uuid.uuid4().hex
        self._temporal.start_workflow(
            ChatSession.run,
            args=[user_id, session_id, self._idle_seconds if idle_seconds is None else idle_seconds],
            id=workflow_id(session_id),
            static_summary=f"Chat with {user_id}",
        )
        return session_id

    def say(self, session_id: str, text: str) -> None:
        """Send a message at once. Raise WorkflowNotFound if the session has ended."""
        self._temporal.get_workflow_handle(workflow_id(session_id)).signal(ChatSession.say, text)

    def transcript(self, session_id: str) -> list[Line]:
        lines: list[Line] = self._temporal.get_workflow_handle(workflow_id(session_id)).query(ChatSession.transcript)
        return lines


def workflow_id(session_id: str) -> str:
    return f"chat-{session_id}"


def includeme(config: Configurator) -> None:
    idle_seconds = float(config.get_settings()["chat.idle_seconds"])

    def chat(request: Request) -> ChatService:
        return ChatService(request.temporal, idle_seconds)

    config.add_request_method(chat, reify=True)
