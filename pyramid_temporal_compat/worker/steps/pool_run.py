"""Step: run the job in the pool, with heartbeats, until it ends or something stops it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from ...control.limits import Limits
from ...enlist.dispatch_end import DispatchEnd
from ..attempt_end import AttemptEnd
from ..heartbeat import beating
from ..job import Began
from ..outcome import Outcome
from ..taken_task import TakenTask, WorkerParts

WhyStop = Callable[[WorkerParts, TakenTask], AttemptEnd | None]
"""Returns how the attempt ends if the job is to be stopped, and None if the job goes on."""


async def run_in_pool(
    worker: WorkerParts, taken: TakenTask, limits: Limits, when_told: WhyStop, when_cancelled: WhyStop
) -> Outcome:
    """Run the job and return its outcome. Raises how the attempt ends, if the job was stopped.

    What the pool raises passes through: `TimeLimitExceeded`, `WorkerLostError`.

    :param when_told: called when the worker ends at once, or a control call terminates the task.
    :param when_cancelled: called when Temporal cancels the activity.
    """
    async with beating(taken.job) as beat:

        def note(value: Any) -> None:
            if isinstance(value, Began):
                taken.began = value
                worker.watch.started(taken.job.message)
            elif isinstance(value, DispatchEnd):
                worker.watch.dispatched(value)
            else:
                beat.note(value)

        run: asyncio.Future[Outcome] = asyncio.ensure_future(worker.pool.run(taken.job, limits, note))
        stopped = asyncio.ensure_future(worker.stop_now.wait())
        try:
            while not run.done():
                try:
                    await asyncio.wait((run, stopped, taken.terminated), return_when=asyncio.FIRST_COMPLETED)
                    stop = when_told(worker, taken) if not run.done() else None
                except asyncio.CancelledError:
                    stop = when_cancelled(worker, taken)
                if stop is not None:
                    run.cancel(taken.terminated.result() if taken.terminated.done() else None)
                    # A job that was past stopping, in its commit, has ended well: then that is what happened.
                    with contextlib.suppress(asyncio.CancelledError):
                        return await run
                    raise stop
            return run.result()
        finally:
            stopped.cancel()
