"""The generated activity: one dynamic activity that is every task's.

It runs on the worker's event loop: it reads the message, hands the job to the pool, beats while the pool
works, and tells Temporal how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import datetime
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from .. import signals
from ..control import state
from ..control.orders import Orders
from ..exceptions import InvalidTaskError, NotRegistered, Terminated, TimeLimitExceeded, WorkerLostError
from ..message import wire_names as wire
from ..message.backoff import exponential_pause
from ..message.message import Message, NewerMessage, is_message, total_size
from ..message.time_limits import Limits
from ..payload import Payload
from ..payload.converter import from_raw, to_raw
from ..payload.errors import to_wire
from ..text_safety import one_line
from . import task_log as task_log
from .celery_request import Request
from .outcome import (
    Asked,
    Away,
    Began,
    Claimed,
    Failed,
    GivenBack,
    InDoubt,
    Job,
    Outcome,
    Progress,
    Replaced,
    Retried,
    Succeeded,
)
from .pools.pool import Pool
from .run_identity import same_chain

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

BEATS_PER_TIMEOUT = 10
"""Heartbeats in one `heartbeat_timeout`: so many may be late before the worker counts as lost, and this often
a running task learns that it was terminated."""
SHORTEST_PAUSE = 0.02
"""Seconds between two heartbeats at least, whatever timeout a message asks for."""
AT_ONCE = timedelta(milliseconds=1)
"""The server takes a delay of nothing for none given, and then backs off."""
MOST_REPORTED = 1000
"""Names of unknown tasks that are remembered: who makes them up must not fill the worker's memory."""
UNKNOWN_PAUSE = timedelta(seconds=5)
"""How long a task that this worker does not know waits before it is offered again."""
FIRST_ABSENCE, LONGEST_ABSENCE = 1.0, 30.0
"""How long a task waits for a database that is away: twice as long each time."""
IN_DOUBT_PAUSE = timedelta(seconds=5)
"""How long a task waits of which the database does not say whether it is done."""
NO_LIMITS = Limits()
FROZEN = 1.0
"""Seconds between a process' two clocks that no machine has."""
SMALL = 1536
"""Bytes of a changed message that travels in the heartbeats: those of a thousand tasks of one workflow, and their
failures, have 8 MiB on the server."""
LONGEST_HOLD = 0.2
"""Seconds that a task waits in the worker for its turn under a rate limit, rather than on the server: so long as
it waits here, no other task has its place."""


@dataclass(eq=False)
class Taken:
    """A task that this worker has taken from the server."""

    job: Job
    began: Began | None = None
    """Set once its turn in the pool has come."""
    terminated: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Set to a signal's name: the task is to be stopped."""

    def terminate(self, signal: str) -> None:
        if not self.terminated.done():
            self.terminated.set_result(signal)


