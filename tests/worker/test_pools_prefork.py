"""The pool of child processes. Every test runs in a process of its own, which has no thread when the pool starts."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from pyramid_temporal_compat.exceptions import (
    NotSerializable,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    WorkerLostError,
)
from pyramid_temporal_compat.worker.pools import Control, Limits
from pyramid_temporal_compat.worker.prefork import PreforkPool

NO_LIMITS = Limits()
SOON = 0.05
LOGGED: list[str] = []
SCENARIOS: dict[str, Callable[[], None]] = {}


def call(job: Any, control: Control) -> Any:
    function, *args = job
    return function(control, *args)


def in_its_own_process(size: int = 1, **options: Any) -> Any:
    """The test gets a pool that was started before the event loop, and must leave no process and no descriptor."""

    def decorate(test: Callable[[PreforkPool], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        def scenario() -> None:
            logging.getLogger().addHandler(_Collect())
            pool = PreforkPool(call, size, **options)
            descriptors = psutil.Process().num_fds()
            pool.start()
            try:
                asyncio.run(asyncio.wait_for(test(pool), 30))
                asyncio.run(leaves_nothing(descriptors))
            finally:
                pool.kill()

        SCENARIOS[test.__name__] = scenario

        @functools.wraps(test)
        def in_subprocess() -> None:
            run_scenario(test.__name__)

        del in_subprocess.__wrapped__  # type: ignore[attr-defined] # its argument is no fixture
        return in_subprocess

    return decorate


class _Collect(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        LOGGED.append(record.getMessage())


def run_scenario(name: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", __file__, name], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr


async def leaves_nothing(descriptors: int) -> None:
    await until(lambda: not psutil.Process().children(recursive=True))
    loops_own = 3  # a selector and a pair of sockets
    assert psutil.Process().num_fds() == descriptors + loops_own


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


def ignore(value: Any) -> None:
    pass


async def run(pool: PreforkPool, function: Callable[..., Any], *args: Any, limits: Limits = NO_LIMITS) -> Any:
    return await pool.run((function, *args), limits, ignore)


class Begun:
    """A job that tells when it has begun."""

    def __init__(self, pool: PreforkPool, function: Callable[..., Any], *args: Any, limits: Limits = NO_LIMITS) -> None:
        self.notes: list[Any] = []
        self.task = asyncio.create_task(pool.run((function, *args), limits, self.notes.append))

    async def begun(self) -> Any:
        await until(lambda: self.notes)
        return self.notes[0]


# --- what jobs do; `control` is the handler's ---


def pid(control: Control) -> int:
    return os.getpid()


def wait_for(control: Control, path: str) -> int:
    """Run, deaf to nothing, until a file is there."""
    control.note(os.getpid())
    control.interruptible(functools.partial(spin_until, path))
    return os.getpid()


def spin_until(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.002)


def spin() -> None:
    while True:
        time.sleep(0.002)


def new_path() -> str:
    return os.path.join(tempfile.mkdtemp(), "go")


def touch(path: str) -> None:
    Path(path).touch()


def exists(path: str) -> bool:
    return os.path.exists(path)


# --- outcomes ---


def main_thread_adds(control: Control, a: int, b: int) -> tuple[int, int, bool]:
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


async def until_full(pool: PreforkPool) -> None:
    await pool.ready()
    await until(lambda: len(pool.info()["processes"]) == pool.size)


class Boom(Exception):
    pass


class TwoArguments(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def fail(control: Control) -> None:
    raise Boom("in the child", 3)


def fail_so_that_it_cannot_travel(control: Control) -> None:
    raise TwoArguments("one", "two")


def local_function(control: Control) -> Any:
    return lambda: None


class Trap:
    def __reduce__(self) -> Any:
        return int, ("not a number",)


def trap(control: Control) -> Any:
    return Trap()


@in_its_own_process()
async def test_errors_and_outcomes_that_cannot_travel_cost_their_job_only(pool: PreforkPool) -> None:
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
    with pytest.raises((AttributeError, TypeError)):  # pickle's own error, before any child is asked
        await run(pool, lambda control: None)
    assert await run(pool, pid) == first
    await pool.stop()


SIZE = 32 << 20


def echo(control: Control, data: bytes) -> bytes:
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


def kill_self(control: Control, signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(30)


def segfault(control: Control) -> None:
    ctypes.string_at(0)


def exit_now(control: Control, code: int) -> None:
    os._exit(code)


def sys_exit(control: Control, code: int) -> None:
    sys.exit(code)


@in_its_own_process(size=2)
async def test_child_that_dies_costs_its_job_only_and_is_replaced(pool: PreforkPool) -> None:
    path = new_path()
    bystander = Begun(pool, wait_for, path)
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


def fork_and_die(control: Control, path: str) -> None:
    if not os.fork():
        spin_until(path)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


@in_its_own_process()
async def test_death_is_seen_though_a_grandchild_holds_the_childs_socket(pool: PreforkPool) -> None:
    path = new_path()
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        await run(pool, fork_and_die, path)
    assert await run(pool, pid)
    touch(path)
    await pool.stop()


# --- limits and cancellation ---


def sleep_deaf(control: Control) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    control.note("deaf")
    time.sleep(60)


@in_its_own_process()
async def test_hard_limit_kills_a_child_that_is_deaf_in_c(pool: PreforkPool) -> None:
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


def tidy_up(control: Control) -> str:
    try:
        control.interruptible(spin)
    except SoftTimeLimitExceeded:
        return "tidied up"
    return "never"


def only_spin(control: Control) -> None:
    control.interruptible(spin)


def note_for_ever(control: Control) -> str:
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
    for _ in range(5):  # never in the midst of a note, though the child is nearly always sending one
        assert await pool.run((note_for_ever,), limits, lambda note: time.sleep(0.005)) == "tidied up"
    assert await run(pool, pid) == child
    await pool.stop()


def commit_past_the_limit(control: Control) -> str:
    control.interruptible(lambda: None)
    due = []
    previous = signal.getsignal(signal.SIGUSR1)
    assert callable(previous)
    signal.signal(signal.SIGUSR1, lambda signum, frame: (due.append(1), previous(signum, frame)))
    while not due:
        time.sleep(0.002)
    signal.signal(signal.SIGUSR1, previous)
    return "committed"


def nothing_is_due(control: Control) -> str:
    return control.interruptible(lambda: "next")


@in_its_own_process()
async def test_soft_limit_that_passes_in_the_commit_leaves_it_and_the_next_job_alone(pool: PreforkPool) -> None:
    assert await run(pool, commit_past_the_limit, limits=Limits(soft=SOON)) == "committed"
    assert await run(pool, nothing_is_due) == "next"
    await pool.stop()


def short_parts(control: Control) -> str:
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


def spin_and_tidy(control: Control, path: str) -> None:
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
        job = Begun(pool, spin_and_tidy, path)
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
        job = Begun(pool, sleep_deaf)
        await job.begun()
        job.task.cancel(message)
        with pytest.raises(asyncio.CancelledError):
            await job.task
    assert await run(pool, pid)
    await pool.stop()


def commit_through_sigterm(control: Control) -> str:
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
async def test_commit_that_is_under_way_when_the_job_is_cancelled_comes_to_its_end(pool: PreforkPool) -> None:
    job = Begun(pool, commit_through_sigterm)
    await until(lambda: len(job.notes) == 2)
    job.task.cancel()
    assert await job.task == "committed"
    assert await run(pool, pid) != job.notes[0]
    assert LOGGED == []
    await pool.stop()


def swallow_the_end(control: Control) -> str:
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
async def test_function_and_handler_that_swallow_the_end_do_not_undo_it(pool: PreforkPool) -> None:
    job = Begun(pool, swallow_the_end)
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
    job = Begun(pool, wait_for, path)
    await job.begun()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        for process in psutil.Process().children(recursive=True):
            process.send_signal(signum)
    touch(path)
    assert {await job.task, *await asyncio.gather(*(run(pool, pid) for _ in range(20)))} == children
    await pool.stop()
    assert LOGGED == []


@in_its_own_process()
async def test_job_that_is_cancelled_while_it_waits_for_its_turn_never_runs(pool: PreforkPool) -> None:
    path, never = new_path(), new_path()
    first = Begun(pool, wait_for, path)
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


# --- replacement and size ---


@in_its_own_process(max_tasks_per_child=2)
async def test_child_is_replaced_after_max_tasks(pool: PreforkPool) -> None:
    where = await asyncio.gather(*(run(pool, pid) for _ in range(7)))
    assert [where.count(child) for child in dict.fromkeys(where)] == [2, 2, 2, 1]
    await pool.stop()
    assert not [message for message in LOGGED if "ended" in message]


def grow_by(control: Control, size: int) -> int:
    assert len(bytearray(os.urandom(1 << 10)) * (size >> 10)) == size
    return os.getpid()


@in_its_own_process(max_memory_per_child=200_000)
async def test_child_that_grew_past_max_memory_is_replaced(pool: PreforkPool) -> None:
    small = await run(pool, grow_by, 1 << 20)
    assert await run(pool, grow_by, 300 << 20) == small
    assert await run(pool, pid) != small
    assert [message for message in LOGGED if "exceeds its memory limit" in message]
    await pool.stop()


@in_its_own_process(size=1)
async def test_resize_while_running(pool: PreforkPool) -> None:
    path = new_path()
    jobs = [Begun(pool, wait_for, path) for _ in range(5)]
    await jobs[0].begun()
    pool.resize(3)
    await until(lambda: sum(bool(job.notes) for job in jobs) == 3)
    pool.resize(2)
    assert len(pool.info()["processes"]) == 3
    touch(path)
    await asyncio.gather(*(job.task for job in jobs))
    assert len(pool.info()["processes"]) == 2
    pool.resize(1)
    assert len(pool.info()["processes"]) == 1
    pool.resize(4)
    await until_full(pool)
    with pytest.raises(ValueError, match="not 0"):
        pool.resize(0)
    await pool.stop()


@in_its_own_process(size=2)
async def test_stop_waits_for_running_and_waiting_jobs(pool: PreforkPool) -> None:
    path = new_path()
    await until_full(pool)
    jobs = [Begun(pool, wait_for, path) for _ in range(5)]
    await jobs[0].begun()
    stopping = asyncio.create_task(pool.stop())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="stopped"):
        await run(pool, pid)
    touch(path)
    await stopping
    assert all(job.task.done() for job in jobs)
    assert len({job.task.result() for job in jobs}) == 2


@in_its_own_process(size=2)
async def test_kill_answers_every_job_at_once(pool: PreforkPool) -> None:
    jobs = [Begun(pool, sleep_deaf) for _ in range(3)]
    await jobs[0].begun()
    await jobs[1].begun()
    pool.kill()
    ends = await asyncio.gather(*(job.task for job in jobs), return_exceptions=True)
    assert [type(end) for end in ends] == [WorkerLostError] * 3


BEGUN_JOBS = os.path.join(tempfile.mkdtemp(), "begun")


def begin_and_echo(control: Control, number: int, data: bytes, seconds: float) -> tuple[int, bytes]:
    with open(BEGUN_JOBS, "a") as file:
        file.write(f"{number}\n")

    def function() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            control.note(data)

    control.interruptible(function)
    return number, data


@in_its_own_process(size=3, max_tasks_per_child=15, grace=0.5)
async def test_in_a_storm_of_kills_every_job_is_answered_and_none_begins_twice(pool: PreforkPool) -> None:
    storm = random.Random(7)
    over = False

    async def one(number: int) -> str:
        data = bytes(storm.choice([10, 10, 400_000]))
        limits = Limits(soft=storm.choice([None, 0.005]), hard=storm.choice([None, None, 0.005]))
        job = asyncio.create_task(run(pool, begin_and_echo, number, data, storm.random() / 100, limits=limits))
        if storm.random() < 0.2:
            loop = asyncio.get_running_loop()
            loop.call_later(storm.random(), job.cancel, storm.choice([None, "SIGKILL", "SIGHUP", "SIGUSR1"]))
        try:
            assert await job == (number, data)
        except asyncio.CancelledError:
            return "cancelled"
        except (WorkerLostError, SoftTimeLimitExceeded, TimeLimitExceeded) as exc:
            return type(exc).__name__
        return "done"

    async def kill_and_resize() -> None:
        while not over:
            await asyncio.sleep(storm.random() / 50)
            if processes := pool.info()["processes"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(storm.choice(processes), storm.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]))
            if storm.random() < 0.2:
                pool.resize(storm.randint(1, 5))

    chaos = asyncio.create_task(kill_and_resize())
    ends = await asyncio.gather(*(one(number) for number in range(300)))
    over = True
    await chaos
    await pool.stop()
    assert "done" in ends  # what else there is depends on the machine's speed
    begun = lines(BEGUN_JOBS)
    assert len(begun) == len(set(begun))
    assert {number for number, end in enumerate(ends) if end == "done"} <= {int(number) for number in begun}


def lines(path: str) -> list[str]:
    return Path(path).read_text().split()


# --- starting ---

TALLY = new_path()


def tally(mark: str = "x") -> int:
    with open(TALLY, "a") as file:
        file.write(mark)
        return file.tell()


def told() -> str:
    return Path(TALLY).read_text()


def fail_at_first() -> None:
    if tally() <= 3:
        raise ConnectionError("no database yet")


@in_its_own_process(size=3, on_child_start=fail_at_first)
async def test_children_that_cannot_start_are_tried_again_later_and_one_at_a_time(pool: PreforkPool) -> None:
    await until_full(pool)
    assert len([message for message in LOGGED if "no database yet" in message]) == 3
    assert len([message for message in LOGGED if "the next attempt" in message]) == 1
    assert len(told()) == 6
    await pool.stop()


def hang_at_first() -> None:
    if tally() == 1:
        time.sleep(60)


@in_its_own_process(on_child_start=hang_at_first, proc_alive_timeout=0.5)
async def test_child_that_is_not_ready_in_time_is_replaced(pool: PreforkPool) -> None:
    assert await run(pool, pid)
    assert [message for message in LOGGED if "worker_proc_alive_timeout" in message]
    await pool.stop()


def fail_to_fork_at_first() -> None:
    if tally() == 1:
        raise OSError("no room")


@in_its_own_process(before_fork=fail_to_fork_at_first)
async def test_fork_that_fails_is_tried_again(pool: PreforkPool) -> None:
    assert await run(pool, pid)
    assert len(told()) == 2
    await pool.stop()


def count_the_fork() -> None:
    tally("f")


def count_the_exit(where: int, code: int) -> None:
    assert where == os.getpid()
    tally(str(code))


@in_its_own_process(max_tasks_per_child=1, before_fork=count_the_fork, on_child_exit=count_the_exit)
async def test_the_moments_of_a_child_are_told(pool: PreforkPool) -> None:
    await run(pool, pid)
    with pytest.raises(WorkerLostError):
        await run(pool, sys_exit, 5)
    await run(pool, pid)
    await pool.stop()
    assert sorted(told()) == ["0", "0", "0", "5", "f", "f", "f", "f"]


# --- what a child inherits ---


def surroundings(control: Control) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C is the parent's
    sockets = [fd for fd in range(3, 64) if is_socket(fd)]
    time.sleep(0.02)
    return {
        "stdin": os.read(0, 1),
        "random": random.random(),
        "sockets": len(sockets),
        "alarm": signal.getsignal(signal.SIGALRM),
    }


def is_socket(fd: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)):
            return True
    except OSError:
        return False


@in_its_own_process(size=3)
async def test_a_child_holds_its_own_socket_only_no_stdin_and_its_own_seed(pool: PreforkPool) -> None:
    await until_full(pool)
    seen = await asyncio.gather(*(run(pool, surroundings) for _ in range(3)))
    assert [one["stdin"] for one in seen] == [b""] * 3
    assert len({one["random"] for one in seen}) == 3
    assert [one["alarm"] for one in seen] == [signal.SIG_DFL] * 3
    # One of its own; the event loop's pair is the test's, not the child's: the pool was started before it.
    assert [one["sockets"] for one in seen] == [1] * 3
    await pool.stop()


LOCK = threading.Lock()


def take_the_lock(control: Control) -> tuple[bool, int]:
    return LOCK.acquire(timeout=0), threading.active_count()


@in_its_own_process(max_tasks_per_child=1)
async def test_children_know_nothing_of_threads_that_the_worker_has_started_since(pool: PreforkPool) -> None:
    end = threading.Event()

    def hold() -> None:
        with LOCK:
            end.wait(30)

    threads = [threading.Thread(target=target) for target in (hold, functools.partial(end.wait, 30))]
    for thread in threads:
        thread.start()
    await until(LOCK.locked)
    for _ in range(5):
        assert await run(pool, take_the_lock) == (True, 1)
    end.set()
    for thread in threads:
        thread.join()
    await pool.stop()


def test_threads_that_run_before_the_pool_starts_are_named_in_a_warning() -> None:
    run_scenario("warn_of_threads")


def warn_of_threads() -> None:
    logging.getLogger().addHandler(_Collect())
    end = threading.Event()
    threading.Thread(target=end.wait, name="sampler").start()
    pool = PreforkPool(call, 1)
    pool.start()
    pool.kill()
    end.set()
    assert "other threads (sampler)" in LOGGED[0]


# --- the worker's own death ---


def gone(pids: list[int]) -> bool:
    for one in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(one).status() != psutil.STATUS_ZOMBIE:  # nobody may be there to reap it
                return False
    return True


def host_of_busy_children() -> None:
    """Print the processes of a pool with busy, deaf and idle children, and wait to be killed."""
    pool = PreforkPool(call, 3)
    pool.start()

    async def main() -> None:
        jobs = [Begun(pool, sleep_deaf), Begun(pool, wait_for, "/nonexistent")]
        for job in jobs:
            await job.begun()
        await until_full(pool)
        print(json.dumps([process.pid for process in psutil.Process().children(recursive=True)]), flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())


@pytest.mark.parametrize("victim", ["worker", "worker's stopped zygote"])
def test_worker_that_is_killed_leaves_no_process(victim: str) -> None:
    host = subprocess.Popen([sys.executable, __file__, "host_of_busy_children"], stdout=subprocess.PIPE)
    assert host.stdout is not None
    pids = json.loads(host.stdout.readline())
    assert len(pids) == 4
    if victim != "worker":
        os.kill(pids[0], signal.SIGSTOP)  # it can do nothing about its children, but the kernel can
        if sys.platform != "linux":
            os.kill(pids[0], signal.SIGCONT)
    host.kill()
    host.wait()
    host.stdout.close()
    asyncio.run(until(lambda: gone(pids)))


BROKEN: list[bool] = []


@in_its_own_process(size=2, on_broken=lambda: BROKEN.append(True))
async def test_without_the_process_that_forks_every_job_is_lost_and_the_worker_is_told(pool: PreforkPool) -> None:
    jobs = [Begun(pool, sleep_deaf), Begun(pool, sleep_deaf), Begun(pool, sleep_deaf)]
    await jobs[0].begun()
    await jobs[1].begun()
    processes = psutil.Process().children(recursive=True)
    zygote = next(process.pid for process in processes if process.ppid() == os.getpid())
    os.kill(zygote, signal.SIGKILL)
    ends = await asyncio.gather(*(job.task for job in jobs), return_exceptions=True)
    assert [type(end) for end in ends] == [WorkerLostError] * 3
    await until(lambda: gone([process.pid for process in processes]))
    with pytest.raises(WorkerLostError):
        await run(pool, pid)
    assert BROKEN == [True]
    await pool.stop()


if __name__ == "__main__":
    SCENARIOS.get(sys.argv[1], globals().get(sys.argv[1]))()  # type: ignore[misc]
