"""A chat session: it begins, takes messages, and ends by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

from .activities import log_end, log_start, reply_to

MINUTE = timedelta(minutes=1)


@dataclass
class Line:
    speaker: str
    text: str


@workflow.defn
class ChatSession:
    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._transcript: list[Line] = []

    @workflow.run
    async def run(self, user_id: str, session_id: str, idle_seconds: float) -> int:
        """Return how many messages the user has sent."""
        workflow.logger.info("Chat session %s of %s starts", session_id, user_id)
        await workflow.execute_activity(log_start, args=[user_id, session_id], start_to_close_timeout=MINUTE)
        count = 0
        while await self._message_arrives(idle_seconds):
            text = self._waiting.popleft()
            count += 1
            self._transcript.append(Line(user_id, text))
            reply = await workflow.execute_activity(reply_to, text, start_to_close_timeout=MINUTE)
            self._transcript.append(Line("support", reply))
            workflow.set_current_details(f"{count} messages of {user_id}, the last: {text}")
        await workflow.execute_activity(log_end, args=[session_id, count], start_to_close_timeout=MINUTE)
        return count

    @workflow.signal
    def say(self, text: str) -> None:
        self._waiting.append(text)

    @workflow.query
    def transcript(self) -> list[Line]:
        return self._transcript

    async def _message_arrives(self, idle_seconds: float) -> bool:
        """Wait for a message. Return False if none has come for `idle_seconds`."""
        try:
            await workflow.wait_condition(lambda: bool(self._waiting), timeout=idle_seconds)
        except asyncio.TimeoutError:
            return False
        return True
