"""The application's schedules on the server: next and last runs, and which of them are late."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from temporalio.client import Client, ScheduleListActionStartWorkflow, ScheduleListDescription

from ..interfaces import AppLike
from ..schedules.entries import application_name
from ..schedules.sync import owned

LATE = datetime.timedelta(minutes=1)
"""A schedule is late if its next time has passed this long ago, or if its last run began this long after its time."""


@dataclass(frozen=True)
class ScheduleReport:
    """One schedule."""

    name: str
    task: str
    paused: bool
    note: str
    driven: bool
    """Whether only the entry's class knows its times."""
    following: datetime.datetime | None
    """The next time; None if there is none, or if only the entry's class knows it."""
    last: datetime.datetime | None
    """The time for which the last run was due."""
    last_began: datetime.datetime | None
    last_id: str | None
    """The id of the last run's task."""
    late: bool


def report_of(found: ScheduleListDescription, now: datetime.datetime) -> ScheduleReport:
    """Return the report of a schedule that the server has listed."""
    info, schedule = found.info, found.schedule
    following = info.next_action_times[0] if info and info.next_action_times else None
    recent = info.recent_actions[-1] if info and info.recent_actions else None
    paused = bool(schedule and schedule.state.paused)
    began_late = recent is not None and recent.started_at - recent.scheduled_at > LATE
    action = schedule.action if schedule else None
    return ScheduleReport(
        name=found.id.partition("/")[2],
        task=action.workflow if isinstance(action, ScheduleListActionStartWorkflow) else "",
        paused=paused,
        note=(schedule.state.note or "") if schedule else "",
        driven=bool(schedule and not (schedule.spec.calendars or schedule.spec.intervals)),
        following=following,
        last=recent.scheduled_at if recent else None,
        last_began=recent.started_at if recent else None,
        last_id=getattr(recent.action, "workflow_id", None) if recent else None,
        late=not paused and (began_late or (following is not None and now - following > LATE)),
    )


async def report_schedules(client: Client, app: AppLike) -> list[ScheduleReport]:
    """Return the reports of the application's schedules, by name."""
    now = datetime.datetime.now(datetime.timezone.utc)
    found = [report_of(each, now) async for each in owned(client, application_name(app))]
    return sorted(found, key=lambda report: report.name)
