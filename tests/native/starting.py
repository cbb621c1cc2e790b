"""Context activities that start a workflow, and may fail afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.exceptions import ApplicationError

from pyramid_temporal_compat import ActivityContext, activity

STARTED_ON = "unserved-workflows-of-activities"


def start(context: ActivityContext, argument: dict[str, Any]) -> str:
    handle = context.request.temporal.start_workflow("Unserved", argument, id=argument["id"], task_queue=STARTED_ON)
    return str(handle.id)


def end(argument: dict[str, Any]) -> None:
    if argument["fails"]:
        raise ApplicationError("told to", non_retryable=True)


@activity.defn
def start_and_end(context: ActivityContext, argument: dict[str, Any]) -> str:
    found = start(context, argument)
    end(argument)
    return found


@activity.defn
async def start_await_and_end(context: ActivityContext, argument: dict[str, Any]) -> str:
    found = start(context, argument)
    await asyncio.sleep(0.01)
    end(argument)
    return found
