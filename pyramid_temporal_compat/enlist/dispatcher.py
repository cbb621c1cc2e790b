"""Dispatch: start the workflow of each message on the server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from ..client.connection import Connection, is_transient
from ..client.server_absence import Absence
from ..exceptions import OperationalError
from ..exceptions import TimeoutError as CallTimeout
from ..message import wire_names as wire
from ..message.backoff import exponential_pauses
from ..message.priority import priority_of
from ..message.tree import Unit, told_apart
from ..payload.converter import to_raw
from ..text_safety import one_line
from .undelivered_log import told_of

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between two tries while the server is away."""
AT_ONCE = 16
"""Starts under way at a time. The server takes no more a second from 500 at a time than from 8 (measured)."""
GRACE = 0.5
"""Seconds that a batch is given, when its time is over, to say what became of it."""


class Keeper(Protocol):
    """What keeps messages, beyond this process, until the server has them."""

    def settle(
        self, started: Sequence[Unit], lost: Sequence[tuple[Unit, BaseException]]
    ) -> Sequence[tuple[Unit, BaseException]]:
        """Take note of how a dispatch has ended, and give those of the lost that it does not keep."""


class Dispatcher:
    """Sends messages. One for each app and process; may be used from every thread."""

    def __init__(
        self, connection: Connection, *, timeout: float, wait: bool, on_started: Callable[[Unit], None] | None = None
    ) -> None:
        """`on_started` is called for each message that the server has, and may not raise."""
        self._connection = connection
        self._timeout = timeout
        self._wait = wait
        self._on_started = on_started
        self.absence = Absence(connection)

    def send(self, messages: Sequence[Unit]) -> None:
        """Start them now, outside any transaction. Raises `OperationalError` if the server can't take them."""
        self._connection.refuse_own_thread()
        batch = Batch(messages, self._connection, self._timeout)
        future = self._connection.submit(batch.run)
        try:
            future.result(self._timeout + GRACE)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            pass  # the batch knows what is left of it
        finally:
            future.cancel()
        self._tell(batch)
        for _, reason in batch.lost():
            raise self._as_operational(reason) from reason

    def after_commit(self, messages: Sequence[Unit], kept: Keeper | None = None) -> None:
        """Start what a transaction has committed. Never raises: what could not be started is logged, whole.

        What is kept elsewhere is no loss, and not waited for while the server is known to be away.

        With `wait`, returns when the server has them all, and after the timeout at most. A batch that is moving
        then goes on behind: it ends when it is done, or when nothing has moved for as long as the timeout.
        """
        if kept is not None and self.absence.lasts:
            reason = self._as_operational(self.absence.reason or OperationalError(f"{self._connection} is away"))
            messages = [message for message, _ in kept.settle((), [(message, reason) for message in messages])]
            if not messages:
                return
        batch = Batch(messages, self._connection, self._timeout)
        future = self._connection.submit(batch.run, linger=self._timeout + GRACE)
        try:
            if self._wait and not self._connection.in_own_thread():
                concurrent.futures.wait([future], self._timeout + GRACE)
        finally:  # and so after Ctrl-C in the wait, too
            if future.done():
                self._report(batch, future, kept)
            else:
                future.add_done_callback(lambda done: self._report(batch, done, kept))

    def _report(self, batch: Batch, ended: concurrent.futures.Future[None], kept: Keeper | None) -> None:
        if ended.cancelled():
            batch.obstacle = OperationalError(f"the connection to {self._connection} was closed before its turn came")
        elif (error := ended.exception()) is not None:
            batch.obstacle = error
        self._tell(batch)
        lost = [(message, self._as_operational(reason)) for message, reason in batch.lost()]
        for unit, reason in lost if kept is None else self._settle(batch, lost, kept):
            for message in told_apart(unit):
                name, text = told_of(message, self._connection.codecs)
                why = one_line(reason)
                log.error("committed, but not started: %s[%s]: %s; the message: %s", name, message.id, why, text)

    def _settle(
        self, batch: Batch, lost: Sequence[tuple[Unit, BaseException]], kept: Keeper
    ) -> Sequence[tuple[Unit, BaseException]]:
        away = next((reason for _, reason in batch.lost() if is_transient(reason)), None)
        if away is not None and not batch.started():
            self.absence.notice(away)
        return kept.settle(batch.started(), lost)

    def _tell(self, batch: Batch) -> None:
        if self._on_started is not None:
            for message in batch.started():
                self._on_started(message)

    def _as_operational(self, reason: BaseException) -> OperationalError:
        if isinstance(reason, OperationalError):
            return reason
        if isinstance(reason, RPCError):
            return self._connection.explain(reason)
        return OperationalError(f"{self._connection}: {reason}")


