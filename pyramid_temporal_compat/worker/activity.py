"""The generated activity: one dynamic activity that is every task's.

It runs on the worker's event loop: it reads the message, hands the job to the pool, beats while the pool
works, and tells Temporal how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from ..control import state
from ..control.orders import Orders
from ..exceptions import InvalidTaskError, Terminated, TimeLimitExceeded, WorkerLostError
from ..message import Message
from ..payload.converter import from_raw, to_raw
from ..payload.errors import to_wire
from . import wire
from .outcome import Began, Failed, GivenBack, Job, Outcome, Progress, Retried, Succeeded
from .pools import Pool

if TYPE_CHECKING:
    from ..app import Celery

log = logging.getLogger(__name__)

BEATS_PER_TIMEOUT = 10
"""Heartbeats in one `heartbeat_timeout`: so many may be late before the worker counts as lost, and this often
a running task learns that it was terminated."""
AT_ONCE = timedelta(milliseconds=1)
"""The server takes a delay of nothing for none given, and then backs off."""
UNKNOWN_PAUSE = timedelta(seconds=5)
"""How long a task that this worker does not know waits before it is offered again."""


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

    def __init__(self, app: Celery, pool: Pool, hostname: str) -> None:
        self._app = app
        self._pool = pool
        self._hostname = hostname
        self._reported: set[str] = set()
        self.running: dict[str, Taken] = {}
        self.orders = Orders(app)
        self.count = 0
        """How many tasks were taken so far."""
        self.stop_now = asyncio.Event()
        """Set: what runs is stopped, and runs again on another worker."""

    @activity.defn(dynamic=True)
    async def run(self, payloads: Sequence[RawValue]) -> Any:
        message = read_message(payloads)
        if message.task not in self._app.tasks:
            self._unknown(message)
        if message.expires and message.expires <= datetime.datetime.now(datetime.timezone.utc):
            log.info("%s[%s] expired at %s", message.task, message.id, message.expires.isoformat())
            raise Ended(f"expired at {message.expires.isoformat()}", type=wire.REVOKED, non_retryable=True)
        self._refuse_if_revoked(message)
        await self._turn(message)
        job = Job(message, _earlier_retries(message), self._hostname)
        taken = self.running[message.id] = Taken(job)
        state.total_count[message.task] += 1
        self.count += 1
        began = time.monotonic()
        try:
            outcome = await self._watched(taken)
        finally:
            del self.running[message.id]
        return self._conclude(job, outcome, time.monotonic() - began)

    def _refuse_if_revoked(self, message: Message) -> None:
        reason = self.orders.refusal(message)
        if reason is not None:
            log.info("Discarding revoked task: %s[%s]", message.task, message.id)
            raise Ended(reason, type=wire.REVOKED, non_retryable=True)

    async def _turn(self, message: Message) -> None:
        """Return when the task's rate limit lets it start, or give it back to the server until then."""
        while wait := self.orders.wait(message):
            retries = {wire.RETRIES: _earlier_retries(message)}
            activity.heartbeat(retries)
            if wait > LONGEST_HOLD and not message.at_most_once:
                raise Ended(
                    f"its turn is in {wait:.1f} s (rate limit)",
                    type=wire.RATE_LIMITED,
                    next_retry_delay=timedelta(seconds=wait),
                )
            await asyncio.sleep(min(wait, message.heartbeat_timeout / BEATS_PER_TIMEOUT))
            self._refuse_if_revoked(message)

    async def _watched(self, taken: Taken) -> Outcome:
        """Run the job; beat while it runs; stop it when its workflow is gone, or the worker is to end at once."""
        job, message = taken.job, taken.job.message
        beat = Heartbeat(job)
        limits = self.orders.limits(message)

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
                    stop = self._stop_with_workflow(message)
                if stop is not None:
                    run.cancel(taken.terminated.result() if taken.terminated.done() else None)
                    # A job that was past stopping, in its commit, has ended well: then that is what happened.
                    with contextlib.suppress(asyncio.CancelledError):
                        return await run
                    raise stop
            return run.result()
        except TimeLimitExceeded as error:
            log.error("Task %s[%s]: hard time limit (%s s) exceeded", message.task, message.id, limits.hard)
            return Failed(to_wire(error))
        except WorkerLostError as error:
            log.error("Task %s[%s]: %s", message.task, message.id, error)
            if message.at_most_once:
                return Failed(to_wire(error))
            raise Ended(str(error), type=wire.WORKER_LOST) from None
        finally:
            beating.cancel()
            stopped.cancel()

    def _stop_if_told(self, taken: Taken, stop_now: bool) -> Ended | None:
        message = taken.job.message
        if taken.terminated.done():
            log.warning("Task %s[%s] is terminated (%s)", message.task, message.id, taken.terminated.result())
            return Ended("terminated", type=wire.REVOKED, non_retryable=True)
        return self._stop_with_worker(message) if stop_now else None

    def _stop_with_workflow(self, message: Message) -> Ended | None:
        details = activity.cancellation_details()
        where = (message.task, message.id)
        if details is not None and (details.not_found or details.timed_out):
            log.info("Task %s[%s] was terminated", *where)
            return Ended("terminated", type=Terminated.__name__, non_retryable=True)
        if details is None or details.worker_shutdown:
            return self._stop_with_worker(message)
        log.info("Task %s[%s] was revoked while it ran: it runs to its end", *where)
        return None

    def _stop_with_worker(self, message: Message) -> Ended:
        where = (message.task, message.id)
        if message.at_most_once:
            log.error("Task %s[%s] is stopped with this worker; acks_late=False: it is not run again", *where)
            return task_failure(to_wire(WorkerLostError(f"the worker was stopped while it ran {message.id}")))
        log.warning("Task %s[%s] is stopped with this worker and runs again", *where)
        return Ended("the worker was stopped", type=wire.WORKER_SHUTDOWN, next_retry_delay=AT_ONCE)

    def _conclude(self, job: Job, outcome: Outcome, seconds: float) -> Any:
        message = job.message
        where = (message.shadow or message.task, message.id)
        if isinstance(outcome, Succeeded):
            log.info("Task %s[%s] succeeded in %.3fs", *where, seconds)
            return to_raw(wire.with_children(outcome.result, outcome.children))
        if isinstance(outcome, Retried):
            log.info("Task %s[%s] retry: %s", *where, outcome.error.get("text"))
            self._retry(job, outcome)
        if isinstance(outcome, GivenBack):
            log.info("Task %s[%s] %s", *where, outcome.reason)
            if outcome.requeue:
                raise Ended(outcome.reason, type=wire.REJECTED, next_retry_delay=AT_ONCE)
            return to_raw(wire.ended_as(outcome.state.state, outcome.state.meta))
        level = logging.INFO if outcome.expected else logging.ERROR
        log.log(level, "Task %s[%s] raised: %s\n%s", *where, outcome.error.get("text"), outcome.error.get("traceback"))
        raise task_failure({**outcome.error, "children": list(outcome.children)} if outcome.children else outcome.error)

    def _retry(self, job: Job, outcome: Retried) -> NoReturn:
        message, retries = outcome.message, job.retries + 1
        text = str(outcome.error.get("text"))
        if message is None and not job.message.at_most_once:
            # The next attempt reads the count from the last heartbeat; the failure itself it never sees.
            activity.heartbeat({wire.RETRIES: retries})
            delay = max(AT_ONCE, timedelta(seconds=outcome.delay))
            raise Ended(text, wire.plain(outcome.error), type=wire.RETRY, next_retry_delay=delay)
        again = message or job.message.copy(retries=retries)
        envelope, body = again.encode()
        changed = None if body == job.message.body else wire.write_payload(body)
        details = (outcome.delay, json.loads(envelope.data), changed)
        raise Ended(text, *details, type=wire.RETRY_ANEW, non_retryable=True)

    def _unknown(self, message: Message) -> NoReturn:
        text = (
            f"task {message.task!r} is not registered in this worker; it knows {len(self._app.tasks)} tasks "
            "(ptemporal-compat list tasks app.ini); add the module to ptemporal.include"
        )
        if message.task not in self._reported:
            self._reported.add(message.task)
            log.error("%s[%s]: %s", message.task, message.id, text)
        if self._app.conf.ptemporal_unknown_task == "fail":
            raise Ended(text, type=wire.NOT_REGISTERED, non_retryable=True)
        retries = {wire.RETRIES: _earlier_retries(message)}
        activity.heartbeat(retries)
        raise Ended(text, type=wire.NOT_REGISTERED, next_retry_delay=UNKNOWN_PAUSE)