class TaskActivity:
    """Runs tasks in a pool. Belongs to the worker's event loop."""

    def __init__(self, app: AppLike, pool: Pool, hostname: str, limits: Limits = NO_LIMITS) -> None:
        """
        :param limits: the worker's own, for tasks that have none.
        """
        self._app = app
        self._pool = pool
        self._hostname = hostname
        self._limits = limits
        self._reported: set[str] = set()
        self.consumer: Any = None
        """What signals about messages name as their sender."""
        self.on_taken: Callable[[], None] = lambda: None
        self.idle = asyncio.Event()
        """Set while no task runs."""
        self.idle.set()
        self.running: dict[str, Taken] = {}
        self.orders = Orders(app)
        self.count = 0
        """How many tasks were taken so far."""
        self.stop_now = asyncio.Event()
        """Set: what runs is stopped, and runs again on another worker."""

    @activity.defn(dynamic=True)
    async def run(self, payloads: Sequence[RawValue]) -> Any:
        message = self._message(payloads)
        job = self._job(message, payloads[2:])
        try:
            if not await self._is_done(job):
                await self._admit(message)
        except (Ended, asyncio.CancelledError):
            raise
        except Exception as error:
            # Not to be left to Temporal, which would try again for ever.
            log.exception("%s[%s] could not be taken", message.task, message.id)
            raise task_failure(to_wire(error)) from None
        task_log.received(message)
        if signals.task_received.receivers:
            signals.task_received.send(sender=self.consumer, request=self._request(message, job.before))
        taken = self.running[message.id] = Taken(job)
        self.idle.clear()
        state.total_count[message.task] += 1
        self.count += 1
        self.on_taken()
        try:
            given_up = self._is_poison(_lost_before(message))
            if given_up:
                outcome: Outcome = await self._failed(job, self._lost_too_often(message))
            else:
                outcome = await self._watched(taken)
            while isinstance(outcome, Claimed):
                taken.job = job = await self._told_of(job, outcome)
                outcome = await self._watched(taken)
        finally:
            # Not another attempt's, which came to this worker too since the server took it for dead.
            if self.running.get(message.id) is taken:
                del self.running[message.id]
            if not self.running:
                self.idle.set()
        return self._conclude(job, outcome)

    def _job(self, message: Message, before: Sequence[RawValue]) -> Job:
        info, retries = activity.info(), _earlier_retries(message)
        return Job(
            message,
            retries,
            self._hostname,
            info.attempt - 1 > retries - message.retries,
            tuple(from_raw(payload) for payload in before),
            info.workflow_id,
            attempt=info.attempt,
            namespace=info.namespace,
            run_id=info.workflow_run_id or "",
        )

    async def _is_done(self, job: Job) -> bool:
        """Whether an attempt that lost its worker has committed: then it is too late for the task to be refused."""
        message = job.message
        if not self._app.conf["ptemporal.receipts"] or not _lost_before(message) or message.task not in self._app.tasks:
            return False
        beating = asyncio.ensure_future(Heartbeat(job).forever())
        try:
            outcome = await self._pool.run(dataclasses.replace(job, asks=True), NO_LIMITS, lambda note: None)
        finally:
            beating.cancel()
        if isinstance(outcome, InDoubt):
            self._conclude(job, outcome)
        return isinstance(outcome, Asked) and outcome.is_done

    async def _admit(self, message: Message) -> None:
        """Return when the task may run; raises what ends it, or gives it back."""
        if message.expires and has_expired(message, message.expires, activity.info().started_time):
            log.info("%s[%s] expired at %s", message.task, message.id, message.expires.isoformat())
            self._tell_revoked(message, expired=True)
            raise Ended(f"expired at {message.expires.isoformat()}", type=wire.REVOKED, non_retryable=True)
        self._refuse_if_revoked(message)
        if message.task not in self._app.tasks:
            self._unknown(message)
        await self._turn(message)

    def _message(self, payloads: Sequence[RawValue]) -> Message:
        try:
            return changed_since(read_message(payloads))
        except Ended as error:
            signals.task_rejected.send(sender=self.consumer, message=payloads, exc=error)
            raise

    def _request(self, message: Message, payloads: Sequence[Payload] = ()) -> Request:
        return Request(self._app, message, _earlier_retries(message), self._hostname, payloads)

    def _tell_revoked(
        self, message: Message, *, expired: bool = False, terminated: bool = False, signum: Any = None
    ) -> None:
        if signals.task_revoked.receivers and message.task in self._app.tasks:
            request = self._request(message)
            request.already_revoked = True
            task = self._app.tasks[message.task]
            signals.task_revoked.send(
                sender=task, request=request, terminated=terminated, signum=signum, expired=expired
            )

    def _refuse_if_revoked(self, message: Message) -> None:
        reason = self.orders.refusal(message)
        if reason is not None:
            log.info("Discarding revoked task: %s[%s]", message.task, message.id)
            self._tell_revoked(message)
            raise Ended(reason, type=wire.REVOKED, non_retryable=True)

    def _is_poison(self, lost: int) -> bool:
        most = self._app.conf.ptemporal_lost_worker_attempts
        return bool(most and lost >= most)

    def _lost_too_often(self, message: Message) -> WorkerLostError:
        most = self._app.conf.ptemporal_lost_worker_attempts
        log.error("Task %s[%s] has lost its worker %d times: it is not run again", message.task, message.id, most)
        return WorkerLostError(
            f"{message.task}[{message.id}] has lost its worker {most} times, and is not run again "
            "(ptemporal.lost_worker_attempts)"
        )

    async def _turn(self, message: Message) -> None:
        """Return when the task's rate limit lets it start, or give it back to the server until then."""
        while wait := self.orders.wait(message):
            activity.heartbeat(_counts(message))
            if wait > LONGEST_HOLD and not message.at_most_once:
                raise in_order(
                    message,
                    f"its turn is in {wait:.1f} s (rate limit)",
                    type=wire.RATE_LIMITED,
                    next_retry_delay=timedelta(seconds=wait),
                )
            await asyncio.sleep(min(wait, max(SHORTEST_PAUSE, message.heartbeat_timeout / BEATS_PER_TIMEOUT)))
            self._refuse_if_revoked(message)

    async def _watched(self, taken: Taken) -> Outcome:
        """Run the job; beat while it runs; stop it when its workflow is gone, or the worker is to end at once."""
        job, message = taken.job, taken.job.message
        beat = Heartbeat(job)
        limits = self._limits_of(message)

        def note(value: Any) -> None:
            if isinstance(value, Began):
                taken.began = value
            else:
                beat.note(value)

        run: asyncio.Future[Outcome] = asyncio.ensure_future(self._pool.run(job, limits, note))
        beating = asyncio.ensure_future(beat.forever())
        stopped = asyncio.ensure_future(self.stop_now.wait())
        try:
            while not run.done():
                try:
                    await asyncio.wait((run, stopped, taken.terminated), return_when=asyncio.FIRST_COMPLETED)
                    stop = self._stop_if_told(taken, stopped.done()) if not run.done() else None
                except asyncio.CancelledError:
                    stop = self._stop_with_workflow(taken)
                if stop is not None:
                    run.cancel(taken.terminated.result() if taken.terminated.done() else None)
                    # A job that was past stopping, in its commit, has ended well: then that is what happened.
                    with contextlib.suppress(asyncio.CancelledError):
                        return await run
                    raise stop
            return run.result()
        except Ended:
            raise
        except TimeLimitExceeded as error:
            log.error("Task %s[%s]: hard time limit (%s s) exceeded", message.task, message.id, limits.hard)
            if not self._is_given_back_when_late(message) or self._is_poison(1 + _lost_before(message)):
                return await self._failed(job, error)
            # Not in order: each such attempt counts as one that killed its process.
            raise Ended(str(error), type=wire.REJECTED, next_retry_delay=AT_ONCE) from None
        except WorkerLostError as error:
            if taken.began is None:
                raise self._not_begun(message) from None
            log.error("Task %s[%s]: %s", message.task, message.id, error)
            task = self._app.tasks[message.task]
            if task.retry_on_worker_lost and (task.max_retries is None or job.retries < task.max_retries):
                return Retried(task.default_retry_delay, to_wire(error))
            if task.retry_on_worker_lost or message.at_most_once or task.reject_on_worker_lost is False:
                return await self._failed(job, error)
            if self._is_poison(1 + _lost_before(message)):
                return await self._failed(job, self._lost_too_often(message))
            raise Ended(str(error), type=wire.WORKER_LOST) from None
        except Exception as error:
            if taken.began is None and self.stop_now.is_set():
                raise self._not_begun(message) from None
            # Not to be left to Temporal, which would try again for ever.
            log.exception("Task %s[%s]: the pool could not run it", message.task, message.id)
            return Failed(to_wire(error))
        finally:
            beating.cancel()
            stopped.cancel()

    async def _told_of(self, job: Job, claim: Claimed) -> Job:
        """The job, told whether that other run was of the same task: the server knows."""
        where = (job.message.task, job.message.id)
        try:
            client = activity.client()
            same = await same_chain(client, (job.workflow_id or "", job.run_id), (claim.workflow_id, claim.run_id))
        except RPCError as error:
            log.warning("Task %s[%s]: whether it is done is asked again: %s", *where, error.message)
            raise in_order(job.message, error.message, type=wire.IN_DOUBT, next_retry_delay=IN_DOUBT_PAUSE) from None
        return dataclasses.replace(job, known_runs={**job.known_runs, claim.run_id: same})

    async def _failed(self, job: Job, error: Exception) -> Outcome:
        """The end of a run that could not tell it itself. The pool is asked for the hooks that follow a failure.

        With receipts on it looks for that first: the run may have come to its commit.
        """
        beating = asyncio.ensure_future(Heartbeat(job).forever())
        try:
            follow = dataclasses.replace(job, failed=error)
            outcome: Outcome = await self._pool.run(follow, NO_LIMITS, lambda note: None)
            if isinstance(outcome, (Succeeded, Replaced)):
                return outcome
        except Exception as raised:
            log.error("Task %s[%s]: what follows its failure was not run: %s", job.message.task, job.message.id, raised)
        finally:
            beating.cancel()
        return Failed(to_wire(error))

    def _is_given_back_when_late(self, message: Message) -> bool:
        """Whether a task that was stopped at its time limit is to run again: Celery's `acks_on_timeout=False`."""
        task = self._app.tasks[message.task]
        acknowledged = task.acks_on_timeout
        if acknowledged is None:
            acknowledged = task.acks_on_failure_or_timeout
        return bool(task.acks_late) and acknowledged is False

    def _limits_of(self, message: Message) -> Limits:
        asked, task = self.orders.limits(message), self._app.tasks[message.task]
        return Limits(
            asked.soft or task.soft_time_limit or self._limits.soft,
            asked.hard or task.time_limit or self._limits.hard,
        )

    def _stop_if_told(self, taken: Taken, stop_now: bool) -> Ended | None:
        message = taken.job.message
        if taken.terminated.done():
            name = taken.terminated.result()
            log.warning("Task %s[%s] is terminated (%s)", message.task, message.id, name)
            self._tell_revoked(message, terminated=True, signum=name)
            return Ended("terminated", type=wire.REVOKED, non_retryable=True)
        return self._stop_with_worker(taken) if stop_now else None

    def _stop_with_workflow(self, taken: Taken) -> Ended | None:
        message = taken.job.message
        details = activity.cancellation_details()
        where = (message.task, message.id)
        if details is not None and (details.not_found or details.timed_out):
            log.info("Task %s[%s] was terminated", *where)
            self._tell_revoked(message, terminated=True, signum="SIGTERM")
            return Ended("terminated", type=Terminated.__name__, non_retryable=True)
        if details is None or details.worker_shutdown:
            return self._stop_with_worker(taken)
        log.info("Task %s[%s] was revoked while it ran: it runs to its end", *where)
        return None

    def _stop_with_worker(self, taken: Taken) -> Ended:
        message = taken.job.message
        where = (message.task, message.id)
        if taken.began is None:
            return self._not_begun(message)
        if message.at_most_once:
            log.error("Task %s[%s] is stopped with this worker; acks_late=False: it is not run again", *where)
            return task_failure(to_wire(WorkerLostError(f"the worker was stopped while it ran {message.id}")))
        log.warning("Task %s[%s] is stopped with this worker and runs again", *where)
        return in_order(message, "the worker was stopped", type=wire.WORKER_SHUTDOWN, next_retry_delay=AT_ONCE)

    def _not_begun(self, message: Message) -> Ended:
        """Give back a task whose function was not called, so that it runs elsewhere, at most once or not."""
        log.info("Task %s[%s] had not begun; it is given back", message.task, message.id)
        if not message.at_most_once:
            return in_order(message, "the worker was stopped", type=wire.WORKER_SHUTDOWN, next_retry_delay=AT_ONCE)
        return run_anew("the worker was stopped", 0, message, None)

    def _conclude(self, job: Job, outcome: Outcome) -> Any:
        """Tell Temporal how the run ended; the pool has logged it."""
        if isinstance(outcome, Succeeded):
            written = wire.with_retries(wire.with_children(outcome.result, outcome.children), job.retries)
            return to_raw(wire.with_added(written, outcome.added))
        if isinstance(outcome, Replaced):
            raise Ended("replaced", wire.write_payloads(outcome.tree), type=wire.REPLACED, non_retryable=True)
        if isinstance(outcome, Retried):
            self._retry(job, outcome)
        if isinstance(outcome, InDoubt) and not job.message.at_most_once:
            log.error(
                "Task %s[%s]: whether it is done can't be told; asked again in %d s: %s",
                job.message.task,
                job.message.id,
                IN_DOUBT_PAUSE.total_seconds(),
                outcome.error.get("text"),
            )
            text = str(outcome.error.get("text"))
            raise in_order(job.message, text, type=wire.IN_DOUBT, next_retry_delay=IN_DOUBT_PAUSE)
        if isinstance(outcome, Away):
            self._wait_for_database(job.message, str(outcome.error.get("text")))
        if isinstance(outcome, GivenBack):
            if outcome.requeue:
                raise in_order(job.message, outcome.reason, type=wire.REJECTED, next_retry_delay=AT_ONCE)
            return to_raw(wire.with_retries(wire.ended_as(outcome.state.state, outcome.state.meta), job.retries))
        assert isinstance(outcome, (Failed, InDoubt)), outcome
        error = dict(outcome.error)
        if isinstance(outcome, Failed) and outcome.children:
            error["children"] = list(outcome.children)
        if job.retries:
            error[wire.RETRIES] = job.retries
        raise task_failure(error)

    def _wait_for_database(self, message: Message, text: str) -> NoReturn:
        pause = exponential_pause(FIRST_ABSENCE, activity.info().attempt - 1, LONGEST_ABSENCE)
        log.warning(
            "Task %s[%s]: its database is away, and it runs again in %d s: %s",
            message.task,
            message.id,
            pause,
            text,
        )
        raise in_order(message, text, type=wire.DATABASE_AWAY, next_retry_delay=timedelta(seconds=pause))

    def _retry(self, job: Job, outcome: Retried) -> NoReturn:
        message, retries = outcome.message, job.retries + 1
        text = str(outcome.error.get("text"))
        if not job.message.at_most_once and (message is None or is_same_to_the_server(job.message, message)):
            delay = max(AT_ONCE, timedelta(seconds=outcome.delay))
            how: dict[str, Any] = {"type": wire.RETRY, "next_retry_delay": delay}
            raise in_order(job.message, text, wire.plain(outcome.error), retries=retries, changed=message, **how)
        again = message or job.message.copy(retries=retries)
        same_body = again.body == job.message.body and wire.CHANGED not in _last_heartbeat()
        raise run_anew(text, outcome.delay, again, None if same_body else again.body)

    def _unknown(self, message: Message) -> NoReturn:
        text = (
            f"task {message.task!r} is not registered in this worker; it knows {len(self._app.tasks.own())} tasks "
            "(ptemporal-compat list tasks app.ini); add the module to ptemporal.include"
        )
        if message.task not in self._reported:
            if len(self._reported) >= MOST_REPORTED:
                self._reported.clear()
            self._reported.add(message.task)
            log.error("%s[%s]: %s", message.task, message.id, text)
        if signals.task_unknown.receivers:
            signals.task_unknown.send(
                sender=self.consumer, message=message, exc=NotRegistered(text), name=message.task, id=message.id
            )
        if self._app.conf.ptemporal_unknown_task == "fail":
            raise Ended(text, type=wire.NOT_REGISTERED, non_retryable=True)
        raise in_order(message, text, type=wire.NOT_REGISTERED, next_retry_delay=UNKNOWN_PAUSE)


