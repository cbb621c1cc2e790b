"""The generated activity: one dynamic activity runs every task. `TaskActivity.run` lists its steps in order.

It runs on the worker's event loop. The task's function runs in the pool, where `worker/runner.py` lists the steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.common import RawValue

from ..control import process_state
from ..control.limits import Limits
from ..control.orders import Orders
from ..exceptions import TimeLimitExceeded, WorkerLostError
from ..message import wire_names as wire
from ..message.message import Message
from ..payload.errors import to_wire
from . import task_log, task_signals
from .attempt_end import AttemptEnd, failed, not_begun
from .job import Job
from .outcome import Failed, Outcome, ReceiptOfAnotherRun
from .pools.pool import Pool
from .slice_activity import SliceActivity
from .steps import (
    admission,
    earlier_receipt,
    failure_hooks,
    hand_over,
    lost_worker,
    pause,
    pool_run,
    rate_limit,
    read_message,
    report,
    slice_attempt,
    stopping,
    time_limit,
)
from .taken_task import NO_LIMITS, TakenTask, WorkerParts

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)


class TaskActivity:
    """Runs tasks in a pool. Belongs to the worker's event loop."""

    def __init__(self, app: AppLike, pool: Pool, hostname: str, limits: Limits = NO_LIMITS) -> None:
        """
        :param limits: the worker's own time limits, for tasks that have none.
        """
        self.parts = WorkerParts(app, pool, hostname, Orders(app), limits)
        self.orders = self.parts.orders
        self.stop_now = self.parts.stop_now
        self.on_taken: Callable[[], None] = lambda: None
        self.idle = asyncio.Event()
        """Set while no task runs."""
        self.idle.set()
        self.running: dict[str, TakenTask] = {}
        self.count = 0
        """How many tasks were taken so far."""

    @property
    def places_wanted(self) -> int:
        """Number of tasks that have a place in the pool, or wait for one."""
        return sum(not taken.in_line for taken in self.running.values())

    @activity.defn(dynamic=True)
    async def run(self, payloads: Sequence[RawValue]) -> Any:
        """Make one attempt of one task, or of the members of a slice.

        Takes the payloads that the workflow sent, and returns the result that the workflow gets.
        """
        if activity.info().activity_type == wire.SLICE:
            return await SliceActivity(self.parts, self.attempt, self.reserved).run(payloads)
        job = await read_message.read_job(self.parts, payloads)
        return await self.attempt(slice_attempt.without_attempt(job))

    async def attempt(self, job: Job) -> Any:
        """Make one attempt of one task, and return its result."""
        worker = self.parts
        with unexpected_errors_fail_the_task(job.message):
            await hand_over.refuse_handed_over(job)
            if not await earlier_receipt.is_done(worker, job):
                admission.admit(worker, job)
                await pause.hold_if_paused(worker, job)
                await rate_limit.wait_for_turn(worker, job, admission.refuse_revoked)
        task_log.received(job.message)
        task_signals.received(worker, job)
        with self._taken(job) as taken:
            if (error := lost_worker.refusal(worker, job)) is not None:
                outcome = await failure_hooks.fail(worker, job, error)
            else:
                outcome = await self._run_in_pool(taken)
            while isinstance(outcome, ReceiptOfAnotherRun):
                taken.job = await earlier_receipt.with_known_run(taken.job, outcome)
                outcome = await self._run_in_pool(taken)
            task_signals.ended(worker, taken, outcome)
        try:
            return report.tell_temporal(worker, job, outcome)
        except AttemptEnd as end:
            raise await hand_over.with_workflow(job, end) from None

    async def _run_in_pool(self, taken: TakenTask) -> Outcome:
        worker, task = self.parts, taken.job.message
        limits = time_limit.limits_of(worker, task)
        try:
            return await pool_run.run_in_pool(worker, taken, limits, stopping.when_told, stopping.when_cancelled)
        except AttemptEnd:
            raise
        except TimeLimitExceeded as error:
            end: Exception | Outcome = time_limit.after_limit(worker, taken, limits, error)
        except WorkerLostError as error:
            end = lost_worker.after_loss(worker, taken, error)
        except Exception as error:
            if taken.began is None and worker.stop_now.is_set():
                raise not_begun(taken.job) from None
            # Temporal must not see it: it would try again for ever.
            log.exception("Task %s[%s]: the pool could not run it", task.task, task.id)
            end = Failed(to_wire(error))
        return await failure_hooks.fail(worker, taken.job, end) if isinstance(end, Exception) else end

    @contextlib.contextmanager
    def _taken(self, job: Job) -> Iterator[TakenTask]:
        """Count the task among the running ones until the end of the block."""
        process_state.total_count[job.message.task] += 1
        self.count += 1
        with self.reserved(job) as taken:
            self.on_taken()
            yield taken

    @contextlib.contextmanager
    def reserved(self, job: Job) -> Iterator[TakenTask]:
        """Show the task among those that the worker has taken, until the end of the block."""
        task_id = job.message.id
        taken = self.running[task_id] = TakenTask(job)
        self.idle.clear()
        try:
            yield taken
        finally:
            # Another attempt of the task may have come to this worker, since the server took this one for dead.
            if self.running.get(task_id) is taken:
                del self.running[task_id]
            if not self.running:
                self.idle.set()


@contextlib.contextmanager
def unexpected_errors_fail_the_task(task: Message) -> Iterator[None]:
    """Turn an error that no step expects into the task's failure. Temporal would try again for ever."""
    try:
        yield
    except (AttemptEnd, asyncio.CancelledError):
        raise
    except Exception as error:
        log.exception("%s[%s] could not be taken", task.task, task.id)
        raise failed(to_wire(error)) from None
