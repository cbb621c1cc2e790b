"""Tells how the server's schedules differ from the declared ones: in the log of a process, and in a report."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from temporalio.client import Client

from .declaration import declarations
from .entries import BadEntry, application_name, schedule_id
from .sources import declared_names
from .sync import FAILURES, owned, synchronise

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)


async def log_drift(client: Client, app: AppLike) -> None:
    """Log how the server differs from the declaration. Nothing is raised: no process depends on it."""
    try:
        found = await drift(client, app)
    except FAILURES as error:
        log.warning("the declared schedules can't be compared with the server's: %s", error)
    except Exception:  # the application's own callable, say
        log.warning("the declared schedules can't be compared with the server's", exc_info=True)
    else:
        if found:
            log.warning(
                "the server's schedules differ from the declared ones: %s; ptemporal-compat beat makes them equal",
                found,
            )


async def drift(client: Client, app: AppLike) -> str:
    """Return how the server differs from the declaration, or "" if it does not. One call to the server, or a few.

    A web process need not have imported the modules of all tasks. Then only the names of the entries are compared.
    """
    application = application_name(app)
    try:
        # Entries may come from a database, and a thousand of them take a second: so not on the event loop.
        declared = await asyncio.to_thread(declarations, app)
    except BadEntry:
        return await drift_of_names(client, app, application)
    plan = await synchronise(client, application, declared, prune=False, change=False)
    return str(plan) if plan.differences else ""


async def drift_of_names(client: Client, app: AppLike, application: str) -> str:
    """Return how many declared entries the server lacks, or "" if it lacks none."""
    names = await asyncio.to_thread(declared_names, app)
    on_server = {each.id async for each in owned(client, application)}
    missing = [name for name in names if schedule_id(application, name) not in on_server]
    return f"{len(missing)} to create" if missing else ""
