"""The relay: sends what the fast path has left in the outbox.

Every worker has one, and `ptemporal-compat relay` is nothing else. Several share the work: each takes a batch of rows
for a while, and another takes over what a killed one had. The rows of a queue keep their order; a queue is sent by one
relay at a time, and one row after the other (the server starts no more in a second if it is asked for many at once).
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
from temporalio.service import RPCError, RPCStatusCode

from ..client.connection import ConnectFailed, Connection, is_transient
from ..client.server_absence import NOT_THE_CALLS, is_absence, why_away
from ..enlist.dispatcher import start
from ..enlist.publish_signals import after_publish
from ..exceptions import ImproperlyConfigured, SecurityError
from ..message.backoff import exponential_pause
from ..message.tree import Unit
from ..payload.codecs import Codec, chain
from ..text_safety import one_line
from ..throttled_log import EVERY, Seldom
from . import rows
from .clock import between
from .metrics import Gauges
from .sessions import app_engine
from .store import COUNTED, Row, Store
from .wakeup import Sleep

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

LEASE = 30.0
"""Seconds after which another relay takes over the rows of one that was killed. One that lives renews them."""
LOOK_EVERY = 2.0
"""Seconds between two looks at the table, where nothing wakes the relay before."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two looks whether the server, or the database, is back."""
AT_ONCE = 16
"""Starts under way at a time, over all queues."""
ATTEMPTS = 10
"""A row that a server which is well has refused so often, as if it were not, is set aside."""
BUSY = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
)
"""What a server says that answers, and can take nothing for now: its disk is full, or it has too much to do. No row is
set aside for that, however long it lasts."""
ATTEMPTS_OF_ALL = 5
"""The same where the server says no: one that has just started may not know its namespaces yet."""
LAPSES = 5
"""A row that so many relays had which ended before they could say what became of it, all but the first of them
nothing else, is set aside: it may be what ends them."""
ENDS_RELAYS = (
    "{} relays that had this row, at last alone, ended, or lost the database, before they could say what became of it: "
    "see what ended them; it may be this row, by a codec that crashes or by its size"
)
HOPELESS = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.RESOURCE_EXHAUSTED)
"""What is not tried again: the second is that of a call above gRPC's limit, if not of a server that is busy."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds until such a row is tried again."""
LOOK_AT_ALL_EVERY = 30.0
"""Seconds between two looks at how much waits."""
LAST_WORDS = 10.0
"""Seconds that a worker that ends waits for its relay's last batch."""


class Away(Exception):
    """The server takes nothing: no row is to blame."""


