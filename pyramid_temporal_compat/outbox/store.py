"""The outbox's SQL: PostgreSQL, MySQL and MariaDB, SQLite. Each call is a transaction of its own, save `insert`."""

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
    ColumnElement,
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

from ..database_errors import is_deadlock
from ..exceptions import ImproperlyConfigured
from . import row_format
from .dialects import between, check_size, in_seconds, now, reading_committed, skips_locked
from .tables import for_all, hiding_values, metadata, outbox

P = ParamSpec("P")
T = TypeVar("T")

WINDOW = 1000
"""Rows among which a relay chooses: a backlog of any size is read in steps of so many."""
BATCH = 100
"""Rows that a relay takes at a time."""
BATCH_BYTES = 8 * 1024 * 1024
"""Bytes that these carry together, at most, unless the first alone carries more."""
BATCH_QUEUES = 4
"""Queues that they are of, at most: the others are left to other relays."""
CHUNK = 500
"""Rows that one statement names by their ids."""
COUNTED = 100_000
"""More rows than these are not counted where nobody asked: to count is to read."""
CHANNEL = "ptemporal_outbox"
"""What PostgreSQL's NOTIFY is sent to."""
LOCK = 0x70746F62
"""The first half of the advisory lock under which relays choose, one after the other."""
TRIES, PAUSE = 5, 0.05
"""How often, and how many seconds apart, a transaction is made that a deadlock has ended."""
LAPSED = "#"
"""In `claimed_by`, after the relay's name: how many claims of the row before this one have ended without a word."""
LONGEST_TURN = 3.0
"""Seconds that a relay waits for another to choose, which takes some milliseconds. One whose host was frozen just then
is not waited for: better out of order than not at all."""
TURN_PAUSE = 0.01


@dataclass(frozen=True)
class Row:
    """A row that a relay has taken."""

    id: int
    queue: str
    units: bytes
    attempts: int
    created: datetime.datetime
    taken: datetime.datetime
    lapses: int
    """How many relays have had it and ended, or lost the database, before they could say what became of it."""


@dataclass(frozen=True)
class Backlog:
    """What waits for a relay. `waiting` is not counted beyond `COUNTED` rows unless it was asked for."""

    waiting: int
    oldest: float
    """Seconds since the oldest of them was written; 0 where none waits."""
    parked: int


@dataclass(frozen=True)
class Parked:
    id: int
    queue: str
    messages: int
    since: Any
    error: str


@dataclass(frozen=True)
class Summary:
    """What `ptemporal-compat outbox status` shows."""

    rows: int
    messages: int
    oldest: float
    waiting: int
    """Rows that are due: the fast path did not send them."""
    claimed: int
    newer: int
    """Rows that a newer release wrote."""
    parked: int
    queues: Sequence[tuple[str, int]]
    """The fullest queues, with their rows."""
    last_parked: Sequence[Parked]


_INSERT = insert(outbox).values(
    created=now(), due=in_seconds(bindparam("wait")), version=row_format.VERSION, attempts=0
)


def insert_row(connection: Connection, *, namespace: str, queue: str, messages: int, units: bytes, wait: float) -> int:
    """Insert a row in the connection's transaction; gives its id. A relay may take it in `wait` seconds."""
    check_size(connection, units, f"what the transaction sends, {messages} messages in one row of {outbox.name},")
    values = {"namespace": namespace, "queue": queue, "messages": messages, "units": units, "wait": wait}
    with telling_of_no_table(), hiding_values():
        key: Any = connection.execute(_INSERT, values, execution_options=for_all(connection)).inserted_primary_key
    return int(key[0])


@contextlib.contextmanager
def telling_of_no_table() -> Iterator[None]:
    """Where the table is missing, say what makes it."""
    try:
        yield
    except (ProgrammingError, OperationalError) as error:
        said = str(error.orig).lower()
        if outbox.name in said and any(words in said for words in ("does not exist", "no such table", "doesn't exist")):
            raise ImproperlyConfigured(
                f"ptemporal.outbox is set, and the database has no table {outbox.name}; make it with "
                "`ptemporal-compat outbox init app.ini`, or with a migration of the metadata "
                "pyramid_temporal_compat.outbox.metadata"
            ) from error
        raise


def again_after_a_deadlock(method: Callable[P, T]) -> Callable[P, T]:
    """What one transaction did not do another one does: each is whole, and finds done what was done."""

    @functools.wraps(method)
    def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(TRIES - 1):
            try:
                return method(*args, **kwargs)
            except DBAPIError as error:
                if not is_deadlock(error):
                    raise
                time.sleep(random.uniform(0, PAUSE))
        return method(*args, **kwargs)

    return tried


