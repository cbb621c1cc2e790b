"""The activity of drivers: asks the class of a declared schedule whether a run is due, and fires it."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import uuid
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio import activity
from temporalio.api.schedule.v1 import SchedulePatch, TriggerImmediatelyRequest
from temporalio.api.workflowservice.v1 import PatchScheduleRequest
from temporalio.client import Client, ScheduleDescription, ScheduleHandle
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from ..message import wire_names as wire
from ..schedules.entries import application_name
from ..schedules.sources import declared_entry

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from ..schedules.celery_schedules import BaseSchedule

log = logging.getLogger(__name__)

LONGEST_PAUSE = 300.0
"""Seconds until a driver asks again, at most, as in Celery. beat_max_loop_interval sets another limit."""
SHORTEST_PAUSE = 0.02
"""Seconds until a driver asks again, at least. The timers of a server may be early by some milliseconds."""


class DrivenSchedules:
    """Answers the drivers of one application. Belongs to the worker's event loop."""

    def __init__(self, app: AppLike) -> None:
        self._app = app

    @activity.defn(name=wire.ASK_SCHEDULE)
    async def ask(self, application: str, entry: str, last_run_at: str | None, asked_at: str) -> dict[str, Any] | None:
        """Fire the Schedule of an entry if a run is due. Return when the last run was, and the pause until then.

        None ends the driver: its Schedule is gone, or the server works out the times of the entry by now.

        :param asked_at: the time of this question. If the activity runs twice, it fires once, because the time is part
            of the run's id.
        """
        from ..schedules.firing_times import is_driven  # 4 ms, which a worker without periodic tasks saves
        from ..schedules.sync import handle_of

        client = activity.client()
        handle = await handle_of(client, application, entry)
        if handle is None:
            return None
        found = await handle.describe()
        since = dt.datetime.fromisoformat(last_run_at) if last_run_at else latest_run(found)
        schedule = await asyncio.to_thread(self._declared, application, entry)
        if not is_driven(schedule, self._app):
            return None
        due, pause = await asyncio.to_thread(schedule.is_due, since)
        if due:
            # A run that comes due while the Schedule is paused is left out, and not made up for.
            if not found.schedule.state.paused:
                await fire(client, handle, dt.datetime.fromisoformat(asked_at))
            since = schedule.now()
        return {"last_run_at": since.isoformat(), "pause": self._bounded(pause)}

    def _declared(self, application: str, name: str) -> BaseSchedule:
        """Return the declared schedule. Raises if this worker does not know it: another worker may."""
        known = application == application_name(self._app)
        entry = declared_entry(self._app, name) if known else None
        if entry is None:
            text = (
                f"the application {self._app.main!r} of this worker declares no periodic task {name!r}; the schedule "
                f"is of {application!r}; ptemporal-compat beat deletes it if nobody declares it"
            )
            log.warning(text)
            # Without this category, the client library logs a traceback for each attempt.
            raise ApplicationError(text, type="NotDeclared", category=ApplicationErrorCategory.BENIGN)
        return entry.schedule

    def _bounded(self, pause: float | None) -> float:
        """Return the pause within its limits. A class that does not know when it is due returns None."""
        longest = float(self._app.conf.beat_max_loop_interval or LONGEST_PAUSE)
        return longest if pause is None else min(max(float(pause), SHORTEST_PAUSE), longest)


def latest_run(found: ScheduleDescription) -> dt.datetime:
    """Return when a Schedule has fired last; if it has not, when it was created. So the first run is one step later."""
    recent = found.info.recent_actions
    return recent[-1].scheduled_at if recent else found.info.created_at


async def fire(client: Client, handle: ScheduleHandle, at: dt.datetime) -> None:
    """Fire a Schedule under its overlap policy. The second of `at` becomes part of the run's id."""
    second = Timestamp()
    second.FromDatetime(at.replace(microsecond=0))
    patch = SchedulePatch(trigger_immediately=TriggerImmediatelyRequest(scheduled_time=second))
    request = PatchScheduleRequest(
        namespace=client.namespace,
        schedule_id=handle.id,
        patch=patch,
        identity=client.identity,
        request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{handle.id} {at.isoformat()}")),
    )
    await client.workflow_service.patch_schedule(request, retry=True)