class Batch:
    """Messages on their way together. It belongs to the loop's thread, save `lost`, for when it is over."""

    def __init__(self, messages: Sequence[Unit], connection: Connection, patience: float) -> None:
        self._messages = messages
        self._connection = connection
        self._patience = patience
        self._deadline = time.monotonic() + patience
        self._unstarted: dict[int, BaseException | None] = dict.fromkeys(range(len(messages)))
        self.obstacle: BaseException = CallTimeout(f"no answer within {patience:g} s")
        """Why nothing moves: also the reason of those whose turn did not come."""

    async def run(self) -> None:
        """Try to start every message. Gives up when for `patience` seconds none could be."""
        turns = iter(range(len(self._messages)))
        await asyncio.gather(*(self._take_turns(turns) for _ in range(min(AT_ONCE, len(self._messages)))))

    def lost(self) -> list[tuple[Unit, BaseException]]:
        """The messages of which the server did not say that it has them, each with the reason."""
        return [(self._messages[turn], reason or self.obstacle) for turn, reason in self._unstarted.items()]

    def started(self) -> list[Unit]:
        """The messages that the server has."""
        return [message for turn, message in enumerate(self._messages) if turn not in self._unstarted]

    async def _take_turns(self, turns: Iterator[int]) -> None:
        for turn in turns:
            try:
                await self._start(self._messages[turn])
            except Exception as error:
                self._unstarted[turn] = error
            else:
                del self._unstarted[turn]
                self._deadline = time.monotonic() + self._patience

    async def _start(self, message: Unit) -> None:
        retry = message.publish_retry
        pauses = exponential_pauses(FIRST_PAUSE, LONGEST_PAUSE) if retry is None else retry.pauses()
        while (left := self._deadline - time.monotonic()) > 0:
            try:
                return await asyncio.wait_for(self._try_to_start(message), left)
            except asyncio.TimeoutError:
                continue
            except Exception as error:
                if not is_transient(error):
                    raise
                self.obstacle = error
            pause = next(pauses, None)
            if pause is None:
                break
            await asyncio.sleep(min(pause, left))
        raise self.obstacle

    async def _try_to_start(self, message: Unit) -> None:
        connection = self._connection
        client = connection.client() if message.publish_retry is None else connection.client_that_tries_once()
        await start(await client, message)


async def start(client: Client, message: Unit, now: datetime.datetime | None = None) -> None:
    """Start one message. A message that was started before, by whoever, is left as it is.

    :param now: by the clock that the message's times were read from, where that is not this process' own.
    """
    now = now or datetime.datetime.now(datetime.timezone.utc)
    message = message.leaving(now)
    try:
        await client.start_workflow(
            message.task,
            args=[to_raw(payload) for payload in message.encode()],
            id=message.id,
            task_queue=message.queue,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            start_delay=delay_of(message, now),
            priority=priority_of(message),
            static_summary=message.summary[: wire.SUMMARY_LIMIT],
            memo=wire.memo_of(message),
        )
    except WorkflowAlreadyStartedError:
        log.debug("already started: %s[%s]", message.task, message.id)


def delay_of(message: Unit, now: datetime.datetime) -> datetime.timedelta | None:
    if message.eta is None:
        return None
    delay = message.eta - now
    return delay if delay > datetime.timedelta(0) else None