class Store:
    """The rows of one namespace, on connections of its own. For every thread."""

    def __init__(self, engine: Engine, namespace: str) -> None:
        self.engine = engine
        self.namespace = namespace
        self._engine = reading_committed(engine)
        self._held_since: float | None = None
        """Since when each claim has met rows that another relay holds."""

    @contextlib.contextmanager
    def _begin(self) -> Iterator[Connection]:
        with telling_of_no_table(), self._engine.begin() as connection:
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
        # Said so that only the primary key serves to find rows: MySQL would lock all that it meets in another index, in
        # another order than those who delete do.
        return case((self._may_be_taken, 1), else_=0) == 1

    def create(self) -> list[str]:
        """Make the tables and indexes that are not there; gives the names of these tables, or of what they lacked."""
        there = set(inspect(self.engine).get_table_names())
        metadata.create_all(self.engine)
        made = [name for name in metadata.tables if name not in there]
        # MySQL commits a table before its indexes: one that was made halfway is there, and lacks them.
        for table in metadata.tables.values():
            have = {index["name"] for index in inspect(self.engine).get_indexes(table.name)}
            for index in table.indexes:
                if index.name not in have:
                    index.create(self.engine)
                    made.append(str(index.name))
        return made

    # --- after the fast path ---------------------------------------------------------------------

    @again_after_a_deadlock
    def delete(self, ids: Sequence[int]) -> None:
        """The server has what these rows carry."""
        for chunk in _chunks(ids):
            with self._begin() as connection:
                connection.execute(delete(outbox).where(outbox.c.id.in_(chunk)))

    @again_after_a_deadlock
    def release(self, ids: Sequence[int], error: str) -> None:
        """What these rows carry was not sent: a relay may take them now."""
        for chunk in _chunks(ids):
            with self._begin() as connection:
                connection.execute(update(outbox).where(outbox.c.id.in_(chunk)).values(due=now(), error=error))
                self._notify(connection)

    def _notify(self, connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"NOTIFY {CHANNEL}"))

    # --- for relays ------------------------------------------------------------------------------

    @again_after_a_deadlock
    def claim(self, relay: str, lease: float, batch: int = BATCH) -> list[Row]:
        """Take rows for `lease` seconds, the oldest first, of queues that no other relay is at work on.

        One that a relay had which has not been heard of since is taken alone: it may be what ended that one.
        """
        with self._begin() as connection:
            self._take_turns(connection)
            ids, lapses = self._lock(connection, relay, batch)
            if not ids:
                return []
            holder = f"{relay}{LAPSED}{lapses}" if lapses else relay
            taken = {"claimed_by": holder, "claimed_until": in_seconds(lease)}
            if not lapses:  # the claim that has lapsed was counted, and tried nothing
                taken["attempts"] = outbox.c.attempts + 1
            connection.execute(update(outbox).where(outbox.c.id.in_(ids), self._is_still_free).values(taken))
            columns = (outbox.c.id, outbox.c.queue, outbox.c.units, outbox.c.attempts, outbox.c.created, now())
            mine = select(*columns).where(outbox.c.id.in_(ids), outbox.c.claimed_by == holder)
            return [Row(*found, lapses) for found in connection.execute(mine.order_by(outbox.c.due, outbox.c.id))]

    @property
    def _takes_turns(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    def _take_turns(self, connection: Connection) -> None:
        # Two that choose at once would both take rows of one queue, and send them in any order.
        if not self._takes_turns:
            return
        turn = select(func.pg_try_advisory_xact_lock(LOCK, func.hashtext(self.namespace)))
        until = time.monotonic() + LONGEST_TURN
        while not connection.scalar(turn) and time.monotonic() < until:
            time.sleep(TURN_PAUSE)

    def _lock(self, connection: Connection, relay: str, batch: int) -> tuple[list[int], int]:
        """Lock rows to take; gives their ids, and how many claims of them have lapsed.

        Whoever holds some now, a purge or a relay that is frozen, is not waited for.
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
                return a_batch(chosen, sizes), lapses
            if sizes:
                return a_batch({row_id: queue for row_id, queue in chosen.items() if row_id in sizes}, sizes), lapses
            held = held.union(chosen)

    def _yields(self, some_are_held: bool) -> bool:
        """Whether what is held belongs to a relay that chooses now, so that the rows after it wait for that one's.

        Not where relays take turns; and one that holds some for longer is frozen.
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
        """The rows to take, in order, with their queues; and how many claims of them have lapsed."""
        claimed = and_(self._waits, outbox.c.claimed_until > now(), not_(_held_by(relay)))
        at_work = select(outbox.c.queue).where(claimed).distinct()
        others = set(connection.scalars(at_work))
        # Without their sizes: for one, MySQL reads the whole row.
        due = select(outbox.c.id, outbox.c.queue, outbox.c.claimed_by).where(self._may_be_taken)
        window = connection.execute(due.order_by(outbox.c.due, outbox.c.id).limit(WINDOW)).all()
        if not self._takes_turns:  # and of what was claimed meanwhile, this shows the queue, or it is in the window
            others.update(connection.scalars(at_work))
        chosen: dict[int, str] = {}
        queues: set[str] = set()
        for row_id, queue, last_holder in window:
            if row_id in held or queue in others or (queue not in queues and len(queues) == BATCH_QUEUES):
                continue
            if chosen and (len(chosen) >= batch or last_holder is not None):
                break
            if last_holder is not None:  # whoever has a row's outcome leaves none
                return {row_id: queue}, _lapses(last_holder) + 1
            chosen[row_id] = queue
            queues.add(queue)
        return chosen, 0

    def renew(self, relay: str, lease: float, ids: Sequence[int]) -> None:
        """Keep rows that are still being sent."""
        self._change(relay, ids, claimed_until=in_seconds(lease))

    def give_back(self, relay: str, ids: Sequence[int], error: str | None) -> None:
        """Leave rows to whichever relay comes: they were not tried, or the server was away."""
        changes: dict[str, Any] = {} if error is None else {"error": error}
        attempts = outbox.c.attempts - 1
        self._change(relay, ids, claimed_by=None, claimed_until=None, attempts=attempts, **changes)

    def put_off(self, relay: str, row_id: int, seconds: float, error: str) -> None:
        """Try a row again, but not before so many seconds."""
        self._change(relay, [row_id], claimed_by=None, claimed_until=in_seconds(seconds), error=error)

    def park(self, relay: str, row_id: int, error: str) -> None:
        """Set a row aside: no relay takes it until it is told to."""
        self._change(relay, [row_id], parked=now(), claimed_by=None, claimed_until=None, error=error)

    @again_after_a_deadlock
    def _change(self, relay: str, ids: Sequence[int], **changes: Any) -> None:
        for chunk in _chunks(ids):
            with self._begin() as connection:
                mine = and_(outbox.c.id.in_(chunk), _held_by(relay))
                connection.execute(update(outbox).where(mine).values(changes))

    def backlog(self) -> Backlog:
        """What waits, at the cost of a glance."""
        late = and_(self._waits, outbox.c.due <= now())
        with self._begin() as connection:
            some = select(outbox.c.id).where(late).limit(COUNTED).subquery()
            waiting = connection.scalar(select(func.count()).select_from(some)) or 0
            first = select(outbox.c.created, now()).where(late).order_by(outbox.c.due, outbox.c.id).limit(1)
            oldest = connection.execute(first).first()
            set_aside = and_(outbox.c.namespace == self.namespace, outbox.c.parked.is_not(None))
            some = select(outbox.c.id).where(set_aside).limit(COUNTED).subquery()
            parked = connection.scalar(select(func.count()).select_from(some)) or 0
        return Backlog(waiting, between(oldest[0], oldest[1]).total_seconds() if oldest else 0.0, parked)

    def newer(self) -> bool:
        """Whether there are rows that only a newer release can read."""
        due = select(outbox.c.version).where(self._waits, outbox.c.due <= now())
        first = due.order_by(outbox.c.due, outbox.c.id).limit(WINDOW).subquery()
        with self._begin() as connection:
            return (connection.scalar(select(func.max(first.c.version))) or 0) > row_format.VERSION

    # --- for people ------------------------------------------------------------------------------

    def summary(self, queues: int = 10, parked: int = 20) -> Summary:
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

    @again_after_a_deadlock
    def retry(self, ids: Sequence[int] | None) -> int:
        """Have relays try parked rows again, all of them without `ids`; gives how many."""
        aside = and_(outbox.c.namespace == self.namespace, outbox.c.parked.is_not(None))
        changes = {"parked": None, "attempts": 0, "due": now(), "claimed_by": None, "claimed_until": None}
        with self._begin() as connection:
            which = aside if ids is None else and_(aside, outbox.c.id.in_(ids))
            found = connection.execute(update(outbox).where(which).values(changes)).rowcount
            self._notify(connection)
        return found

    def count(self, ids: Sequence[int] | None, *, parked_only: bool) -> tuple[int, int]:
        """How many rows `purge` would delete, and how many messages they carry."""
        total = select(func.count(), func.coalesce(func.sum(outbox.c.messages), 0))
        with self._begin() as connection:
            rows_, messages = connection.execute(total.where(self._named(ids, parked_only))).one()
        return int(rows_), int(messages)

    @again_after_a_deadlock
    def purge(self, ids: Sequence[int] | None, *, parked_only: bool) -> int:
        """Delete rows that were not sent; gives how many."""
        with self._begin() as connection:
            return connection.execute(delete(outbox).where(self._named(ids, parked_only))).rowcount

    def _named(self, ids: Sequence[int] | None, parked_only: bool) -> ColumnElement[bool]:
        which = outbox.c.namespace == self.namespace
        if parked_only:
            which = and_(which, outbox.c.parked.is_not(None))
        return which if ids is None else and_(which, outbox.c.id.in_(ids))


def a_batch(chosen: Mapping[int, str], sizes: Mapping[int, int]) -> list[int]:
    """The chosen rows that are taken, of those whose sizes are known: the others another relay was quicker to take.

    The later ones of such a queue are left, too.
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
    return or_(outbox.c.claimed_by == relay, outbox.c.claimed_by.startswith(f"{relay}{LAPSED}", autoescape=True))


def _lapses(holder: str) -> int:
    """How many there were before the claim of this holder."""
    count = holder.rpartition(LAPSED)[2]
    return int(count) if LAPSED in holder and count.isdigit() else 0


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
