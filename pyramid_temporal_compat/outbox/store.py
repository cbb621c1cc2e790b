"""The SQL of outbox rows, for PostgreSQL, MySQL, MariaDB and SQLite.

`insert_row` runs in the application's transaction. Every method of `Store` is a transaction of its own.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import (
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    inspect,
    not_,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.sql import ColumnElement

from ..exceptions import ImproperlyConfigured
from ..settings.masking import masked_text
from ..transactions.database_errors import is_deadlock
from . import row_format
from .dialects import between, check_size, in_seconds, now, reading_committed, skips_locked
from .tables import for_all, hiding_values, metadata, outbox

P = ParamSpec("P")
T = TypeVar("T")

WINDOW = 1000
"""Rows among which a relay chooses. A larger backlog is read in steps of this size."""
BATCH = 100
"""Rows that a relay claims at a time, at most."""
BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of a relay's rows together, at most; a single larger row is claimed alone."""
BATCH_QUEUES = 4
"""Queues in one claim, at most: the other queues are left to other relays."""
CHUNK = 500
"""Ids in one statement, at most."""
COUNT_LIMIT = 100_000
"""The relay's own reports count no further, because counting rows reads them."""
CHANNEL = "ptemporal_outbox"
"""The channel of PostgreSQL's NOTIFY."""
ADVISORY_LOCK = 0x70746F62
"""The first half of the advisory lock's key. PostgreSQL's relays choose rows one after the other, under this lock."""
DEADLOCK_ATTEMPTS, DEADLOCK_PAUSE = 5, 0.05
"""Attempts of a transaction that deadlocks end, and the longest pause between two of them in seconds."""
LAPSE_MARK = "#"
"""In `claimed_by` it separates the relay's name from the number of lapsed claims. A claim lapses if its relay ends, or
loses the database, before it can record what became of the row."""
LONGEST_TURN = 3.0
"""Seconds that a relay waits for another relay to choose rows, which takes some milliseconds. If the host of the other
relay froze just then, waiting on would be worse than sending rows out of order."""
TURN_PAUSE = 0.01


@dataclass(frozen=True)
class Row:
    """A row that a relay has claimed."""

    id: int
    queue: str
    units: bytes
    attempts: int
    created: datetime.datetime
    taken: datetime.datetime
    lapses: int
    """How many claims of the row have lapsed, see `LAPSE_MARK`."""


@dataclass(frozen=True)
class Backlog:
    """How many rows wait for a relay, and how many are parked. Neither is counted beyond `COUNT_LIMIT`."""

    waiting: int
    oldest: float
    """Age of the oldest waiting row in seconds; 0 if no row waits."""
    parked: int


@dataclass(frozen=True)
class Parked:
    """A row that was set aside, because it can't be sent as it is."""

    id: int
    queue: str
    messages: int
    since: Any
    error: str


@dataclass(frozen=True)
class Summary:
    """The figures that `ptemporal-compat outbox status` shows."""

    rows: int
    messages: int
    oldest: float
    waiting: int
    """Rows that are due: the web process did not send them in time."""
    claimed: int
    newer: int
    """Rows that a newer release wrote."""
    parked: int
    queues: Sequence[tuple[str, int]]
    """The queues with the most rows, each with its number of rows."""
    last_parked: Sequence[Parked]


_INSERT = insert(outbox).values(
    created=now(), due=in_seconds(bindparam("wait")), version=row_format.VERSION, attempts=0
)


def insert_row(connection: Connection, *, namespace: str, queue: str, messages: int, units: bytes, wait: float) -> int:
    """Insert a row in the connection's transaction. Return its id. A relay may claim it after `wait` seconds."""
    check_size(connection, units, f"what the transaction sends, {messages} messages in one row of {outbox.name},")
    values = {"namespace": namespace, "queue": queue, "messages": messages, "units": units, "wait": wait}
    with explaining_missing_table(), hiding_values():
        key: Any = connection.execute(_INSERT, values, execution_options=for_all(connection)).inserted_primary_key
    return int(key[0])


