"""Context activities of the tests, on the tables of `tests.worker.shop`."""

from __future__ import annotations

import threading

import temporalio.activity

from pyramid_temporal_compat import ActivityContext, activity
from tests.worker.shop import Line


@activity.defn
async def write_async(context: ActivityContext, text: str) -> str:
    context.request.dbsession.add(Line(text=text))
    return f"{text} on {threading.current_thread().name}"


@activity.defn(name="write-sync")
def write_sync(context: ActivityContext, text: str) -> str:
    context.request.dbsession.add(Line(text=text))
    return text


@temporalio.activity.defn
async def plain(text: str) -> str:
    return f"plain {text}"