class Heartbeat:
    """Tells the server that the job is alive, and how far it says it is."""

    def __init__(self, job: Job) -> None:
        self._details: dict[str, Any] = _counts(job.message)
        self._pause = max(SHORTEST_PAUSE, job.message.heartbeat_timeout / BEATS_PER_TIMEOUT)
        self._context = contextvars.copy_context()  # the activity's own; the pool calls `note` from elsewhere

    def note(self, note: Any) -> None:
        if isinstance(note, Progress):
            self._details |= {wire.STATE: note.state, wire.META: note.meta}
            self._beat()

    async def forever(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            self._beat()

    def _beat(self) -> None:
        self._context.run(activity.heartbeat, self._details)


def has_expired(
    message: Message, expires: datetime.datetime, started: datetime.datetime, clock: Callable[[], float] = time.time
) -> bool:
    """By the server's clock: the sender's and this worker's may be wrong.

    :param clock: bound here, once: where a test has frozen the time, the frozen one counts.
    """
    here = datetime.datetime.now(datetime.timezone.utc)
    if abs(here.timestamp() - clock()) > FROZEN:
        return expires <= here
    return expires + timedelta(seconds=message.ahead) <= started


def read_message(payloads: Sequence[RawValue]) -> Message:
    if len(payloads) >= 2 and is_message(payloads[0].payload.data):
        try:
            return Message.decode(payloads[0].payload.data, from_raw(payloads[1]))
        except NewerMessage as error:
            raise Ended(str(error), type="NotFoundError") from None
        except InvalidTaskError as error:
            where = one_line(f"{activity.info().activity_type}[{activity.info().activity_id}]")
            log.error("%s is refused: %s", where, one_line(error))
            raise Ended(str(error), type=type(error).__name__, non_retryable=True) from None
    # As Temporal says it of an activity that no worker here has registered: another worker may have it.
    name = activity.info().activity_type
    raise Ended(
        f"Activity function {name} for workflow {activity.info().workflow_id} is not registered on this worker",
        type="NotFoundError",
    )


def changed_since(message: Message) -> Message:
    """The message as the last attempt's retry has changed it; the retries before the activity are still its own."""
    try:
        envelope, body = _last_heartbeat()[wire.CHANGED]
        changed = Message.read(envelope, wire.read_payload(body)).copy(retries=message.retries)
    except NewerMessage as error:
        raise Ended(str(error), type="NotFoundError") from None
    except (KeyError, TypeError, ValueError, InvalidTaskError):
        return message
    return changed if (changed.task, changed.id) == (message.task, message.id) else message


def is_same_to_the_server(message: Message, changed: Message) -> bool:
    """Whether the changed message differs only in what the worker reads, and can take the other's place as it is.

    Then the server need not be asked for another activity. A workflow has room for some ten thousand of them, and a
    task that counts in its arguments may be retried for ever.
    """
    alike = all(getattr(message, name) == getattr(changed, name) for name in OF_THE_SERVER)
    return alike and message.expires is None and total_size(changed.encode()) <= SMALL


OF_THE_SERVER = (
    *("task", "id", "queue", "priority", "fairness_key", "fairness_weight"),
    *("expires", "heartbeat_timeout", "at_most_once"),
)


class Ended(ApplicationError):
    """How an attempt ended, for Temporal. The worker has logged it in the task's own words."""

    remote_traceback: str | None = None
    """The task's own traceback: what the web UI shows, by our failure converter."""


class NotTwice(logging.Filter):
    """Keeps from the log what the client library says of an attempt whose end we have logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], Ended))


logging.getLogger("temporalio.activity").addFilter(NotTwice())


def run_anew(reason: str, delay: float, message: Message, changed_body: Payload | None) -> Ended:
    """Have the workflow run this message in place of the one it has."""
    envelope, _ = message.encode()
    body = None if changed_body is None else wire.write_payload(changed_body)
    return Ended(reason, delay, json.loads(envelope.data), body, type=wire.RETRY_ANEW, non_retryable=True)


def task_failure(error: Mapping[str, Any]) -> Ended:
    """The task's own exception, as Temporal carries it."""
    failure = Ended(str(error.get("text")), wire.plain(error), type=str(error.get("type")), non_retryable=True)
    failure.remote_traceback = error.get("traceback")
    return failure


def in_order(
    message: Message,
    reason: str,
    *details: Any,
    retries: int | None = None,
    changed: Message | None = None,
    **how: Any,
) -> Ended:
    """The end of an attempt that another one follows, by the worker's own word.

    :param changed: what that one runs.
    """
    counts = _counts(message)
    counts[wire.ORDERLY] += 1
    if retries is not None:
        counts[wire.RETRIES] = retries
    if changed is not None:
        counts[wire.CHANGED] = [wire.plain(changed.envelope()), wire.write_payload(changed.body)]
    # The next attempt reads the counts from the last heartbeat; the failure itself it never sees.
    activity.heartbeat(counts)
    return Ended(reason, *details, **how)


def _counts(message: Message) -> dict[str, Any]:
    """What each heartbeat says, since the next attempt is told the last one."""
    changed = {name: value for name, value in _last_heartbeat().items() if name == wire.CHANGED}
    return {wire.RETRIES: _earlier_retries(message), wire.ORDERLY: _orderly(message), **changed}


def _earlier_retries(message: Message) -> int:
    return wire.count(_last_heartbeat().get(wire.RETRIES), message.retries)


def _orderly(message: Message) -> int:
    """How many earlier attempts ended with the worker's word: at least the retries, which older releases count."""
    return max(wire.count(_last_heartbeat().get(wire.ORDERLY)), _earlier_retries(message) - message.retries)


def _lost_before(message: Message) -> int:
    """How many earlier attempts lost their worker, or their process."""
    return activity.info().attempt - 1 - _orderly(message)


def _last_heartbeat() -> Mapping[str, Any]:
    details = activity.info().heartbeat_details
    found = details[0] if details else None
    return found if isinstance(found, Mapping) else {}
