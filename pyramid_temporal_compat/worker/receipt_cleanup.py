"""Removes receipts that nothing can ask for any more.

Every worker does it now and then, at moments of its own; several at a time do no harm, since a receipt is deleted by
its key. One whose workflow is still open stays, however old it is: the task may run again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.client import Client

from ..outbox import receipt
from ..outbox.sessions import app_engine
from ..outbox.store import reading_committed

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

LONGEST_PAUSE = 3600.0
"""Seconds between two rounds."""
PAUSES_PER_AGE = 10
BATCH = 500
"""Receipts that are read, and at most deleted, in one transaction."""
ASKED_AT_ONCE = 100
"""Workflows that one question to the server names."""
ANSWER_TIMEOUT = timedelta(seconds=20)


class Housekeeping:
    """The removal of one namespace's receipts. Belongs to the worker's event loop; its SQL runs on threads."""

    def __init__(self, app: AppLike, client: Client) -> None:
        self._app = app
        self._client = client
        self._age: float = app.conf["ptemporal.receipts_expire"]

    async def forever(self) -> None:
        while True:
            await asyncio.sleep(min(LONGEST_PAUSE, self._age / PAUSES_PER_AGE) * random.uniform(0.5, 1.5))
            try:
                await self.remove_aged()
            except Exception as error:
                log.warning("old receipts are not removed for now: %s", error)

    async def remove_aged(self) -> int:
        """One round; gives how many receipts went."""
        removed, last = 0, None
        while batch := await asyncio.to_thread(self._aged, last):
            still_open = await self._still_open({found.workflow_id for found in batch})
            gone = [found.task_id for found in batch if found.workflow_id not in still_open]
            if gone:
                removed += await asyncio.to_thread(self._remove, gone)
            last = batch[-1]
        if removed:
            log.info("removed %d receipts that were older than %g s", removed, self._age)
        return removed

    async def _still_open(self, workflow_ids: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for names in in_parts(sorted(workflow_ids), ASKED_AT_ONCE):
            query = f"CloseTime IS NULL AND WorkflowId IN ({', '.join(map(quoted, names))})"
            async for execution in self._client.list_workflows(query, rpc_timeout=ANSWER_TIMEOUT):
                found.add(execution.id)
        return found

    def _aged(self, after: receipt.Aged | None) -> list[receipt.Aged]:
        with app_engine(self._app).connect() as connection:
            return receipt.aged(connection, self._client.namespace, self._age, after, BATCH)

    def _remove(self, task_ids: list[str]) -> int:
        with reading_committed(app_engine(self._app)).begin() as connection:
            return receipt.remove(connection, self._client.namespace, task_ids, self._age)


def in_parts(names: list[str], size: int) -> list[list[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


def quoted(name: str) -> str:
    """A text in a query of the server's."""
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
