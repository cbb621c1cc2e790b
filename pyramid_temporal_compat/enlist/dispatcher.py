"""Start the workflow of each message on the server: the dispatch."""

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
from ..client.server_absence import ServerAbsence
from ..exceptions import OperationalError
from ..exceptions import TimeoutError as CallTimeout
from ..log_lines.text_safety import one_line
from ..message import wire_names as wire
from ..message.backoff import exponential_pauses
from ..message.priority import priority_of
from ..message.tree import Unit, told_apart
from ..payload.converter import to_raw
from .undelivered_log import name_and_text

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between two attempts while the server is away: the first pause, and the longest after doubling."""
CONCURRENT_STARTS = 16
"""Starts under way at a time. With 500 at a time the server accepts no more a second than with 8 (measured)."""
GRACE = 0.5
"""Seconds that a batch gets after its timeout to report its results."""

Failures = Sequence[tuple[Unit, BaseException]]
"""Units that could not be started, each with the reason."""


class DispatchRecorder(Protocol):
    """Records how a dispatch ended. The outbox rows of a transaction are the one implementation."""

    def record_dispatch(self, started: Sequence[Unit], failed: Failures) -> Failures:
        """Record the result of a dispatch. Return the messages that failed and that no outbox row keeps."""


class Dispatcher:
    """Starts the workflows of messages. An app has one in each process; every thread may use it."""

    def __init__(
        self, connection: Connection, *, timeout: float, wait: bool, on_started: Callable[[Unit], None] | None = None
    ) -> None:
        """`on_started` is called for each message that the server has accepted, and must not raise."""
        self._connection = connection
        self._timeout = timeout
        self._wait = wait
        self._on_started = on_started
        self.absence = ServerAbsence(connection)

    def send(self, messages: Sequence[Unit]) -> None:
        """Start messages now, outside any transaction.

        Raises `OperationalError` if the server can't accept them.
        """
        self._connection.refuse_own_thread()
        batch = DispatchBatch(messages, self._connection, self._timeout)
        future = self._connection.submit(batch.run)
        try:
            future.result(self._timeout + GRACE)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            pass  # the batch knows which messages are not started
        finally:
            future.cancel()
        self._notify_started(batch)
        for _, reason in batch.failed():
            raise self._as_operational(reason) from reason

    def after_commit(self, messages: Sequence[Unit], recorder: DispatchRecorder | None = None) -> None:
        """Start the messages of a committed transaction. Never raises: it logs each message that could not be started.

        With an outbox, `recorder` gets the result, and messages that an outbox row keeps are not logged. While the
        server is known to be away they are not attempted at all: the relay sends them later.

        With `wait`, this returns when the server has accepted all messages, and after the timeout at the latest. A
        batch that makes progress then goes on in the background. It ends when it is done, or when it has made no
        progress for as long as the timeout.
        """
        if recorder is not None and self.absence.lasts:
            reason = self._as_operational(self.absence.reason or OperationalError(f"{self._connection} is away"))
            unkept = recorder.record_dispatch((), [(message, reason) for message in messages])
            messages = [message for message, _ in unkept]
            if not messages:
                return
        batch = DispatchBatch(messages, self._connection, self._timeout)
        future = self._connection.submit(batch.run, linger=self._timeout + GRACE)
        try:
            if self._wait and not self._connection.in_own_thread():
                concurrent.futures.wait([future], self._timeout + GRACE)
        finally:  # Ctrl-C during the wait must not lose the report
            if future.done():
                self._report(batch, future, recorder)
            else:
                future.add_done_callback(lambda done: self._report(batch, done, recorder))

    def _report(
        self, batch: DispatchBatch, ended: concurrent.futures.Future[None], recorder: DispatchRecorder | None
    ) -> None:
        if ended.cancelled():
            batch.obstacle = OperationalError(f"the connection to {self._connection} was closed before its turn came")
        elif (error := ended.exception()) is not None:
            batch.obstacle = error
        self._notify_started(batch)
        failed: Failures = [(message, self._as_operational(reason)) for message, reason in batch.failed()]
        if recorder is not None:
            failed = self._record(batch, failed, recorder)
        for unit, reason in failed:
            for message in told_apart(unit):
                name, text = name_and_text(message, self._connection.codecs)
                why = one_line(reason)
                log.error("committed, but not started: %s[%s]: %s; the message: %s", name, message.id, why, text)

    def _record(self, batch: DispatchBatch, failed: Failures, recorder: DispatchRecorder) -> Failures:
        away = next((reason for _, reason in batch.failed() if is_transient(reason)), None)
        if away is not None and not batch.started():
            self.absence.notice(away)
        return recorder.record_dispatch(batch.started(), failed)

    def _notify_started(self, batch: DispatchBatch) -> None:
        if self._on_started is not None:
            for message in batch.started():
                self._on_started(message)

    def _as_operational(self, reason: BaseException) -> OperationalError:
        if isinstance(reason, OperationalError):
            return reason
        if isinstance(reason, RPCError):
            return self._connection.explain(reason)
        return OperationalError(f"{self._connection}: {reason}")


class DispatchBatch:
    """Messages that are started together.

    It belongs to the event loop's thread. When the batch has ended, other threads may call `started` and `failed`.
    """

    def __init__(self, messages: Sequence[Unit], connection: Connection, patience: float) -> None:
        self._messages = messages
        self._connection = connection
        self._patience = patience
        self._deadline = time.monotonic() + patience
        self._unstarted: dict[int, BaseException | None] = dict.fromkeys(range(len(messages)))
        self.obstacle: BaseException = CallTimeout(f"no answer within {patience:g} s")
        """Why the batch makes no progress. Messages whose turn did not come have failed for this reason, too."""

    async def run(self) -> None:
        """Try to start every message. Give up when no message could be started for `patience` seconds."""
        turns = iter(range(len(self._messages)))
        await asyncio.gather(*(self._take_turns(turns) for _ in range(min(CONCURRENT_STARTS, len(self._messages)))))

    def failed(self) -> list[tuple[Unit, BaseException]]:
        """Return the messages that the server has not confirmed, each with the reason."""
        return [(self._messages[turn], reason or self.obstacle) for turn, reason in self._unstarted.items()]

    def started(self) -> list[Unit]:
        """Return the messages that the server has accepted."""
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
        client = connection.client() if message.publish_retry is None else connection.client_without_retries()
        await start(await client, message)


async def start(client: Client, message: Unit, now: datetime.datetime | None = None) -> None:
    """Start the workflow of one message. Do nothing if the server already has a workflow with the message's id.

    :param now: the time on the clock that the message's `eta` and `expires` were read from, if it is not this process'.
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
    """Return how long the server has to wait before it starts the message; None if the message is due."""
    if message.eta is None:
        return None
    delay = message.eta - now
    return delay if delay > datetime.timedelta(0) else None
