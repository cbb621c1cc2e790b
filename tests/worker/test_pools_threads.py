"""The pools that run jobs in the worker's own process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pyramid_temporal_compat.control.limits import Limits
from pyramid_temporal_compat.exceptions import (
    SoftTimeLimitExceeded,
    StoppedAtLimit,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from pyramid_temporal_compat.worker.pools.pool import JobControl
from pyramid_temporal_compat.worker.pools.solo import SoloPool
from pyramid_temporal_compat.worker.pools.threads import ThreadJob, ThreadPool
from tests.parts import wait_until

NO_LIMITS = Limits()
SOON = 0.2
"""Seconds until a limit passes: enough for a job to begin before, also on a busy machine."""
main = threading.main_thread()


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run_test(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run_test


def call(job: Callable[[JobControl], Any], control: JobControl) -> Any:
    return job(control)


def ignore(value: Any) -> None:
    pass


def spin(*_: Any) -> None:
    """Run until interrupted."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        time.sleep(0.001)


def spin_briefly() -> None:
    for _ in range(200):
        len(str(_))


def pause_until_a_limit_passes(job: Any) -> None:
    """Return after the pool has told the job that a limit has passed."""
    wait_until(lambda: job._soft_limit_due or job._stop)


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def run(pool: ThreadPool, job: Callable[[JobControl], Any], limits: Limits = NO_LIMITS) -> Any:
    return await pool.run(job, limits, ignore)


@on_a_loop
async def test_a_job_gives_its_outcome_and_its_notes_reach_the_loops_thread() -> None:
    notes: list[tuple[Any, bool]] = []
    pool = ThreadPool(call, 2, name="items")

    def job(control: JobControl) -> str:
        control.note({"done": 1})
        control.note({"done": 2})
        return threading.current_thread().name

    assert await pool.run(job, NO_LIMITS, lambda value: notes.append((value, threading.current_thread() is main))) == (
        "items-1"
    )
    assert notes == [({"done": 1}, True), ({"done": 2}, True)]
    assert pool.info() == {"max-concurrency": 2, "threads": 1}
    await pool.stop()


@on_a_loop
async def test_at_most_size_jobs_run_at_a_time_in_the_order_in_which_they_came() -> None:
    pool = ThreadPool(call, 2)
    lock, running, most, order = threading.Lock(), 0, 0, []

    def job(number: int) -> Callable[[JobControl], int]:
        def body(control: JobControl) -> int:
            nonlocal running, most
            with lock:
                order.append(number)
                running += 1
                most = max(most, running)
            time.sleep(0.002)
            with lock:
                running -= 1
            return number

        return body

    assert await asyncio.gather(*(run(pool, job(n)) for n in range(40))) == list(range(40))
    assert most == 2
    # A job that a thread has taken may begin late. The jobs behind it do not begin before a thread has taken it.
    assert all(sum(later < number for later in order[place:]) <= 1 for place, number in enumerate(order))
    await pool.stop()


@on_a_loop
async def test_an_exception_of_the_handler_is_the_error_of_its_job_only() -> None:
    pool = ThreadPool(call, 1)
    with pytest.raises(ZeroDivisionError):
        await run(pool, lambda control: 1 / 0)
    with pytest.raises(WorkerLostError, match=r"SystemExit\(3\)"):
        await run(pool, lambda control: exit(3))
    with pytest.raises(WorkerLostError, match="StopIteration"):
        await run(pool, lambda control: next(iter(())))
    assert await run(pool, lambda control: "still here") == "still here"
    await pool.stop()


@on_a_loop
async def test_soft_limit_is_raised_in_the_function_which_may_catch_it() -> None:
    pool = ThreadPool(call, 1)

    def function() -> str:
        try:
            spin()
        except SoftTimeLimitExceeded:
            return "tidied up"
        return "never"

    limits = Limits(soft=SOON)
    assert await run(pool, lambda control: control.interruptible(function), limits) == "tidied up"
    with pytest.raises(SoftTimeLimitExceeded):
        await run(pool, lambda control: control.interruptible(spin), limits)
    await pool.stop()


@on_a_loop
async def test_soft_limit_that_passes_in_the_commit_leaves_the_commit_alone() -> None:
    pool = ThreadPool(call, 1)

    def job(control: JobControl) -> str:
        control.interruptible(lambda: None)
        pause_until_a_limit_passes(control)
        return "committed"

    assert await run(pool, job, Limits(soft=SOON)) == "committed"
    await pool.stop()


