"""Compares the server's firing times with Celery's own crontab: random expressions, zones and dates.

`python -m tests.schedules.firing_comparison 1000` compares that many for each zone, and prints what differs.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import sys
import zoneinfo
from typing import Any

import celery.schedules as theirs
from celery import Celery as TheirCelery
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.schedule.v1 import Schedule, ScheduleSpec
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    DeleteScheduleRequest,
    ListScheduleMatchingTimesRequest,
)
from temporalio.client import Client

from pyramid_temporal_compat.schedules import crontab
from pyramid_temporal_compat.schedules.clock_changes import YEARS
from pyramid_temporal_compat.schedules.firing_times import is_driven, spec_of
from pyramid_temporal_compat.server import EmbeddedServer
from tests.schedules.test_schedules_beside_celery import ZONES, apps, random_fields

UTC = dt.timezone.utc
MOST = 60
"""Firing times of one crontab that are compared."""
AT_ONCE = 10


async def matching(
    client: Client, number: int, spec: ScheduleSpec, begin: dt.datetime, end: dt.datetime
) -> list[dt.datetime]:
    """Ask the server for the times of a spec."""
    schedule = Schedule(spec=spec)
    start = schedule.action.start_workflow
    start.workflow_type.name, start.workflow_id, start.task_queue.name = "w", "w", "q"
    schedule.state.paused = True
    where: dict[str, Any] = {"namespace": client.namespace, "schedule_id": f"times-{number}-{random.random()}"}
    await client.workflow_service.create_schedule(
        CreateScheduleRequest(**where, schedule=schedule, request_id=where["schedule_id"])
    )
    bounds = Timestamp(), Timestamp()
    for bound, moment in zip(bounds, (begin, end), strict=True):
        bound.FromDatetime(moment)
    request = ListScheduleMatchingTimesRequest(**where, start_time=bounds[0], end_time=bounds[1])
    found = await client.workflow_service.list_schedule_matching_times(request, retry=True)
    await client.workflow_service.delete_schedule(DeleteScheduleRequest(**where))
    return [each.ToDatetime(tzinfo=UTC) for each in found.start_time]


def celerys(
    fields: list[object], app: TheirCelery, begin: dt.datetime, end: dt.datetime, most: int
) -> list[dt.datetime]:
    """Return the times at which Celery's beat runs the crontab: each follows from the last run."""
    zone = zoneinfo.ZoneInfo(str(app.conf.timezone))
    now = begin
    found = theirs.crontab(*fields, nowfun=lambda: now.astimezone(zone), app=app)
    times: list[dt.datetime] = []
    while len(times) < most:
        try:
            now += found.remaining_estimate(now.astimezone(zone))
        except RuntimeError:  # Celery gives up on a day that is years away
            break
        if now > end:
            break
        times.append(now)
    return times


def changes(zone: str, begin: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """Return the moments after which the clocks of the zone change, to the hour."""
    found, local = [], zoneinfo.ZoneInfo(zone)
    while begin < end:
        after = begin + dt.timedelta(hours=1)
        if begin.astimezone(local).utcoffset() != after.astimezone(local).utcoffset():
            found.append(begin)
        begin = after
    return found


def random_begin(pick: random.Random, moved: list[dt.datetime], first: dt.datetime) -> dt.datetime:
    """Return a moment for which a synchronisation of today knows the clock changes. A third is shortly before one."""
    if moved and pick.random() < 1 / 3:
        return pick.choice(moved) - dt.timedelta(minutes=pick.randint(0, 1440))
    return first + dt.timedelta(minutes=pick.randint(0, ((YEARS - 1) * 365 - 310) * 1440))


async def compare(address: str, zone: str, count: int) -> int:
    """Compare random crontabs. Return how many the server keeps; raise for the first one that fires at other times."""
    client = await Client.connect(address)
    pick = random.Random(f"server {zone}")
    ours, others = apps(zone)
    first = dt.datetime(dt.datetime.now(UTC).year, 1, 2, tzinfo=UTC)
    moved = changes(zone, first, first + dt.timedelta(days=(YEARS - 1) * 365))
    compared = 0

    async def one(number: int) -> None:
        nonlocal compared
        fields, begin = random_fields(pick), random_begin(pick, moved, first)
        end = begin + dt.timedelta(days=60 if pick.random() < 0.7 else 300)
        expected = celerys(fields, others, begin, end, MOST)
        if len(expected) == MOST:
            end = expected[-1]
        elif not expected:
            end = begin + dt.timedelta(days=5)
        declared = crontab(*fields, app=ours)  # type: ignore[arg-type]
        if is_driven(declared, ours):  # a driver asks the crontab itself
            return
        spec = spec_of(declared, ours)
        found = await matching(client, number, spec, begin, end)
        asked = f"{fields} from {begin} to {end} in {zone}"
        assert [each for each in found if each != begin] == [each for each in expected if each != begin], asked
        compared += 1

    for at in range(0, count, AT_ONCE):
        await asyncio.gather(*(one(number) for number in range(at, min(at + AT_ONCE, count))))
    return compared


def main(count: int) -> None:
    with EmbeddedServer(headless=True) as server:
        for zone in ZONES:
            try:
                print(
                    zone,
                    asyncio.run(compare(server.address, zone, count)),
                    f"of {count} crontabs are kept by the server, no difference",
                    flush=True,
                )
            except AssertionError as difference:
                print(zone, f"DIFFERS: {difference}"[:600], flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1000)
