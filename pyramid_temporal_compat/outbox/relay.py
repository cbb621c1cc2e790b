"""The relay: send the outbox rows that the web processes have not sent themselves.

Every worker runs a relay; `ptemporal-compat relay` runs a relay alone. Several relays share the work. Each relay claims
a batch of rows for a limited time, and another relay takes over the rows of a killed one.

The rows of a queue keep their order. Only one relay at a time sends a queue, and it sends one row after the other.
Sending many at once would not help: the server starts no more workflows in a second.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import datetime
import logging
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from temporalio.client import Client
from temporalio.common import MetricGauge, MetricGaugeFloat
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from ..celery_side.publisher import NotPublished
from ..client.connection import ConnectFailed, Connection, is_transient
from ..client.server_absence import REFUSES_ALL_CALLS, means_server_away, reason_if_away
from ..enlist.dispatcher import in_sequences, publish_to_celery, start_committed
from ..enlist.publish_signals import after_publish
from ..exceptions import ImproperlyConfigured, SecurityError
from ..log_lines.text_safety import one_line
from ..log_lines.throttled_log import EVERY, ThrottledLog
from ..message.backoff import exponential_pause
from ..message.celery_call import CeleryCall
from ..message.outgoing import Outgoing
from ..payload.codecs import Codec, chain
from . import row_format
from .dialects import between
from .sessions import app_engine
from .store import COUNT_LIMIT, Backlog, Row, Store
from .wakeup import Sleep

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

LEASE = 30.0
"""Seconds after which another relay takes over the rows of a killed relay. A living relay renews its claims."""
POLL_INTERVAL = 2.0
"""Seconds between two looks at the table, if nothing wakes the relay earlier."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two attempts to reach a server, or a database, that is away: the first pause, and the longest."""
CONCURRENT_STARTS = 16
"""Starts under way at a time, over all queues."""
ATTEMPTS_IF_TRANSIENT = 10
"""Attempts until a row is parked whose start fails with a transient error, though the server is healthy."""
BUSY = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
)
"""Errors of a server that answers and can accept nothing for now: its disk is full, or it is overloaded. No row is
parked for these errors, however long they last."""
ATTEMPTS_IF_REFUSED = 5
"""Attempts until a row is parked that the server refuses. More than one, because a server that has just started may not
know its namespaces yet."""
NEVER_RETRIED = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.RESOURCE_EXHAUSTED)
"""Refusals that are final. RESOURCE_EXHAUSTED is one if the call was above gRPC's size limit; from a busy server it is
transient, see `BUSY`."""
LAPSES = 5
"""Lapsed claims after which a row is parked, because the row itself may end the relays that claim it. After the first
lapse each relay claims the row alone."""
PARKED_AFTER_LAPSES = (
    "{} relays ended, or lost the database, while they had this row, the later ones with no other row beside it: "
    "see what ended them; the row may be the cause, by a codec that crashes or by its size"
)
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds until a failed row is tried again: after the first attempt, and the longest after doubling."""
REPORT_INTERVAL = 30.0
"""Seconds between two counts of the rows that wait."""
STOP_TIMEOUT = 10.0
"""Seconds that a worker at its end waits for the last batch of its relay."""


class ServerAway(Exception):
    """The server accepts nothing at all: the fault is not the row's."""


