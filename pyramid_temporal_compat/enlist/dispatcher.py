"""Send what a transaction has committed: the dispatch.

It starts the workflow or activity of each message on the server, sends the calls of hand-written workflows, and
publishes the calls for Celery's workers to their broker.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import datetime
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from ..celery_side.publisher import NotPublished, publish
from ..client import standalone
from ..client.connection import Connection, is_transient
from ..client.server_absence import ServerAbsence
from ..client.workflow_requests import send_request
from ..exceptions import OperationalError
from ..exceptions import TimeoutError as CallTimeout
from ..log_lines.text_safety import one_line
from ..log_lines.throttled_log import ThrottledLog
from ..message import wire_names as wire
from ..message.backoff import exponential_pauses
from ..message.celery_call import CeleryCall
from ..message.lane import ACTIVITY
from ..message.message import Message
from ..message.outgoing import Outgoing, parts_to_log, workflow_id_of
from ..message.priority import priority_of
from ..message.tree import Unit
from ..message.workflow_call import WorkflowCall
from ..payload.headers import to_arguments
from ..payload.trace_carrier import trace_continued
from .call_watch import tell_sent
from .dispatch_end import DispatchEnd, tell_dispatch_end
from .undelivered_log import name_and_text

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between two attempts while the server is away: the first pause, and the longest after doubling."""
CONCURRENT_STARTS = 16
"""Starts under way at a time. With 500 at a time the server accepts no more a second than with 8 (measured)."""
MOST_IN_BACKGROUND = 32
"""Transactions whose messages are on their way in the background at a time. A busy server on two cores takes 25 starts
a second. With many more at a time, the last ones would wait for longer than the timeout, and be given up (measured:
137 of 500)."""
GRACE = 0.5
"""Seconds that a batch gets after its timeout to report its results."""

_background_full = ThrottledLog(log, logging.WARNING)

Failures = Sequence[tuple[Outgoing, BaseException]]
"""What could not be sent, each with the reason."""


class DispatchRecorder(Protocol):
    """Records how a dispatch ended. The outbox rows of a transaction are the one implementation."""

    def record_dispatch(self, started: Sequence[Outgoing], failed: Failures) -> Failures:
        """Record the result of a dispatch. Return the messages that failed and that no outbox row keeps."""


