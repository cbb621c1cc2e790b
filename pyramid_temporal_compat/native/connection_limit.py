"""How many `async def` activities a worker may run at a time, before they wait for each other's connections.

Such an activity keeps its connection to the database while it awaits. If the engine's pool is empty, the next activity
waits for a connection. This wait stops the event loop, so no other activity can go on and give its connection back.
SQLAlchemy's default pool has 15 connections, and temporalio's default is 100 activities.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..transactions.inherited_connections import sqlalchemy_engines
from .activity import definition_of
from .binding import is_async

if TYPE_CHECKING:
    from sqlalchemy.pool import Pool

log = logging.getLogger(__name__)


def safe_slots(activities: Sequence[Callable[..., Any]], slots: int, *, chosen: bool) -> int:
    """Return how many activities a worker runs at a time: `slots`, or fewer if the database has fewer connections.

    :param chosen: whether the application has chosen `slots`. Then the number stays, and the log has a warning.
    """
    if not any(definition_of(fn) is not None and is_async(fn) for fn in activities):
        return slots
    fewest = min(filter(None, (most_connections(engine.pool) for engine in sqlalchemy_engines())), default=slots)
    if fewest >= slots:
        return slots
    reason = "each `async def` activity keeps a connection while it awaits, and a SQLAlchemy engine of this process has"
    if chosen:
        log.warning(
            "the worker runs up to %d activities at a time; %s only %d. Raise pool_size and max_overflow of the "
            "engine, or lower max_concurrent_activities: an activity that waits for a connection stops all the others",
            *(slots, reason, fewest),
        )
        return slots
    log.info(
        "the worker runs up to %d activities at a time: %s so many; max_concurrent_activities changes it",
        fewest,
        reason,
    )
    return fewest


def most_connections(pool: Pool) -> int | None:
    """Return how many connections a pool gives out at a time; None if it has no limit."""
    from sqlalchemy.pool import QueuePool  # imported already: there is an engine

    if not isinstance(pool, QueuePool) or pool._max_overflow < 0 or pool.size() == 0:
        return None
    return pool.size() + pool._max_overflow
