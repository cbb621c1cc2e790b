"""The activities of payments: one with the application around it, and plain ones."""

from __future__ import annotations

import os
import time
from pathlib import Path

from temporalio import activity as temporal

from pyramid_temporal_compat import ActivityContext, activity


@activity.defn
def charge(context: ActivityContext, amount: int) -> str:
    return f"{amount} {context.request.currency} in {os.getpid()}"


@activity.defn
def wait_for_file(context: ActivityContext, path: str) -> str:
    Path(f"{path}.began").touch()
    while not Path(path).exists():
        context.heartbeat()
        time.sleep(0.05)
    return "found"


@temporal.defn
async def receipt_number(amount: int) -> int:
    return amount * 10