class Dispatcher:
    """Starts the workflows of messages. An app has one in each process; every thread may use it."""

    def __init__(
        self,
        connection: Connection,
        *,
        timeout: float,
        wait: bool,
        on_started: Callable[[Outgoing], None] | None = None,
    ) -> None:
        """`on_started` is called for each message that the server has accepted, and must not raise."""
        self._connection = connection
        self._timeout = timeout
        self._wait = wait
        self._on_started = on_started
        self.absence = ServerAbsence(connection)

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Start messages now, outside any transaction.

        Raises `OperationalError` if the server can't accept them, and `WorkflowAlreadyStartedError` if the id of a
        hand-written workflow is taken.
        """
        self._connection.refuse_own_thread()
        batch = DispatchBatch(messages, self._connection, self._timeout, start)
        future = self._connection.submit(batch.run)
        try:
            future.result(self._timeout + GRACE)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            pass  # the batch knows which messages are not started
        finally:
            future.cancel()
        self._notify_started(batch)
        failed = batch.failed()
        tell_dispatch_end(DispatchEnd(batch.seconds, lost=len(failed)))
        for _, reason in failed:
            if isinstance(reason, WorkflowAlreadyStartedError):
                raise reason
            raise self._as_operational(reason) from reason

    def after_commit(self, messages: Sequence[Outgoing], recorder: DispatchRecorder | None = None) -> None:
        """Start the messages of a committed transaction. Never raises: it logs each message that could not be started.

        With an outbox, `recorder` gets the result, and messages that an outbox row keeps are not logged. While the
        server is known to be away they are not attempted at all: the relay sends them later.

        With `wait`, this returns when the server has accepted all messages, and after the timeout at the latest. A
        batch that makes progress then goes on in the background. It ends when it is done, or when it has made no
        progress for as long as the timeout. Without `wait`, this returns at once, unless the background is full.
        """
        if recorder is not None and self.absence.lasts:
            reason = self._as_operational(self.absence.reason or OperationalError(f"{self._connection} is away"))
            for_celery = [message for message in messages if isinstance(message, CeleryCall)]
            for_server = [message for message in messages if not isinstance(message, CeleryCall)]
            unkept = recorder.record_dispatch((), [(message, reason) for message in for_server])
            tell_dispatch_end(DispatchEnd(0.0, kept=len(for_server) - len(unkept)))
            messages = [*for_celery, *(message for message, _ in unkept)]
            if not messages:
                return
        may_wait = not self._connection.in_own_thread()
        if may_wait and not self._wait:
            self._wait_for_room()
        batch = DispatchBatch(messages, self._connection, self._timeout, start_committed)
        future: concurrent.futures.Future[None] = concurrent.futures.Future()
        try:
            self._connection.submit(batch.run, linger=self._timeout + GRACE, into=future)
            if may_wait and self._wait:
                concurrent.futures.wait([future], self._timeout + GRACE)
        finally:  # Ctrl-C must not lose the report
            if future.done():
                self._report(batch, future, recorder)
            else:
                # In the context of the commit, so that whoever watches the request learns of it, too.
                context = contextvars.copy_context()
                future.add_done_callback(lambda done: context.run(self._report, batch, done, recorder))

    def _wait_for_room(self) -> None:
        """Wait while `MOST_IN_BACKGROUND` transactions have messages on their way, at most as long as the timeout."""
        until = time.monotonic() + self._timeout
        while len(on_their_way := self._connection.lingering) >= MOST_IN_BACKGROUND:
            if (left := until - time.monotonic()) <= 0:
                return
            _background_full.say(
                "ptemporal.dispatch = background, but commits have to wait (%d since the last such line): the messages "
                "of %d earlier transactions are still on their way to %s, which is slow or away",
                MOST_IN_BACKGROUND,
                self._connection,
            )
            concurrent.futures.wait(on_their_way, left, concurrent.futures.FIRST_COMPLETED)

    def _report(
        self, batch: DispatchBatch, ended: concurrent.futures.Future[None], recorder: DispatchRecorder | None
    ) -> None:
        if ended.cancelled():
            batch.obstacle = OperationalError(f"the connection to {self._connection} was closed before its turn came")
        elif (error := ended.exception()) is not None:
            batch.obstacle = error
        self._notify_started(batch)
        failed: Failures = [(message, self._as_operational(reason)) for message, reason in batch.failed()]
        unsent = len(failed)
        if recorder is not None:
            failed = self._record(batch, failed, recorder)
        tell_dispatch_end(DispatchEnd(batch.seconds, kept=unsent - len(failed), lost=len(failed)))
        for unit, reason in failed:
            for message in parts_to_log(unit):
                name, text = name_and_text(message, self._connection.codecs)
                why = one_line(reason)
                log.error("committed, but not started: %s[%s]: %s; the message: %s", name, message.id, why, text)

    def _record(self, batch: DispatchBatch, failed: Failures, recorder: DispatchRecorder) -> Failures:
        away = next((reason for _, reason in batch.failed() if is_transient(reason)), None)
        has_answered = any(not isinstance(message, CeleryCall) for message in batch.started())
        if away is not None and not has_answered:
            self.absence.notice(away)
        return recorder.record_dispatch(batch.started(), failed)

    def _notify_started(self, batch: DispatchBatch) -> None:
        for message in batch.started():
            tell_sent(message)
            if self._on_started is not None:
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

    def __init__(
        self,
        messages: Sequence[Outgoing],
        connection: Connection,
        patience: float,
        start_one: Callable[[Client, Unit | WorkflowCall], Awaitable[None]],
    ) -> None:
        self._messages = messages
        self._start_one = start_one
        self._connection = connection
        self._patience = patience
        self._began = time.monotonic()
        self._deadline = self._began + patience
        self._unstarted: dict[int, BaseException | None] = dict.fromkeys(range(len(messages)))
        self.obstacle: BaseException = CallTimeout(f"no answer within {patience:g} s")
        """Why the batch makes no progress. Messages whose turn did not come have failed for this reason, too."""

    @property
    def seconds(self) -> float:
        """Return how long ago the batch was made."""
        return time.monotonic() - self._began

    async def run(self) -> None:
        """Try to start every message. Give up when no message could be started for `patience` seconds."""
        sequences = in_sequences(self._messages)
        turns = iter(sequences)
        await asyncio.gather(*(self._take_turns(turns) for _ in range(min(CONCURRENT_STARTS, len(sequences)))))

    def failed(self) -> list[tuple[Outgoing, BaseException]]:
        """Return the messages that the server has not confirmed, each with the reason."""
        return [(self._messages[turn], reason or self.obstacle) for turn, reason in self._unstarted.items()]

    def started(self) -> list[Outgoing]:
        """Return the messages that the server has accepted."""
        return [message for turn, message in enumerate(self._messages) if turn not in self._unstarted]

    async def _take_turns(self, turns: Iterator[Sequence[int]]) -> None:
        for sequence in turns:
            try:
                for turn in sequence:
                    await self._start(self._messages[turn])
                    del self._unstarted[turn]
                    self._deadline = time.monotonic() + self._patience
            except Exception as error:
                # What follows in the sequence needs the one that has failed: a signal needs the start of its workflow.
                self._unstarted.update((turn, error) for turn in sequence if turn in self._unstarted)

    async def _start(self, message: Outgoing) -> None:
        retry = message.publish_retry
        pauses = exponential_pauses(FIRST_PAUSE, LONGEST_PAUSE) if retry is None else retry.pauses()
        while (left := self._deadline - time.monotonic()) > 0:
            try:
                return await asyncio.wait_for(self._try_to_start(message), left)
            except asyncio.TimeoutError:
                continue
            except Exception as error:
                if not may_succeed_soon(error):
                    raise
                self.obstacle = error
            pause = next(pauses, None)
            if pause is None:
                break
            await asyncio.sleep(min(pause, left))
        raise self.obstacle

    async def _try_to_start(self, message: Outgoing) -> None:
        if isinstance(message, CeleryCall):  # it goes to the broker, also while the server is away
            return await publish_to_celery(message)
        connection = self._connection
        client = connection.client() if message.publish_retry is None else connection.client_without_retries()
        await self._start_one(await client, message)


def may_succeed_soon(error: BaseException) -> bool:
    """Return whether another attempt within seconds may succeed: to start a workflow, or to publish to Celery."""
    return error.transient if isinstance(error, NotPublished) else is_transient(error)


async def publish_to_celery(call: CeleryCall) -> None:
    """Publish a call to Celery's broker. The event loop goes on meanwhile."""
    await asyncio.to_thread(publish, call)


