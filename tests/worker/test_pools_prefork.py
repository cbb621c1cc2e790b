"""The pool `prefork`: outcomes and errors of jobs, children that die, limits and cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import threading
import time
from typing import Any

import psutil
import pytest

from pyramid_temporal_compat.control.limits import Limits
from pyramid_temporal_compat.exceptions import (
    NotSerializable,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    WorkerLostError,
)
from pyramid_temporal_compat.worker.pools.pool import JobControl
from pyramid_temporal_compat.worker.pools.prefork import PreforkPool
from tests.worker.prefork_parts import (
    LOGGED,
    NO_LIMITS,
    SOON,
    StartedJob,
    exists,
    in_its_own_process,
    main,
    new_path,
    pid,
    run,
    sleep_deaf,
    spin,
    spin_until,
    sys_exit,
    touch,
    until,
    until_full,
    wait_for,
)

# --- outcomes ---


def main_thread_adds(control: JobControl, a: int, b: int) -> tuple[int, int, bool]:
    control.note({"at": 1})
    control.note({"at": 2})
    return a + b, os.getpid(), threading.current_thread() is threading.main_thread()


@in_its_own_process(size=2)
async def test_a_job_runs_on_the_main_thread_of_a_child(pool: PreforkPool) -> None:
    notes: list[Any] = []
    await pool.ready()
    total, where, on_main = await pool.run((main_thread_adds, 2, 3), NO_LIMITS, notes.append)
    assert (total, on_main, notes) == (5, True, [{"at": 1}, {"at": 2}])
    assert where in pool.info()["processes"]
    await pool.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        await run(pool, pid)


@in_its_own_process(size=4)
async def test_200_quick_jobs_share_4_children(pool: PreforkPool) -> None:
    await until_full(pool)
    outcomes = await asyncio.gather(*(run(pool, main_thread_adds, n, n) for n in range(200)))
    assert [total for total, _, _ in outcomes] == [2 * n for n in range(200)]
    assert {where for _, where, _ in outcomes} == set(pool.info()["processes"])
    writes = pool.info()["writes"]
    assert writes["total"] == 200
    assert sum(int(raw) for raw in writes["raw"].split(", ")) == 200
    await pool.stop()


class Boom(Exception):
    pass


class TwoArguments(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def fail(control: JobControl) -> None:
    raise Boom("in the child", 3)


def fail_so_that_it_cannot_travel(control: JobControl) -> None:
    raise TwoArguments("one", "two")


def local_function(control: JobControl) -> Any:
    return lambda: None


class Trap:
    def __reduce__(self) -> Any:
        return int, ("not a number",)


def trap(control: JobControl) -> Any:
    return Trap()


@in_its_own_process()
async def test_errors_and_outcomes_that_cannot_be_pickled_fail_their_job_only(pool: PreforkPool) -> None:
    first = await run(pool, pid)
    with pytest.raises(Boom) as raised:
        await run(pool, fail)
    assert raised.value.args == ("in the child", 3)
    assert "in fail" in str(raised.value.__cause__)
    with pytest.raises(NotSerializable, match=r"exception of a job, of type __main__.TwoArguments"):
        await run(pool, fail_so_that_it_cannot_travel)
    with pytest.raises(NotSerializable, match=r"outcome of a job, of type builtins.function"):
        await run(pool, local_function)
    with pytest.raises(NotSerializable, match="can't be read in the worker"):
        await run(pool, trap)
    with pytest.raises((AttributeError, TypeError)):  # pickle's own error, before the job is sent to a child
        await run(pool, lambda control: None)
    assert await run(pool, pid) == first
    await pool.stop()


SIZE = 32 << 20


def echo(control: JobControl, data: bytes) -> bytes:
    control.note("sending")
    return data


@in_its_own_process()
async def test_large_jobs_and_outcomes_leave_the_loop_running(pool: PreforkPool) -> None:
    ticks, at_note = 0, 0

    def on_note(value: Any) -> None:
        nonlocal at_note
        at_note = ticks

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    await pool.ready()
    ticker = asyncio.create_task(tick())
    assert len(await pool.run((echo, bytes(SIZE)), NO_LIMITS, on_note)) == SIZE
    assert at_note >= 10  # the job was written in pieces,
    assert ticks - at_note >= SIZE >> 18  # and the outcome read in pieces of at most 256 KiB
    ticker.cancel()
    await pool.stop()


# --- children that die ---


def kill_self(control: JobControl, signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(30)


def segfault(control: JobControl) -> None:
    ctypes.string_at(0)


def exit_now(control: JobControl, code: int) -> None:
    os._exit(code)


@in_its_own_process(size=2)
async def test_child_that_dies_loses_its_job_only_and_is_replaced(pool: PreforkPool) -> None:
    path = new_path()
    bystander = StartedJob(pool, wait_for, path)
    survivor = await bystander.begun()
    for number, (death, *args, how) in enumerate(
        [
            (kill_self, signal.SIGKILL, r"signal 9 \(SIGKILL\)"),
            (segfault, r"signal 11 \(SIGSEGV\)"),
            (exit_now, 3, "exitcode 3"),
            (sys_exit, 4, "exitcode 4"),
        ],
        start=2,
    ):
        with pytest.raises(WorkerLostError, match=rf"^Worker exited prematurely: {how} Job: {number}\.$"):
            await run(pool, death, *args)
    assert await run(pool, pid) != survivor
    touch(path)
    assert await bystander.task == survivor
    await pool.stop()


@in_its_own_process()
async def test_job_given_to_a_child_that_has_just_died_runs_on_the_next(pool: PreforkPool) -> None:
    first = await run(pool, pid)
    for _ in range(3):
        os.kill(await run(pool, pid), signal.SIGKILL)
        assert await run(pool, pid) != first
    await pool.stop()


def fork_and_die(control: JobControl, path: str) -> None:
    if not os.fork():
        spin_until(path)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


@in_its_own_process()
async def test_death_of_a_child_is_seen_even_if_a_grandchild_holds_its_socket(pool: PreforkPool) -> None:
    path = new_path()
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        await run(pool, fork_and_die, path)
    assert await run(pool, pid)
    touch(path)
    await pool.stop()


# --- limits and cancellation ---


@in_its_own_process()
async def test_hard_limit_kills_a_child_that_blocks_every_signal(pool: PreforkPool) -> None:
    before = await run(pool, pid)
    with pytest.raises(TimeLimitExceeded, match=rf"\({SOON},\)"):
        await run(pool, sleep_deaf, limits=Limits(hard=SOON))
    assert await run(pool, pid) != before
    await pool.stop()


@in_its_own_process()
async def test_hard_limit_lets_finally_blocks_run(pool: PreforkPool) -> None:
    path = new_path()
    with pytest.raises(TimeLimitExceeded):
        await run(pool, spin_and_tidy, path, limits=Limits(hard=SOON))
    assert exists(path)
    await pool.stop()


def tidy_up(control: JobControl) -> str:
    try:
        control.interruptible(spin)
    except SoftTimeLimitExceeded:
        return "tidied up"
    return "never"


def only_spin(control: JobControl) -> None:
    control.interruptible(spin)


def note_for_ever(control: JobControl) -> str:
    def function() -> None:
        while True:
            control.note(b"x" * 1_500_000)

    try:
        control.interruptible(function)
    except SoftTimeLimitExceeded:
        return "tidied up"
    return "never"


@in_its_own_process()
async def test_soft_limit_is_raised_in_the_function(pool: PreforkPool) -> None:
    child = await run(pool, pid)
    limits = Limits(soft=SOON, hard=30)
    assert await run(pool, tidy_up, limits=limits) == "tidied up"
    with pytest.raises(SoftTimeLimitExceeded):
        await run(pool, only_spin, limits=limits)
    for _ in range(5):  # the limit never cuts a note in two, although the child sends notes nearly all the time
        assert await pool.run((note_for_ever,), limits, lambda note: time.sleep(0.005)) == "tidied up"
    assert await run(pool, pid) == child
    await pool.stop()


def commit_past_the_limit(control: JobControl) -> str:
    control.interruptible(lambda: None)
    due = []
    previous = signal.getsignal(signal.SIGUSR1)
    assert callable(previous)
    signal.signal(signal.SIGUSR1, lambda signum, frame: (due.append(1), previous(signum, frame)))
    while not due:
        time.sleep(0.002)
    signal.signal(signal.SIGUSR1, previous)
    return "committed"


def nothing_is_due(control: JobControl) -> str:
    return control.interruptible(lambda: "next")


@in_its_own_process()
async def test_soft_limit_that_passes_in_the_commit_leaves_it_and_the_next_job_alone(pool: PreforkPool) -> None:
    assert await run(pool, commit_past_the_limit, limits=Limits(soft=SOON)) == "committed"
    assert await run(pool, nothing_is_due) == "next"
    await pool.stop()


def short_parts(control: JobControl) -> str:
    work = functools.partial(sum, range(2000))
    ended = "committed"
    try:
        for _ in range(40):
            control.interruptible(work)
            try:
                for _ in range(10):
                    work()
            except BaseException as exc:
                return f"raised outside: {exc!r}"
    except SoftTimeLimitExceeded:
        ended = "aborted"
    return ended


@in_its_own_process(size=3)
async def test_soft_limits_at_every_moment_never_leave_the_function(pool: PreforkPool) -> None:
    limits = [Limits(soft=0.0002 * (number % 100) + 0.0001) for number in range(600)]
    ends = await asyncio.gather(*(run(pool, short_parts, limits=limit) for limit in limits))
    assert set(ends) - {"committed"} == {"aborted"}
    assert await run(pool, short_parts) == "committed"
    assert await run(pool, pid) in pool.info()["processes"]
    await pool.stop()


def spin_and_tidy(control: JobControl, path: str) -> None:
    def function() -> None:
        try:
            control.note(os.getpid())
            spin()
        finally:
            touch(path)

    control.interruptible(function)


@in_its_own_process()
async def test_cancelling_ends_the_child_as_the_signal_does(pool: PreforkPool) -> None:
    for message, tidied in ((None, True), ("HUP", True), (signal.SIGQUIT, True), ("sigkill", False), (9, False)):
        path = new_path()
        job = StartedJob(pool, spin_and_tidy, path)
        child = await job.begun()
        job.task.cancel(message)
        with pytest.raises(asyncio.CancelledError):
            await job.task
        assert not psutil.pid_exists(child)
        assert exists(path) == tidied
    assert not [message for message in LOGGED if "ended with" in message]
    await pool.stop()


@in_its_own_process(grace=0.1)
async def test_child_that_ignores_its_signal_is_killed(pool: PreforkPool) -> None:
    for message in ("SIGTERM", "SIGINT"):
        job = StartedJob(pool, sleep_deaf)
        await job.begun()
        job.task.cancel(message)
        with pytest.raises(asyncio.CancelledError):
            await job.task
    assert await run(pool, pid)
    await pool.stop()


def commit_through_sigterm(control: JobControl) -> str:
    control.interruptible(lambda: None)
    control.note(os.getpid())
    ending = signal.getsignal(signal.SIGTERM)
    assert callable(ending)
    came = []
    signal.signal(signal.SIGTERM, lambda signum, frame: (came.append(1), ending(signum, frame)))
    control.note("committing")
    while not came:
        time.sleep(0.002)
    return "committed"


@in_its_own_process()
async def test_commit_that_runs_when_the_job_is_cancelled_is_finished(pool: PreforkPool) -> None:
    job = StartedJob(pool, commit_through_sigterm)
    await until(lambda: len(job.notes) == 2)
    job.task.cancel()
    assert await job.task == "committed"
    assert await run(pool, pid) != job.notes[0]
    assert LOGGED == []
    await pool.stop()


def swallow_the_end(control: JobControl) -> str:
    def function() -> None:
        control.note(os.getpid())
        with contextlib.suppress(SystemExit):
            spin()

    try:
        control.interruptible(function)
    except BaseException:
        return "an outcome of what was ended"
    return "committed"


@in_its_own_process()
async def test_child_ends_even_if_function_and_handler_catch_the_exception(pool: PreforkPool) -> None:
    job = StartedJob(pool, swallow_the_end)
    await job.begun()
    job.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job.task
    await pool.stop()


@in_its_own_process(size=2)
async def test_signals_to_the_whole_group_leave_running_and_idle_children_alone(pool: PreforkPool) -> None:
    path = new_path()
    await until_full(pool)
    children = set(pool.info()["processes"])
    job = StartedJob(pool, wait_for, path)
    await job.begun()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        for process in psutil.Process().children(recursive=True):
            process.send_signal(signum)
    touch(path)
    assert {await job.task, *await asyncio.gather(*(run(pool, pid) for _ in range(20)))} <= children
    assert set(pool.info()["processes"]) == children
    await pool.stop()
    assert LOGGED == []


@in_its_own_process()
async def test_signal_to_the_whole_group_while_a_job_is_sent_leaves_the_child_alone(pool: PreforkPool) -> None:
    await until_full(pool)
    [child] = pool.info()["processes"]
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        for size in (0, 50_000):
            os.kill(child, signal.SIGSTOP)
            job = asyncio.ensure_future(run(pool, length_of, b"T" * size))
            await until(lambda: pool.info()["writes"]["inqueues"]["active"] == 1)
            os.kill(child, signum)
            os.kill(child, signal.SIGCONT)
            assert await job == (child, size)
    await pool.stop()
    assert LOGGED == []


def length_of(control: JobControl, text: bytes) -> tuple[int, int]:
    return os.getpid(), len(text)


@in_its_own_process()
async def test_job_that_is_cancelled_while_it_waits_for_its_turn_never_runs(pool: PreforkPool) -> None:
    path, never = new_path(), new_path()
    first = StartedJob(pool, wait_for, path)
    child = await first.begun()
    second = asyncio.create_task(run(pool, spin_and_tidy, never))
    third = asyncio.create_task(run(pool, pid))
    await asyncio.sleep(0)
    second.cancel()
    touch(path)
    assert await first.task == await third == child
    assert second.cancelled()
    assert not exists(never)
    await pool.stop()


if __name__ == "__main__":
    main(globals())
