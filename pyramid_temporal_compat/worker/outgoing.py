"""What the workflow of a canvas sends: no call that the server would refuse, and no step that is too large for it.

The server does not say no to these: it has the step made again, for ever, or ends the workflow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from ..exceptions import PayloadTooLarge
from ..message import total_size
from ..payload import Payload

MARGIN = 4096
"""What `ptemporal.payload_limit` leaves of the server's limit by default."""
SEALED = 160
"""Bytes that encryption adds to a payload, with room to spare."""
MOST_PER_STEP = 3 * 1024 * 1024
"""Bytes of what one workflow task starts; the server takes 4 MiB with all that goes with it."""
MOMENT = 0.001


class _Largest:
    """Of the process: what the server takes as the arguments of one activity or workflow."""

    size = 2 * 1024 * 1024


def allow(payload_limit: int) -> None:
    """A worker says what its settings, checked against the server, allow."""
    _Largest.size = max(_Largest.size, payload_limit + MARGIN)


def size_of(payloads: Sequence[Payload]) -> int:
    return total_size(payloads) + (SEALED * len(payloads) if len(payloads) > 2 else 0)


def check(what: str, size: int) -> None:
    """Raise what the task fails of, if these bytes are more than the server takes."""
    if size > _Largest.size:
        raise ApplicationError(
            f"{what}: it takes {size:,} bytes with the results before it, and the server takes {_Largest.size:,}: "
            "have the tasks before it store their results, and return where they are",
            type=PayloadTooLarge.__name__,
            non_retryable=True,
        )


class Outgoing:
    """Spreads what one workflow starts over as many of its steps as it takes."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._step = -1
        self._size = 0

    async def room(self, size: int) -> None:
        """Return in a step that has room for these bytes. For most that is this one."""
        async with self._turn:
            while not self._fits(size):  # noqa: ASYNC110  a timer is what makes the workflow's next step
                await asyncio.sleep(MOMENT)

    def _fits(self, size: int) -> bool:
        step = workflow.info().get_current_history_length()
        if step != self._step:
            self._step, self._size = step, 0
        if self._size and self._size + size > MOST_PER_STEP:
            return False
        self._size += size
        return True
