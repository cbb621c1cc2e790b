"""A workflow of the application, for the tests of `request.temporal`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from temporalio import workflow
from temporalio.exceptions import ApplicationError


@dataclass
class Guest:
    name: str
    waits: bool = False


@workflow.defn(name="Greeting")
class Greeting:
    """Greets a guest. If the guest waits, the workflow greets after the signal `open`."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._is_open = False

    @workflow.run
    async def run(self, guest: Guest) -> list[str]:
        if guest.name == "nobody":
            raise ApplicationError("nobody is there", type="Nobody")
        if guest.waits:
            await workflow.wait_condition(lambda: self._is_open)
        return [f"hello {guest.name}", *self._words]

    @workflow.signal
    def say(self, word: str, times: int = 1) -> None:
        self._words += [word] * times

    @workflow.signal
    def open(self) -> None:
        self._is_open = True

    @workflow.query
    def words(self) -> list[str]:
        return self._words

    @workflow.update
    async def shout(self, word: str) -> int:
        await asyncio.sleep(0)
        self._words.append(word.upper())
        return len(self._words)