def in_sequences(messages: Sequence[Outgoing]) -> list[list[int]]:
    """Return the places of the messages: those of one workflow together, in their order."""
    sequences: dict[str, list[int]] = {}
    for place, message in enumerate(messages):
        sequences.setdefault(workflow_id_of(message), []).append(place)
    return list(sequences.values())


async def start_committed(client: Client, message: Unit | WorkflowCall, now: datetime.datetime | None = None) -> None:
    """Do what `start` does after a commit, when no caller is left to get an error that another attempt can't change."""
    try:
        await start(client, message, now)
    except WorkflowAlreadyStartedError as taken:
        log.warning(
            "committed, but not started: workflow %s[%s]: another workflow has this id, in run %s; id_reuse_policy and "
            "id_conflict_policy of start_workflow() say what happens then",
            one_line(taken.workflow_type),
            one_line(taken.workflow_id),
            taken.run_id,
        )


async def start(client: Client, message: Unit | WorkflowCall, now: datetime.datetime | None = None) -> None:
    """Start the workflow of one message. Do nothing if the server already has a workflow with the message's id.

    For a call of a hand-written workflow, send its request, which may raise `WorkflowAlreadyStartedError`.

    :param now: the time on the clock that the message's `eta` and `expires` were read from, if it is not this process'.
    """
    now = now or datetime.datetime.now(datetime.timezone.utc)
    if isinstance(message, WorkflowCall):
        await send_request(client, message, now)
    else:
        await start_task(client, message, now)


async def start_task(client: Client, unit: Unit, now: datetime.datetime) -> None:
    """Start a task in its lane, or the workflow of a canvas or a bundle."""
    unit = unit.leaving(now)
    delay = delay_of(unit, now)
    if isinstance(unit, Message) and unit.lane == ACTIVITY:
        with trace_continued(unit.headers):
            await standalone.start(client, unit, delay, now)
    else:
        await start_workflow(client, unit, delay, memo=wire.memo_of(unit))


async def start_workflow(
    client: Client,
    unit: Unit,
    delay: datetime.timedelta | None,
    *,
    memo: Mapping[str, Any] | None,
    in_place_of: Message | None = None,
) -> None:
    """Start the generated workflow of a task, a canvas or a bundle.

    :param in_place_of: the task whose name, id and queue the workflow takes.
    """
    message = in_place_of or unit
    try:
        with trace_continued(message.headers):
            await client.start_workflow(
                message.task,
                args=to_arguments(unit.encode()),
                id=message.id,
                task_queue=message.queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                start_delay=delay,
                priority=priority_of(message),
                static_summary=message.summary[: wire.SUMMARY_LIMIT],
                memo=memo,
            )
    except WorkflowAlreadyStartedError:
        log.debug("already started: %s[%s]", message.task, message.id)


def delay_of(message: Unit, now: datetime.datetime) -> datetime.timedelta | None:
    """Return how long the server has to wait before it starts the message; None if the message is due."""
    if message.eta is None:
        return None
    delay = message.eta - now
    return delay if delay > datetime.timedelta(0) else None