class Heartbeat:
    """Tells the server that the job is alive, and how far it says it is."""

    def __init__(self, job: Job) -> None:
        self._details: dict[str, Any] = {wire.RETRIES: job.retries}
        self._pause = job.message.heartbeat_timeout / BEATS_PER_TIMEOUT
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


def read_message(payloads: Sequence[RawValue]) -> Message:
    if len(payloads) == 2:
        with contextlib.suppress(InvalidTaskError):
            return Message.decode(payloads[0].payload.data, from_raw(payloads[1]))
    # As Temporal says it of an activity that no worker here has registered: another worker may have it.
    name = activity.info().activity_type
    raise Ended(
        f"Activity function {name} for workflow {activity.info().workflow_id} is not registered on this worker",
        type="NotFoundError",
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


def task_failure(error: Mapping[str, Any]) -> Ended:
    """The task's own exception, as Temporal carries it."""
    failure = Ended(str(error.get("text")), wire.plain(error), type=str(error.get("type")), non_retryable=True)
    failure.remote_traceback = error.get("traceback")
    return failure


def _earlier_retries(message: Message) -> int:
    details = activity.info().heartbeat_details
    found = details[0] if details else None
    return int(found.get(wire.RETRIES, message.retries)) if isinstance(found, Mapping) else message.retries
