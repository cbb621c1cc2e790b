"""The pool `prefork`: size, start and end, what a child inherits, and the death of the worker or the zygote."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from pyramid_temporal_compat.control.limits import Limits
from pyramid_temporal_compat.exceptions import (
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    WorkerLostError,
)
from pyramid_temporal_compat.worker.pools.pool import JobControl
from pyramid_temporal_compat.worker.pools.prefork import PreforkPool
from tests.worker.prefork_parts import (
    DIRECTORY,
    LOGGED,
    ROOT,
    StartedJob,
    _Collect,
    call,
    in_its_own_process,
    main,
    new_path,
    pid,
    run,
    run_scenario,
    sleep_deaf,
    sys_exit,
    touch,
    until,
    until_full,
    wait_for,
)

# --- replacement and size ---


@in_its_own_process(max_tasks_per_child=2)
async def test_child_is_replaced_after_max_tasks(pool: PreforkPool) -> None:
    where = await asyncio.gather(*(run(pool, pid) for _ in range(7)))
    assert [where.count(child) for child in dict.fromkeys(where)] == [2, 2, 2, 1]
    await pool.stop()
    assert not [message for message in LOGGED if "ended" in message]


def grow_by(control: JobControl, size: int) -> int:
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
    jobs = [StartedJob(pool, wait_for, path) for _ in range(5)]
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
    jobs = [StartedJob(pool, wait_for, path) for _ in range(5)]
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
    jobs = [StartedJob(pool, sleep_deaf) for _ in range(3)]
    await jobs[0].begun()
    await jobs[1].begun()
    pool.kill()
    ends = await asyncio.gather(*(job.task for job in jobs), return_exceptions=True)
    assert [type(end) for end in ends] == [WorkerLostError] * 3


BEGUN_JOBS = os.path.join(tempfile.mkdtemp(), "begun")


def begin_and_echo(control: JobControl, number: int, data: bytes, seconds: float) -> tuple[int, bytes]:
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
    assert "done" in ends  # other outcomes depend on the machine's speed
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
async def test_hooks_are_called_as_a_child_starts_and_ends(pool: PreforkPool) -> None:
    await run(pool, pid)
    with pytest.raises(WorkerLostError):
        await run(pool, sys_exit, 5)
    await run(pool, pid)
    await pool.stop()
    assert sorted(told()) == ["0", "0", "0", "5", "f", "f", "f", "f"]


# --- what a child inherits ---


def surroundings(control: JobControl) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGINT)  # the worker handles Ctrl-C
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
    # Only its own socket: the pool was started before the event loop, so a child does not inherit the loop's sockets.
    assert [one["sockets"] for one in seen] == [1] * 3
    await pool.stop()


LOCK = threading.Lock()


def take_the_lock(control: JobControl) -> tuple[bool, int]:
    return LOCK.acquire(timeout=0), threading.active_count()


@in_its_own_process(max_tasks_per_child=1)
async def test_children_inherit_no_lock_of_threads_that_the_worker_started_later(pool: PreforkPool) -> None:
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
    run_scenario(__name__, "warn_of_threads")


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
            if psutil.Process(one).status() != psutil.STATUS_ZOMBIE:  # perhaps no process reaps it
                return False
    return True


def host_of_busy_children() -> None:
    """Print the processes of a pool with busy, blocked and idle children, and wait to be killed."""
    pool = PreforkPool(call, 3)
    pool.start()

    async def main() -> None:
        jobs = [StartedJob(pool, sleep_deaf), StartedJob(pool, wait_for, "/nonexistent")]
        for job in jobs:
            await job.begun()
        await until_full(pool)
        print(json.dumps([process.pid for process in psutil.Process().children(recursive=True)]), flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())


@pytest.mark.parametrize("victim", ["worker", "worker's stopped zygote"])
def test_worker_that_is_killed_leaves_no_process(victim: str) -> None:
    host = subprocess.Popen([sys.executable, "-m", __name__, "host_of_busy_children"], cwd=ROOT, stdout=subprocess.PIPE)
    assert host.stdout is not None
    pids = json.loads(host.stdout.readline())
    assert len(pids) == 4
    if victim != "worker":
        os.kill(pids[0], signal.SIGSTOP)  # the killed process can't end its children, but the kernel does
        if sys.platform != "linux":
            os.kill(pids[0], signal.SIGCONT)
    host.kill()
    host.wait()
    host.stdout.close()
    shutil.rmtree(f"{DIRECTORY.rpartition('-')[0]}-{host.pid}")  # a blocked child can't end itself
    asyncio.run(until(lambda: gone(pids)))


BROKEN: list[bool] = []


@in_its_own_process(size=2, on_broken=lambda: BROKEN.append(True))
async def test_if_the_zygote_dies_every_job_is_lost_and_the_worker_is_told(pool: PreforkPool) -> None:
    jobs = [StartedJob(pool, sleep_deaf), StartedJob(pool, sleep_deaf), StartedJob(pool, sleep_deaf)]
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
    main(globals())
