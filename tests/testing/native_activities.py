"""Activities and tasks of the tests of the fixtures."""

from __future__ import annotations

from typing import Any

from pyramid_temporal_compat import ActivityContext, activity, shared_task
from tests.worker.shop import Line


@activity.defn
async def enrich_user(context: ActivityContext, user: str) -> str:
    context.request.dbsession.add(Line(text=user))
    context.request.dbsession.flush()
    context.heartbeat(user)
    return f"{user}, {context.info.activity_type}"


@activity.defn
def remind(context: ActivityContext, user: str) -> str:
    return f"reminded {user}"


@shared_task(bind=True, max_retries=5)
def succeeds_after_two_hours(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=3600)
    return int(self.request.retries)