class Relay:
    """Sends outbox rows until told to stop. `run` needs a thread of its own; every thread may call `stop`."""

    def __init__(
        self, app: AppLike, engine: Engine | None = None, *, lease: float = LEASE, poll_interval: float = POLL_INTERVAL
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._connection = app.temporal
        self._timeout: float = app.conf["ptemporal.dispatch_timeout"]
        self._codec = chain(app.codecs())
        self.store = Store(engine or app_engine(app), self._connection.settings.namespace)
        self._lease = lease
        self._poll_interval = poll_interval
        self._sleep = Sleep(self.store.engine)
        self._stopped = threading.Event()
        self._batch: RelayBatch | None = None
        self._absent: BaseException | None = None
        self._pause = FIRST_PAUSE
        self._gauges = Gauges(self.store.namespace)
        self._next_report = 0.0
        self._next_warning = 0.0
        self._has_warned = False
        self._database = ThrottledLog(log, logging.ERROR)
        self._parked = ThrottledLog(log, logging.ERROR)
        self._newer = ThrottledLog(log, logging.WARNING)

    def stop(self) -> None:
        """Start no further row; `run` returns soon. A signal handler may call this."""
        self._stopped.set()
        batch = self._batch
        if batch is not None:
            batch.stopped = True
        self._sleep.wake()

    def run(self) -> None:
        """Send the rows that are due, until `stop` is called."""
        log.debug("relay %s begins", self.name)
        try:
            while not self._stopped.is_set():
                pause = self._turn()
                try:
                    self._sleep.until(pause)
                except Exception:
                    log.exception("the relay can't be woken for a while")
                    self._stopped.wait(pause or FIRST_PAUSE)
        finally:
            self._sleep.close()

    def _turn(self) -> float:
        """Send a batch, if rows are due and the server answers. Return the seconds to wait before the next turn."""
        try:
            if self._absent is not None and not self._is_back():
                self._report()
                return self._longer_pause()
            found = self.store.claim(self.name, self._lease)
            if found and found[0].lapses >= LAPSES:
                self._park(found[0], PARKED_AFTER_LAPSES.format(found[0].lapses))
            elif found:
                self._send(found)
            self._report()
        except (SQLAlchemyError, ImproperlyConfigured) as error:
            said = one_line(" ".join(str(error).split()))
            self._database.say("the relay can't read the outbox (%d times since this was said): %s", said)
            return self._longer_pause()
        except Exception:
            log.exception("the relay met an unexpected error; it goes on after a pause")
            return self._longer_pause()
        if self._absent is not None:
            return self._longer_pause()
        self._pause = FIRST_PAUSE
        return 0.0 if found else self._poll_interval

    def _longer_pause(self) -> float:
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return pause

    # --- the server ------------------------------------------------------------------------------

    def _is_back(self) -> bool:
        self._absent = self._connection.submit(lambda: reason_if_away(self._connection, self._timeout)).result()
        if self._absent is None:
            log.info("%s answers again: the relay goes on", self._connection)
        return self._absent is None

    def _send(self, found: Sequence[Row]) -> None:
        batch = self._batch = RelayBatch(found, self._connection, self._codec, self._timeout)
        if self._stopped.is_set():
            batch.stopped = True
        future = self._connection.submit(batch.run)
        try:
            while not concurrent.futures.wait([future], self._lease / 3).done:
                self.store.renew(self.name, self._lease, [row.id for row in found])
            future.result()
        finally:
            future.cancel()
            self._record(found, batch)

    def _record(self, found: Sequence[Row], batch: RelayBatch) -> None:
        """Write down what became of each row: deleted, parked, to be tried later, or given back untried."""
        store = self.store
        self._absent = batch.away
        store.delete(batch.started)
        for unit in batch.sent:
            after_publish(unit)
        for row, error in batch.failed:
            if row.attempts >= attempts_for(error):
                self._park(row, _as_line(error))
            else:
                delay = exponential_pause(FIRST_DELAY, row.attempts - 1, LONGEST_DELAY)
                store.put_off(self.name, row.id, delay, _as_line(error))
        ended = {*batch.started, *(row.id for row, _ in batch.failed)}
        rest = [row.id for row in found if row.id not in ended]
        store.give_back(self.name, rest, None if batch.away is None else self._why_away(batch.away))

    def _park(self, row: Row, error: str) -> None:
        self.store.park(self.name, row.id, error)
        self._parked.say(
            "%d rows of the outbox can't be sent and are set aside, the last of them row %d, of queue %r: %s "
            "(ptemporal-compat outbox status shows them; outbox retry has them tried again)",
            row.id,
            row.queue,
            error,
        )

    def _why_away(self, error: BaseException) -> str:
        if isinstance(error, asyncio.TimeoutError):  # it has no text
            return f"{self._connection}: no answer within {self._timeout:g} s"
        if isinstance(error, RPCError):
            return one_line(self._connection.explain(error))
        return _as_line(error)

    # --- its reports -----------------------------------------------------------------------------

    def _report(self) -> None:
        """Count the rows that wait, every `REPORT_INTERVAL`: set the gauges, and warn once a minute if rows wait."""
        if time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + REPORT_INTERVAL
        backlog = self.store.backlog()
        self._gauges.set(backlog)
        if self.store.has_newer_rows():
            self._newer.say(
                "the outbox holds rows that a newer release wrote; they wait for its relay (seen %d times since this "
                "was said)"
            )
        if backlog.waiting and time.monotonic() >= self._next_warning:
            self._next_warning = time.monotonic() + EVERY
            self._has_warned = True
            log.warning(
                "%s%d rows wait in the outbox, the oldest for %d s: %s",
                "at least " if backlog.waiting == COUNT_LIMIT else "",
                backlog.waiting,
                backlog.oldest,
                "they are being sent" if self._absent is None else self._why_away(self._absent),
            )
        if not backlog.waiting and self._has_warned:
            self._has_warned = False
            log.info("no row waits in the outbox any more")


class Gauges:
    """The metrics `ptemporal_outbox_waiting`, `_parked` and `_oldest_seconds` of one namespace.

    They leave with the client library's own metrics (`Runtime.set_default`).
    """

    def __init__(self, namespace: str) -> None:
        meter = Runtime.default().metric_meter.with_additional_attributes({"namespace": namespace})
        self._waiting: MetricGauge = meter.create_gauge(
            "ptemporal_outbox_waiting", "Rows of the outbox that wait for a relay.", "row"
        )
        self._parked: MetricGauge = meter.create_gauge(
            "ptemporal_outbox_parked", "Rows of the outbox that are set aside.", "row"
        )
        self._oldest: MetricGaugeFloat = meter.create_gauge_float(
            "ptemporal_outbox_oldest_seconds", "Age of the oldest row of the outbox that waits for a relay.", "s"
        )

    def set(self, backlog: Backlog) -> None:
        self._waiting.set(backlog.waiting)
        self._parked.set(backlog.parked)
        self._oldest.set(max(0.0, backlog.oldest))


class RelayBatch:
    """Rows that are sent together.

    It belongs to the event loop's thread until it has ended. Every thread may set `stopped`.
    """

    def __init__(self, found: Sequence[Row], connection: Connection, codec: Codec, timeout: float) -> None:
        self._rows = found
        self._connection = connection
        self._codec = codec
        self._timeout = timeout
        self._slots = asyncio.Semaphore(CONCURRENT_STARTS)
        self._taken = datetime.datetime.now(datetime.timezone.utc)
        self.stopped = False
        """No further row is started."""
        self.away: BaseException | None = None
        """Why the server accepts nothing, if so."""
        self.started: list[int] = []
        """The ids of rows whose units have all started."""
        self.sent: list[Outgoing] = []
        self.failed: list[tuple[Row, BaseException]] = []

    async def run(self) -> None:
        await asyncio.gather(*(self._send_queue(of_queue) for of_queue in by_queue(self._rows).values()))

    async def _send_queue(self, of_queue: Sequence[Row]) -> None:
        for row in of_queue:
            if self.stopped:
                return
            try:
                await self._send(row)
            except ServerAway as away:
                self.away, self.stopped = away.__cause__, True
            except Exception as error:
                self.failed.append((row, error))
            else:
                self.started.append(row.id)

    async def _send(self, row: Row) -> None:
        # In a thread: while a large row is decoded, `get()` and other calls go on with this loop.
        units = await asyncio.to_thread(row_format.decode_units, row.units, self._codec)
        ahead = await asyncio.to_thread(self._clock_ahead, row)
        starts = (self._start([units[place] for place in places], ahead) for places in in_sequences(units))
        ends = await asyncio.gather(*starts, return_exceptions=True)
        errors = [end for end in ends if isinstance(end, Exception)]
        for away in errors:
            if isinstance(away, ServerAway):
                raise away
        if errors:
            worst = max(errors, key=attempts_for)  # the row is parked only when no unit of it has attempts left
            if attempts_for(worst) > 1 and means_server_away(worst) and await self._is_away(worst):
                raise ServerAway from worst
            raise worst

    async def _is_away(self, error: Exception) -> bool:
        """Return whether the server is away for every row. For some errors this is certain without asking it."""
        if isinstance(error, RPCError) and error.status in REFUSES_ALL_CALLS:
            return True
        return await reason_if_away(self._connection, self._timeout) is not None

    def _clock_ahead(self, row: Row) -> datetime.timedelta:
        """Return by how much the sender's clock is ahead of ours.

        The row holds the sender's time when it was written. The database's clock tells how long ago that was.
        """
        then = row_format.sender_clock(row.units)
        return datetime.timedelta(0) if then is None else then + between(row.created, row.taken) - self._taken

    async def _start(self, sequence: Sequence[Outgoing], ahead: datetime.timedelta) -> None:
        for unit in sequence:
            async with self._slots:
                if isinstance(unit, CeleryCall):
                    await asyncio.wait_for(publish_to_celery(unit), self._timeout)
                else:
                    now = datetime.datetime.now(datetime.timezone.utc) + ahead
                    await asyncio.wait_for(start_committed(await self._client(), unit, now), self._timeout)
            self.sent.append(unit)

    async def _client(self) -> Client:
        try:
            return await self._connection.client()
        except ConnectFailed as error:
            raise ServerAway from error


def by_queue(found: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
    """Return the rows of each queue, in their order."""
    queues: dict[str, list[Row]] = {}
    for row in found:
        queues.setdefault(row.queue, []).append(row)
    return queues


def attempts_for(error: BaseException) -> float:
    """Return after how many attempts a row is parked that fails with this error."""
    if isinstance(error, NotPublished):  # Celery's broker is away, or has no such queue yet: the row waits for it
        return math.inf
    if isinstance(error, SecurityError):  # the key that the row needs may reach this host later
        return ATTEMPTS_IF_REFUSED
    if isinstance(error, RPCError) and not means_server_away(error):
        return 1 if error.status in NEVER_RETRIED else ATTEMPTS_IF_REFUSED
    if isinstance(error, RPCError):
        return math.inf if error.status in BUSY else ATTEMPTS_IF_TRANSIENT
    return math.inf if is_transient(error) else 1


def _as_line(error: BaseException) -> str:
    return one_line(" ".join(f"{type(error).__name__}: {error}".split())[:1000])


@contextlib.asynccontextmanager
async def relaying(app: AppLike) -> AsyncIterator[None]:
    """Run a relay in a thread while the block runs."""
    relay = Relay(app)
    thread = threading.Thread(target=relay.run, name="ptemporal-relay", daemon=True)
    thread.start()
    try:
        yield
    finally:
        relay.stop()
        await asyncio.to_thread(thread.join, STOP_TIMEOUT)