@on_a_loop
async def test_soft_limit_that_passed_before_the_function_is_raised_as_it_begins() -> None:
    pool = ThreadPool(call, 1)

    def job(control: JobControl) -> str:
        pause_until_a_limit_passes(control)
        try:
            control.interruptible(lambda: "ran")
        except SoftTimeLimitExceeded:
            return control.interruptible(lambda: "second attempt")
        return "not raised"

    assert await run(pool, job, Limits(soft=SOON)) == "second attempt"
    await pool.stop()


@on_a_loop
async def test_hard_limit_stops_a_function_even_if_it_catches_the_exception() -> None:
    pool = ThreadPool(call, 1)
    committed = []

    def swallow() -> str:
        with contextlib.suppress(TimeLimitExceeded):
            spin()
        return "as if nothing had happened"

    def job(control: JobControl) -> None:
        control.interruptible(swallow)
        committed.append(True)

    with pytest.raises(TimeLimitExceeded, match=rf"\({SOON},\)"):
        await run(pool, job, Limits(hard=SOON))
    assert not committed
    assert pool.info()["threads"] == 1
    await pool.stop()


@on_a_loop
async def test_hard_limit_that_passes_in_the_commit_lets_it_finish() -> None:
    pool = ThreadPool(call, 1, grace=30)

    def job(control: JobControl) -> str:
        control.interruptible(lambda: None)
        pause_until_a_limit_passes(control)
        return "committed"

    assert await run(pool, job, Limits(hard=SOON)) == "committed"
    await pool.stop()


@on_a_loop
async def test_thread_that_is_blocked_past_its_hard_limit_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    pool = ThreadPool(call, 1, grace=SOON)
    release, ends = threading.Event(), []

    def blocked(control: JobControl) -> None:
        try:
            control.interruptible(release.wait)
            ends.append("committed")
        except TimeLimitExceeded:
            ends.append("given up")

    with caplog.at_level(logging.ERROR), pytest.raises(TimeLimitExceeded):
        await run(pool, blocked, Limits(hard=SOON))
    assert "job 1 is blocked and can't be stopped" in caplog.text
    assert "<function" in caplog.text
    assert await run(pool, lambda control: threading.current_thread().name) == "task-2"
    release.set()
    await until(lambda: ends)
    assert ends == ["given up"]
    await pool.stop()


@on_a_loop
async def test_cancelling_stops_the_job_and_waits_for_it() -> None:
    pool = ThreadPool(call, 1)
    began, ended = threading.Event(), []

    def function() -> None:
        began.set()
        try:
            spin()
        except Terminated:
            ended.append(True)
            raise

    task = asyncio.create_task(run(pool, lambda control: control.interruptible(function)))
    await until(began.is_set)
    task.cancel("SIGKILL")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
    await pool.stop()


@on_a_loop
async def test_job_that_is_cancelled_in_its_commit_returns_its_outcome() -> None:
    pool = ThreadPool(call, 1, grace=30)
    committing, go_on = threading.Event(), threading.Event()

    def job(control: JobControl) -> str:
        control.interruptible(lambda: None)
        committing.set()
        go_on.wait(20)
        return "committed"

    task = asyncio.create_task(run(pool, job))
    await until(committing.is_set)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert await task == "committed"
    await pool.stop()


@on_a_loop
async def test_job_that_is_cancelled_while_it_waits_for_its_turn_never_runs() -> None:
    pool = ThreadPool(call, 1)
    release, ran = threading.Event(), []
    first = asyncio.create_task(run(pool, lambda control: release.wait(20)))
    second = asyncio.create_task(run(pool, lambda control: ran.append(2)))
    third = asyncio.create_task(run(pool, lambda control: ran.append(3)))
    await asyncio.sleep(0)
    second.cancel()
    release.set()
    await first
    await third
    assert ran == [3]
    assert second.cancelled()
    await pool.stop()


