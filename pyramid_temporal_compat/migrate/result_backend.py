"""Counts the results in a result backend of Celery's, and says what as many tasks are in Temporal's actions."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any

from ..celery_names.urls import sanitize_url
from ..celery_side.clients import REDIS_SCHEMES, client_library, redis_client, scheme_of, unreachable
from ..celery_side.result_store import DATABASE, KEY, TABLE
from ..exceptions import ImproperlyConfigured
from ..payload.bounds import read_json
from .findings import Finding
from .rules import RULES

ACTIONS = 2
"""Billable actions of a task without retries: its start, and its one run. Measured: see the page of figures."""
MOST_READ = 20_000
"""Results that are read in Redis. The ones behind them are only counted."""
BATCH = 1000
"""Results that are read from Redis in one round trip."""
SHORTEST = 60.0
"""Seconds that the results have to span. A rate over less than that says nothing."""
MONTH = dt.timedelta(days=30).total_seconds()


def count_results(url: str) -> list[Finding]:
    """Return the rate of tasks that the results in the backend at `url` show."""
    if scheme_of(url) in REDIS_SCHEMES:
        number, times = _of_redis(url)
    elif url.startswith(DATABASE):
        number, times = _of_database(url.removeprefix(DATABASE))
    else:
        raise ImproperlyConfigured(f"--backend {sanitize_url(url)}: this kind can't be read; redis:// and db+…:// can")
    return [Finding(RULES["PTC908"], sanitize_url(url), 0, _told(number, sorted(times)))]


def _told(number: int, times: Sequence[dt.datetime]) -> str:
    if not times:
        return f"{number} results, none with a time"
    seconds = (times[-1] - times[0]).total_seconds()
    span = f"{number} results, from {times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M} UTC"
    if seconds < SHORTEST:
        return f"{span}: too short a time to tell a rate"
    month = number / seconds * MONTH
    return f"{span}; so about {month:,.0f} tasks and {month * ACTIONS:,.0f} actions a month"


def _of_redis(url: str) -> tuple[int, list[dt.datetime]]:
    redis = client_library("redis", "--backend redis://…")
    number = 0
    times: list[dt.datetime] = []
    client = redis_client(redis, url)
    try:
        keys = client.scan_iter(f"{KEY}*", count=BATCH)
        while batch := list(itertools.islice(keys, BATCH)):
            if number < MOST_READ:
                times += [done for raw in client.mget(batch) if (done := _done(raw)) is not None]
            number += len(batch)
    except redis.RedisError as error:
        raise unreachable("result backend", url, error) from None
    finally:
        client.close()
    return number, times


def _done(raw: Any) -> dt.datetime | None:
    try:
        return _in_utc(dt.datetime.fromisoformat(read_json(raw)["date_done"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _in_utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.timezone.utc) if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)


def _of_database(url: str) -> tuple[int, list[dt.datetime]]:
    import sqlalchemy as sa

    table = sa.table(TABLE, sa.column("date_done", sa.DateTime))
    question = sa.select(sa.func.count(), sa.func.min(table.c.date_done), sa.func.max(table.c.date_done)).select_from(
        table
    )
    try:
        engine = sa.create_engine(url)
        try:
            with engine.connect() as connection:
                number, first, last = connection.execute(question).one()
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise unreachable("result backend", url, error) from None
    return number, [_in_utc(each) for each in (first, last) if isinstance(each, dt.datetime)]
