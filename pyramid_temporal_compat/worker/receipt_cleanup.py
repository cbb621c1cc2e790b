"""Removes old receipts that no run can need any more.

Every worker does this now and then, at random moments. Several workers at a time do no harm, because a receipt is
deleted by its key. A receipt stays as long as its workflow is open, however old it is, because the task may run again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.client import Client

from ..client.list_filter import one_of
from ..client.standalone import has_standalone_activities
from ..outbox import receipt_store
from ..outbox.dialects import reading_committed
from ..outbox.sessions import app_engine

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

LONGEST_PAUSE = 3600.0
"""Seconds between two rounds at most."""
PAUSES_PER_AGE = 10
"""Rounds in the time that a receipt is kept."""
BATCH = 500
"""Receipts that one transaction reads or deletes at most."""
ASKED_AT_ONCE = 100
"""Workflow ids in one query to the server."""
ANSWER_TIMEOUT = timedelta(seconds=20)


class ReceiptCleanup:
    """Removes the receipts of one namespace. Belongs to the worker's event loop; its SQL runs on threads."""

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
                log.warning("old receipts can't be removed now, and the worker tries again later: %s", error)

    async def remove_aged(self) -> int:
        """Make one round. Return how many receipts were removed."""
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
            query = f"CloseTime IS NULL AND {one_of('WorkflowId', names)}"
            async for execution in self._client.list_workflows(query, rpc_timeout=ANSWER_TIMEOUT):
                found.add(execution.id)
            found |= await open_activities(self._client, f"CloseTime IS NULL AND {one_of('ActivityId', names)}")
        return found

    def _aged(self, after: receipt_store.OldReceipt | None) -> list[receipt_store.OldReceipt]:
        with app_engine(self._app).connect() as connection:
            return receipt_store.old_receipts(connection, self._client.namespace, self._age, after, BATCH)

    def _remove(self, task_ids: list[str]) -> int:
        with reading_committed(app_engine(self._app)).begin() as connection:
            return receipt_store.delete_receipts(connection, self._client.namespace, task_ids, self._age)


async def open_activities(client: Client, query: str) -> set[str]:
    """Return the ids of the standalone activities that the query finds."""
    if not await has_standalone_activities(client):
        return set()
    return {found.activity_id async for found in client.list_activities(query, rpc_timeout=ANSWER_TIMEOUT)}


def in_parts(names: list[str], size: int) -> list[list[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]
