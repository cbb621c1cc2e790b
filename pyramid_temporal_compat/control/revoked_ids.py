"""Reads from the server which tasks were revoked before they were sent, as Celery's workers read their `--statedb`.

Revoking such a task starts a workflow under the task's id that ends at once. The id is then taken, so a single task
can't be started. A member of a bundle or a canvas could still run, because its workflow has another id. So the worker
reads the revoked ids, and refuses such a member.
"""

from __future__ import annotations

import asyncio
import datetime
import logging

from temporalio.client import Client

from ..message import wire_names as wire
from ..message.ids import bundle_of, workflow_of
from . import process_state

log = logging.getLogger(__name__)

READ_EVERY = 20.0
"""Seconds between two reads. Revoking also reaches the running workers directly, but may miss a worker that starts."""
LAG = datetime.timedelta(minutes=10)
"""By how much the server's list may be late, and its clock behind this machine's."""
READ_TIMEOUT = 5.0
"""Seconds for one read. It is short, because the first read delays the worker's start."""


class RevokedIdsReader:
    """Reads revoked ids for one worker. Belongs to the worker's event loop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._since = _now() - datetime.timedelta(seconds=process_state.REVOKE_EXPIRES)
        self._warned = False

    async def read(self) -> None:
        """Add the ids that were revoked since the last read to `process_state.revoked_on_server`. Never raises."""
        began = _now()
        try:
            ids = await asyncio.wait_for(self._revoked(), READ_TIMEOUT)
        except Exception as error:
            if not self._warned:
                log.warning(
                    "can't read from the server, for now, which tasks were revoked before they were sent: %r",
                    error,
                )
            self._warned = True
            return
        self._warned = False
        self._since = began - LAG
        process_state.revoked_on_server.update(ids)

    async def forever(self) -> None:
        """Read again and again."""
        while True:
            await asyncio.sleep(READ_EVERY)
            await self.read()

    async def _revoked(self) -> list[str]:
        """Return the revoked ids of members, the oldest first. The server itself refuses the ids of single tasks."""
        query = f"WorkflowType = '{wire.REVOKED_BEFOREHAND}' AND StartTime > '{self._since.isoformat()}'"
        runs = self._client.list_workflows(query, limit=process_state.REVOKES_MAX)
        return [run.id async for run in runs if workflow_of(run.id) or bundle_of(run.id)][::-1]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