@contextlib.contextmanager
def explaining_missing_table() -> Iterator[None]:
    """Raise `ImproperlyConfigured` if the block finds no outbox table: the error names the command that creates it."""
    try:
        yield
    except (ProgrammingError, OperationalError) as error:
        said = str(error.orig).lower()
        if outbox.name in said and any(words in said for words in ("does not exist", "no such table", "doesn't exist")):
            raise ImproperlyConfigured(
                f"ptemporal.outbox is set, and the database has no table {outbox.name}; create it with "
                "`ptemporal-compat outbox init app.ini`, or with a migration of the metadata "
                "pyramid_temporal_compat.outbox.metadata"
            ) from error
        raise


def retried_after_deadlock(method: Callable[P, T]) -> Callable[P, T]:
    """Try the method again if a deadlock ended its transaction. Each attempt continues where the last one stopped."""

    @functools.wraps(method)
    def with_attempts(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(DEADLOCK_ATTEMPTS - 1):
            try:
                return method(*args, **kwargs)
            except DBAPIError as error:
                if not is_deadlock(error):
                    raise
                time.sleep(random.uniform(0, DEADLOCK_PAUSE))
        return method(*args, **kwargs)

    return with_attempts


class Store:
    """The rows of one namespace, on connections of its own. Every thread may use it."""

    def __init__(self, engine: Engine, namespace: str) -> None:
        self.engine = engine
        self.namespace = namespace
        self._engine = reading_committed(engine)
        self._held_since: float | None = None
        """When this store first met rows that another relay has locked; None if its last claim met none."""

    @property
    def location(self) -> str:
        """The database's URL as it may be shown: passwords are hidden, also in its query."""
        return masked_text(self.engine.url.render_as_string(hide_password=True))

    @contextlib.contextmanager
    def _begin(self) -> Iterator[Connection]:
        with explaining_missing_table(), self._engine.begin() as connection:
            yield connection

    @property
    def _waits(self) -> ColumnElement[bool]:
        return and_(outbox.c.namespace == self.namespace, outbox.c.parked.is_(None))

    @property
    def _may_be_taken(self) -> ColumnElement[bool]:
        return and_(
            self._waits,
            outbox.c.due <= now(),
            or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until <= now()),
            outbox.c.version <= row_format.VERSION,
        )

    @property
    def _is_still_free(self) -> ColumnElement[bool]:
        # A CASE keeps the database from using an index of these columns, so that it finds rows by primary key alone.
        # MySQL would lock every row that it meets in another index, in another order than deletes lock rows.
        return case((self._may_be_taken, 1), else_=0) == 1

    def create(self) -> list[str]:
        """Create the tables and indexes that are missing. Return the names of what was created."""
        there = set(inspect(self.engine).get_table_names())
        metadata.create_all(self.engine)
        made = [name for name in metadata.tables if name not in there]
        # MySQL commits a table before its indexes, so an interrupted run leaves a table without its indexes.
        for table in metadata.tables.values():
            have = {index["name"] for index in inspect(self.engine).get_indexes(table.name)}
            for index in table.indexes:
                if index.name not in have:
                    index.create(self.engine)
                    made.append(str(index.name))
        return made

    # --- for web processes -----------------------------------------------------------------------

    @retried_after_deadlock
    def delete(self, ids: Sequence[int]) -> None:
        """Delete rows whose messages the server has accepted."""
        for chunk in _chunks(ids):
            with self._begin() as connection:
                connection.execute(delete(outbox).where(outbox.c.id.in_(chunk)))

    @retried_after_deadlock
    def release(self, ids: Sequence[int], error: str) -> None:
        """Let relays claim rows at once whose messages were not sent."""
        for chunk in _chunks(ids):
            with self._begin() as connection:
                connection.execute(update(outbox).where(outbox.c.id.in_(chunk)).values(due=now(), error=error))
                self._notify(connection)

    def _notify(self, connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"NOTIFY {CHANNEL}"))

    # --- for relays ------------------------------------------------------------------------------

    @retried_after_deadlock
    def claim(self, relay: str, lease: float, batch: int = BATCH) -> list[Row]:
        """Claim rows for `lease` seconds, the oldest first, from queues that no other relay is sending.

        A row whose last claim has lapsed is claimed alone, because it may be what ended the relay.
        """
        with self._begin() as connection:
            self._take_turns(connection)
            ids, lapses = self._lock(connection, relay, batch)
            if not ids:
                return []
            holder = f"{relay}{LAPSE_MARK}{lapses}" if lapses else relay
            taken = {"claimed_by": holder, "claimed_until": in_seconds(lease)}
            if not lapses:  # the lapsed claim was counted as an attempt, and made none
                taken["attempts"] = outbox.c.attempts + 1
            connection.execute(update(outbox).where(outbox.c.id.in_(ids), self._is_still_free).values(taken))
            columns = (outbox.c.id, outbox.c.queue, outbox.c.units, outbox.c.attempts, outbox.c.created, now())
            mine = select(*columns).where(outbox.c.id.in_(ids), outbox.c.claimed_by == holder)
            return [Row(*found, lapses) for found in connection.execute(mine.order_by(outbox.c.due, outbox.c.id))]

    @property
    def _takes_turns(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    def _take_turns(self, connection: Connection) -> None:
        # Two relays that choose at once could both claim rows of one queue, and send them out of order.
        if not self._takes_turns:
            return
        turn = select(func.pg_try_advisory_xact_lock(ADVISORY_LOCK, func.hashtext(self.namespace)))
        until = time.monotonic() + LONGEST_TURN
        while not connection.scalar(turn) and time.monotonic() < until:
            time.sleep(TURN_PAUSE)

    def _lock(self, connection: Connection, relay: str, batch: int) -> tuple[list[int], int]:
        """Lock the rows to claim. Return their ids, and how many claims of them have lapsed.

        This does not wait for rows that another transaction has locked: a purge, for example, or a frozen relay.
        """
        held = frozenset[int]()
        size = func.length(outbox.c.units).label("size")
        while True:
            chosen, lapses = self._choose(connection, relay, batch, held)
            if not chosen:
                return [], 0
            free = select(outbox.c.id, size).where(outbox.c.id.in_(chosen), self._is_still_free)
            locked = free.with_for_update(skip_locked=skips_locked(connection.dialect))
            sizes = {found.id: found.size for found in connection.execute(locked)}
            if self._yields(len(sizes) < len(chosen)):
                return batch_of(chosen, sizes), lapses
            if sizes:
                return batch_of({row_id: queue for row_id, queue in chosen.items() if row_id in sizes}, sizes), lapses
            held = held.union(chosen)

    def _yields(self, some_are_held: bool) -> bool:
        """Return whether to leave the rows behind locked ones alone, to keep the order of their queues.

        Locked rows usually belong to another relay that is choosing now. If rows stay locked for longer than
        `LONGEST_TURN`, that relay is frozen. With the advisory lock no two relays choose at once.
        """
        if self._takes_turns:
            return False
        if not some_are_held:
            self._held_since = None
            return True
        if self._held_since is None:
            self._held_since = time.monotonic()
        return time.monotonic() - self._held_since < LONGEST_TURN

    def _choose(
        self, connection: Connection, relay: str, batch: int, held: frozenset[int]
    ) -> tuple[dict[int, str], int]:
        """Return the rows to claim, in order, with their queues, and how many claims of them have lapsed."""
        claimed = and_(self._waits, outbox.c.claimed_until > now(), not_(_held_by(relay)))
        at_work = select(outbox.c.queue).where(claimed).distinct()
        others = set(connection.scalars(at_work))
        # The query omits the sizes of rows, because MySQL reads the whole row to tell its size.
        due = select(outbox.c.id, outbox.c.queue, outbox.c.claimed_by).where(self._may_be_taken)
        window = connection.execute(due.order_by(outbox.c.due, outbox.c.id).limit(WINDOW)).all()
        if not self._takes_turns:  # rows claimed between the two queries: this finds their queues
            others.update(connection.scalars(at_work))
        chosen: dict[int, str] = {}
        queues: set[str] = set()
        for row_id, queue, last_holder in window:
            if row_id in held or queue in others or (queue not in queues and len(queues) == BATCH_QUEUES):
                continue
            if chosen and (len(chosen) >= batch or last_holder is not None):
                break
            if last_holder is not None:  # a relay that records a row's outcome clears `claimed_by`: this claim lapsed
                return {row_id: queue}, _lapses(last_holder) + 1
            chosen[row_id] = queue
            queues.add(queue)
        return chosen, 0

    def renew(self, relay: str, lease: float, ids: Sequence[int]) -> None:
        """Extend the claim of rows that are still being sent."""
        self._change(relay, ids, claimed_until=in_seconds(lease))

    def give_back(self, relay: str, ids: Sequence[int], error: str | None) -> None:
        """Give up the claim of rows that were not tried, or whose server was away. No attempt is counted."""
        changes: dict[str, Any] = {} if error is None else {"error": error}
        attempts = outbox.c.attempts - 1
        self._change(relay, ids, claimed_by=None, claimed_until=None, attempts=attempts, **changes)

    def put_off(self, relay: str, row_id: int, seconds: float, error: str) -> None:
        """Let the row be claimed again after so many seconds."""
        self._change(relay, [row_id], claimed_by=None, claimed_until=in_seconds(seconds), error=error)

    def park(self, relay: str, row_id: int, error: str) -> None:
        """Park the row: no relay claims it until `retry`."""
        self._change(relay, [row_id], parked=now(), claimed_by=None, claimed_until=None, error=error)

    @retried_after_deadlock
    def _change(self, relay: str, ids: Sequence[int], **changes: Any) -> None:
        for chunk in _chunks(ids):
            with self._begin() as connection:
                mine = and_(outbox.c.id.in_(chunk), _held_by(relay))
                connection.execute(update(outbox).where(mine).values(changes))

    def backlog(self) -> Backlog:
        """Return what waits. This is cheap: it counts at most `COUNT_LIMIT` rows."""
        late = and_(self._waits, outbox.c.due <= now())
        with self._begin() as connection:
            some = select(outbox.c.id).where(late).limit(COUNT_LIMIT).subquery()
            waiting = connection.scalar(select(func.count()).select_from(some)) or 0
            first = select(outbox.c.created, now()).where(late).order_by(outbox.c.due, outbox.c.id).limit(1)
            oldest = connection.execute(first).first()
            set_aside = and_(outbox.c.namespace == self.namespace, outbox.c.parked.is_not(None))
            some = select(outbox.c.id).where(set_aside).limit(COUNT_LIMIT).subquery()
            parked = connection.scalar(select(func.count()).select_from(some)) or 0
        return Backlog(waiting, between(oldest[0], oldest[1]).total_seconds() if oldest else 0.0, parked)

    def has_newer_rows(self) -> bool:
        """Return whether the first rows that are due include one that only a newer release can read."""
        due = select(outbox.c.version).where(self._waits, outbox.c.due <= now())
        first = due.order_by(outbox.c.due, outbox.c.id).limit(WINDOW).subquery()
        with self._begin() as connection:
            return (connection.scalar(select(func.max(first.c.version))) or 0) > row_format.VERSION

    # --- for people ------------------------------------------------------------------------------

    def summary(self, queues: int = 10, parked: int = 20) -> Summary:
        """Count everything, and list the fullest `queues` and the first `parked` rows."""
        here = outbox.c.namespace == self.namespace
        count = func.count()
        with self._begin() as connection:

            def counted(*conditions: Any) -> int:
                return connection.scalar(select(count).select_from(outbox).where(*conditions)) or 0

            messages = connection.scalar(select(func.sum(outbox.c.messages)).where(self._waits))
            oldest = connection.execute(select(func.min(outbox.c.created), now()).where(self._waits)).one()
            fullest = select(outbox.c.queue, count).where(self._waits).group_by(outbox.c.queue)
            columns = (outbox.c.id, outbox.c.queue, outbox.c.messages, outbox.c.parked, outbox.c.error)
            aside = select(*columns).where(here, outbox.c.parked.is_not(None)).order_by(outbox.c.id)
            return Summary(
                rows=counted(self._waits),
                messages=int(messages or 0),
                oldest=between(oldest[0], oldest[1]).total_seconds() if oldest[0] else 0.0,
                waiting=counted(self._waits, outbox.c.due <= now()),
                claimed=counted(self._waits, outbox.c.claimed_until > now(), outbox.c.claimed_by.is_not(None)),
                newer=counted(self._waits, outbox.c.version > row_format.VERSION),
                parked=counted(here, outbox.c.parked.is_not(None)),
                queues=[(queue, n) for queue, n in connection.execute(fullest.order_by(count.desc()).limit(queues))],
                last_parked=[Parked(*found) for found in connection.execute(aside.limit(parked))],
            )

    @retried_after_deadlock
    def retry(self, ids: Sequence[int] | None) -> int:
        """Let relays try parked rows again: the rows with these ids, or all. Return how many rows that is."""
        aside = and_(outbox.c.namespace == self.namespace, outbox.c.parked.is_not(None))
        changes = {"parked": None, "attempts": 0, "due": now(), "claimed_by": None, "claimed_until": None}
        with self._begin() as connection:
            which = aside if ids is None else and_(aside, outbox.c.id.in_(ids))
            found = connection.execute(update(outbox).where(which).values(changes)).rowcount
            self._notify(connection)
        return found

    def count(self, ids: Sequence[int] | None, *, parked_only: bool) -> tuple[int, int]:
        """Return how many rows `purge` would delete, and how many messages they hold."""
        total = select(func.count(), func.coalesce(func.sum(outbox.c.messages), 0))
        with self._begin() as connection:
            rows_, messages = connection.execute(total.where(self._named(ids, parked_only))).one()
        return int(rows_), int(messages)

    @retried_after_deadlock
    def purge(self, ids: Sequence[int] | None, *, parked_only: bool) -> int:
        """Delete rows that were not sent. Return how many."""
        with self._begin() as connection:
            return connection.execute(delete(outbox).where(self._named(ids, parked_only))).rowcount

    def _named(self, ids: Sequence[int] | None, parked_only: bool) -> ColumnElement[bool]:
        which = outbox.c.namespace == self.namespace
        if parked_only:
            which = and_(which, outbox.c.parked.is_not(None))
        return which if ids is None else and_(which, outbox.c.id.in_(ids))


def batch_of(chosen: Mapping[int, str], sizes: Mapping[int, int]) -> list[int]:
    """Return the ids of the chosen rows to claim, up to `BATCH_BYTES`.

    A row without a known size was claimed by a quicker relay. The later rows of its queue are left out with it.
    """
    ids: list[int] = []
    broken: set[str] = set()
    total = 0
    for row_id, queue in chosen.items():
        if row_id not in sizes:
            broken.add(queue)
        elif queue not in broken:
            total += sizes[row_id]
            if ids and total > BATCH_BYTES:
                break
            ids.append(row_id)
    return ids


def _held_by(relay: str) -> ColumnElement[bool]:
    return or_(outbox.c.claimed_by == relay, outbox.c.claimed_by.startswith(f"{relay}{LAPSE_MARK}", autoescape=True))


def _lapses(holder: str) -> int:
    """Return how many claims had lapsed before the claim with this `claimed_by`."""
    count = holder.rpartition(LAPSE_MARK)[2]
    return int(count) if LAPSE_MARK in holder and count.isdigit() else 0


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