class Relay:
    """`run` in a thread of its own; `stop` from any."""

    def __init__(
        self, app: AppLike, engine: Engine | None = None, *, lease: float = LEASE, look_every: float = LOOK_EVERY
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._connection = app.temporal
        self._timeout: float = app.conf["ptemporal.dispatch_timeout"]
        self._codec = chain(app.codecs())
        self.store = Store(engine or app_engine(app), self._connection.settings.namespace)
        self._lease = lease
        self._look_every = look_every
        self._sleep = Sleep(self.store.engine)
        self._stopped = threading.Event()
        self._sending: Sending | None = None
        self._absent: BaseException | None = None
        self._pause = FIRST_PAUSE
        self._gauges = Gauges(self.store.namespace)
        self._look_at = 0.0
        self._tell_at = 0.0
        self._has_told = False
        self._database = Seldom(log, logging.ERROR)
        self._parked = Seldom(log, logging.ERROR)
        self._newer = Seldom(log, logging.WARNING)

    def stop(self) -> None:
        """Send no more; `run` returns soon. Also from a signal handler."""
        self._stopped.set()
        sending = self._sending
        if sending is not None:
            sending.over = True
        self._sleep.wake()

    def run(self) -> None:
        """Send what is due, until told to stop."""
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
        """Send a batch, if there is one and the server is there. Gives how long to wait before the next turn."""
        try:
            if self._absent is not None and not self._is_back():
                self._look()
                return self._longer_pause()
            found = self.store.claim(self.name, self._lease)
            if found and found[0].lapses >= LAPSES:
                self._park(found[0], ENDS_RELAYS.format(found[0].lapses))
            elif found:
                self._send(found)
            self._look()
        except (SQLAlchemyError, ImproperlyConfigured) as error:
            said = one_line(" ".join(str(error).split()))
            self._database.say("the relay can't read the outbox (%d times since this was said): %s", said)
            return self._longer_pause()
        except Exception:
            log.exception("the relay met an error that it does not know")
            return self._longer_pause()
        if self._absent is not None:
            return self._longer_pause()
        self._pause = FIRST_PAUSE
        return 0.0 if found else self._look_every

    def _longer_pause(self) -> float:
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return pause

    # --- the server ------------------------------------------------------------------------------

    def _is_back(self) -> bool:
        self._absent = self._connection.submit(lambda: why_away(self._connection, self._timeout)).result()
        if self._absent is None:
            log.info("%s answers again: the relay goes on", self._connection)
        return self._absent is None

    def _send(self, found: Sequence[Row]) -> None:
        sending = self._sending = Sending(found, self._connection, self._codec, self._timeout)
        if self._stopped.is_set():
            sending.over = True
        future = self._connection.submit(sending.run)
        try:
            while not concurrent.futures.wait([future], self._lease / 3).done:
                self.store.renew(self.name, self._lease, [row.id for row in found])
            future.result()
        finally:
            future.cancel()
            self._settle(found, sending)

    def _settle(self, found: Sequence[Row], sending: Sending) -> None:
        store = self.store
        self._absent = sending.away
        store.delete(sending.started)
        for unit in sending.sent:
            after_publish(unit)
        for row, error in sending.refused:
            if row.attempts >= attempts_for(error):
                self._park(row, _said(error))
            else:
                delay = exponential_pause(FIRST_DELAY, row.attempts - 1, LONGEST_DELAY)
                store.put_off(self.name, row.id, delay, _said(error))
        ended = {*sending.started, *(row.id for row, _ in sending.refused)}
        rest = [row.id for row in found if row.id not in ended]
        store.give_back(self.name, rest, None if sending.away is None else self._why_away(sending.away))

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
        return _said(error)

    # --- what it says ----------------------------------------------------------------------------

    def _look(self) -> None:
        """Tell how much waits: a gauge now and then, a line of the log once a minute, while there is a reason."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_AT_ALL_EVERY
        backlog = self.store.backlog()
        self._gauges.set(backlog)
        if self.store.newer():
            self._newer.say(
                "the outbox holds rows that a newer release wrote; they wait for its relay (seen %d times since this "
                "was said)"
            )
        if backlog.waiting and time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + EVERY
            self._has_told = True
            log.warning(
                "%s%d rows wait in the outbox, the oldest for %d s: %s",
                "at least " if backlog.waiting == COUNTED else "",
                backlog.waiting,
                backlog.oldest,
                "they are being sent" if self._absent is None else self._why_away(self._absent),
            )
        if not backlog.waiting and self._has_told:
            self._has_told = False
            log.info("no row waits in the outbox any more")


class Sending:
    """A batch on its way. It belongs to the loop's thread until it has ended; `over` may be set from any."""

    def __init__(self, found: Sequence[Row], connection: Connection, codec: Codec, timeout: float) -> None:
        self._rows = found
        self._connection = connection
        self._codec = codec
        self._timeout = timeout
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._taken = datetime.datetime.now(datetime.timezone.utc)
        self.over = False
        self.away: BaseException | None = None
        self.started: list[int] = []
        self.sent: list[Unit] = []
        self.refused: list[tuple[Row, BaseException]] = []

    async def run(self) -> None:
        await asyncio.gather(*(self._send_queue(of_queue) for of_queue in by_queue(self._rows).values()))

    async def _send_queue(self, of_queue: Sequence[Row]) -> None:
        for row in of_queue:
            if self.over:
                return
            try:
                await self._send(row)
            except Away as away:
                self.away, self.over = away.__cause__, True
            except Exception as error:
                self.refused.append((row, error))
            else:
                self.started.append(row.id)

    async def _send(self, row: Row) -> None:
        units = rows.read(row.units, self._codec)
        ahead = self._ahead(row)
        try:
            client = await self._connection.client()
        except ConnectFailed as error:
            raise Away from error
        ends = await asyncio.gather(*(self._start(client, unit, ahead) for unit in units), return_exceptions=True)
        errors = [end for end in ends if isinstance(end, Exception)]
        if errors:
            worst = max(errors, key=attempts_for)  # a row that has more to try is not set aside
            if attempts_for(worst) > 1 and is_absence(worst) and await self._is_away(worst):
                raise Away from worst
            raise worst

    async def _is_away(self, error: Exception) -> bool:
        """Whether it is the server, and not the row. Some refusals leave no doubt."""
        if isinstance(error, RPCError) and error.status in NOT_THE_CALLS:
            return True
        return await why_away(self._connection, self._timeout) is not None

    def _ahead(self, row: Row) -> datetime.timedelta:
        """By how much the sender's clock is ahead of ours: the database's shows how long the row has waited."""
        then = rows.clock(row.units)
        return datetime.timedelta(0) if then is None else then + between(row.created, row.taken) - self._taken

    async def _start(self, client: Client, unit: Unit, ahead: datetime.timedelta) -> None:
        async with self._slots:
            now = datetime.datetime.now(datetime.timezone.utc) + ahead
            await asyncio.wait_for(start(client, unit, now), self._timeout)
        self.sent.append(unit)


def by_queue(found: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
    queues: dict[str, list[Row]] = {}
    for row in found:
        queues.setdefault(row.queue, []).append(row)
    return queues


def attempts_for(error: BaseException) -> float:
    """How often a row that is refused so is tried."""
    if isinstance(error, SecurityError):  # the key that it needs may be on its way here
        return ATTEMPTS_OF_ALL
    if isinstance(error, RPCError) and not is_absence(error):
        return 1 if error.status in HOPELESS else ATTEMPTS_OF_ALL
    if isinstance(error, RPCError):
        return math.inf if error.status in BUSY else ATTEMPTS
    return math.inf if is_transient(error) else 1


def _said(error: BaseException) -> str:
    return one_line(" ".join(f"{type(error).__name__}: {error}".split())[:1000])


@contextlib.asynccontextmanager
async def relaying(app: AppLike) -> AsyncIterator[None]:
    """Have a relay run beside the block."""
    relay = Relay(app)
    thread = threading.Thread(target=relay.run, name="ptemporal-relay", daemon=True)
    thread.start()
    try:
        yield
    finally:
        relay.stop()
        await asyncio.to_thread(thread.join, LAST_WORDS)
