"""What was revoked before it came. The server remembers it; workers learn it from there, as Celery's from `--statedb`.

The id of such a task is taken: a workflow that has ended before it began. That keeps a single task from being started,
and not one that comes in a bundle or a canvas, whose workflow has an id of its own: the worker refuses that one.
"""

from __future__ import annotations

import asyncio
import datetime
import logging

from temporalio.client import Client

from ..message import wire_names as wire
from ..message.ids import bundle_of, workflow_of
from . import state

log = logging.getLogger(__name__)

EVERY = 20.0
"""Seconds between two looks. Who revokes tells the workers, too, but one that starts just then may not be there yet."""
LAG = datetime.timedelta(minutes=10)
"""By how much the server's list may be late, and its clock behind this one."""
PATIENCE = 5.0
"""Seconds for one look: the first one holds up the worker's start."""


class Beforehand:
    """One worker's knowledge of it. Belongs to the worker's event loop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._since = _now() - datetime.timedelta(seconds=state.REVOKE_EXPIRES)
        self._told = False

    async def learn(self) -> None:
        """Remember what was revoked since the last look. Never raises."""
        asked = _now()
        try:
            ids = await asyncio.wait_for(self._revoked(), PATIENCE)
        except Exception as error:
            if not self._told:
                log.warning("what was revoked before it was sent can't be learnt from the server for now: %r", error)
            self._told = True
            return
        self._told = False
        self._since = asked - LAG
        state.revoked_beforehand.update(ids)

    async def forever(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self.learn()

    async def _revoked(self) -> list[str]:
        """The members among them, the oldest first. Any other task can't be started under its id."""
        query = f"WorkflowType = '{wire.REVOKED_BEFOREHAND}' AND StartTime > '{self._since.isoformat()}'"
        listed = self._client.list_workflows(query, limit=state.REVOKES_MAX)
        return [run.id async for run in listed if workflow_of(run.id) or bundle_of(run.id)][::-1]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