@on_a_loop
async def test_exceptions_thrown_at_every_moment_never_leave_the_function() -> None:
    """Soft limits and cancellations come at random moments around the end of short functions."""
    pool = ThreadPool(call, 4)
    outside: list[str] = []

    def work() -> int:
        return sum(range(300))

    def job(control: JobControl) -> str:
        ended = "committed"
        try:
            for _ in range(40):
                control.interruptible(work)
                try:
                    for _ in range(30):
                        work()
                except BaseException as exc:
                    outside.append(repr(exc))
        except (SoftTimeLimitExceeded, Terminated):
            ended = "aborted"
        try:
            for _ in range(300):
                work()
        except BaseException as exc:
            outside.append(repr(exc))
        return ended

    async def one(number: int) -> Any:
        task = asyncio.create_task(run(pool, job, Limits(soft=0.0001 * (number % 80) + 0.0001)))
        if number % 3 == 0:
            asyncio.get_running_loop().call_later(0.0001 * (number % 70), task.cancel)
        return await task

    ends = await asyncio.gather(*(one(n) for n in range(600)), return_exceptions=True)
    assert outside == []
    assert {end for end in ends if isinstance(end, str)} - {"committed"} == {"aborted"}
    assert all(isinstance(end, (str, asyncio.CancelledError)) for end in ends)
    await pool.stop()


@on_a_loop
async def test_exception_thrown_just_as_the_function_ends_is_raised_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = ThreadPool(call, 1)
    on_their_way: list[type[Exception]] = []
    end_interruptible = ThreadJob._end_interruptible

    def throw_and_end(job: ThreadJob) -> None:
        if on_their_way:
            job.throw(on_their_way.pop(0))
        end_interruptible(job)

    monkeypatch.setattr(ThreadJob, "_end_interruptible", throw_and_end)

    def job(control: JobControl) -> str:
        value = control.interruptible(lambda: "committed")
        spin_briefly()
        return value

    for _ in range(50):
        on_their_way[:] = [SoftTimeLimitExceeded]
        assert await run(pool, job) == "committed"
        on_their_way[:] = [SoftTimeLimitExceeded, StoppedAtLimit]
        with pytest.raises(TimeLimitExceeded):
            await run(pool, job)
        assert on_their_way == []
    assert pool.info()["threads"] == 1
    await pool.stop()


@on_a_loop
async def test_resize_while_running() -> None:
    pool = ThreadPool(call, 1)
    release = threading.Event()
    running: list[str] = []

    def job(control: JobControl) -> None:
        running.append(threading.current_thread().name)
        release.wait(20)

    tasks = [asyncio.create_task(run(pool, job)) for _ in range(5)]
    await until(lambda: len(running) == 1)
    pool.resize(3)
    await until(lambda: len(running) == 3)
    pool.resize(2)
    assert pool.info()["threads"] == 3
    release.set()
    await asyncio.gather(*tasks)
    assert pool.info() == {"max-concurrency": 2, "threads": 2}
    with pytest.raises(ValueError, match="not 0"):
        pool.resize(0)
    await pool.stop()


@on_a_loop
async def test_stop_waits_for_running_and_waiting_jobs_and_takes_no_more() -> None:
    pool = ThreadPool(call, 1, name="stopped")
    release, ended = threading.Event(), []
    tasks = [asyncio.create_task(run(pool, lambda control: ended.append(release.wait(20)))) for _ in range(3)]
    await asyncio.sleep(0)
    stopping = asyncio.create_task(pool.stop())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="stopped"):
        await run(pool, lambda control: None)
    release.set()
    await stopping
    assert ended == [True] * 3
    await asyncio.gather(*tasks)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stopped-")]


@on_a_loop
async def test_kill_answers_every_job_at_once() -> None:
    pool = ThreadPool(call, 1, name="killed")
    began = threading.Event()

    def job(control: JobControl) -> None:
        began.set()
        control.interruptible(spin)

    tasks = [asyncio.create_task(run(pool, job)) for _ in range(3)]
    await until(began.is_set)
    pool.kill()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [WorkerLostError] * 3
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("killed-")])


@on_a_loop
async def test_solo_runs_one_job_at_a_time_while_the_loop_goes_on() -> None:
    pool = SoloPool(call)
    release, running = threading.Event(), []

    def job(control: JobControl) -> None:
        running.append(1)
        release.wait(20)

    tasks = [asyncio.create_task(run(pool, job)) for _ in range(2)]
    await until(lambda: running)
    assert len(running) == 1
    release.set()
    await asyncio.gather(*tasks)
    with pytest.raises(ValueError, match="solo pool"):
        pool.resize(2)
    assert pool.info()["max-concurrency"] == 1
    await pool.stop()
