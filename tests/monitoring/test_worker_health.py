"""What probes are told of a worker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pyramid_temporal_compat.monitoring.memory import used_kib
from pyramid_temporal_compat.monitoring.worker_health import LOOP_STUCK, POOL_STUCK, Seen, WorkerHealth

WELL = Seen(server_answers=True, is_polling=True, children=(11, 12))


class Watched:
    """A worker whose state and clock the test sets."""

    def __init__(self, memory_limit_kib: int | None = None) -> None:
        self.seen, self.now = WELL, 100.0
        self.health = WorkerHealth(lambda: self.seen, memory_limit_kib, clock=lambda: self.now, own_pid=1)
        self.health.note()


def test_a_worker_that_takes_tasks_is_alive_and_ready() -> None:
    health = Watched().health
    assert health.live().is_well
    assert health.ready().is_well
    assert "queues are polled" in health.ready().lines


def test_a_stuck_loop_is_not_alive() -> None:
    watched = Watched()
    watched.now += LOOP_STUCK + 1
    assert not watched.health.live().is_well
    assert not watched.health.ready().is_well
    assert watched.health.live().lines[0] == "event loop has not turned for 21 s (limit 20 s)"


def test_a_pool_without_a_process_is_not_alive_after_a_while() -> None:
    watched = Watched()
    watched.seen = replace(WELL, children=())
    watched.health.note()
    assert watched.health.live().is_well  # a new process is on its way
    watched.now += POOL_STUCK + 1
    watched.health.note()
    assert not watched.health.live().is_well


def test_a_pool_of_threads_has_no_process_and_is_alive() -> None:
    watched = Watched()
    watched.seen = replace(WELL, children=None)
    watched.now += POOL_STUCK * 10
    watched.health.note()
    assert watched.health.live().is_well


def test_a_draining_worker_is_alive_and_not_ready() -> None:
    watched = Watched()
    watched.seen = replace(WELL, stops=True, running=3)
    watched.health.note()
    assert watched.health.live().is_well
    assert not watched.health.ready().is_well
    assert "stopping; 3 tasks still run" in watched.health.ready().lines


def test_without_a_server_a_worker_is_alive_and_not_ready() -> None:
    watched = Watched()
    watched.seen = replace(WELL, server_answers=False)
    watched.health.note()
    assert watched.health.live().is_well
    assert not watched.health.ready().is_well


def test_too_much_memory_is_not_alive() -> None:
    watched = Watched(memory_limit_kib=1)
    watched.health.own_pid = __import__("os").getpid()
    assert not watched.health.live().is_well
    assert watched.health.live().lines[2].endswith("KiB of 1 KiB")


def test_memory_is_the_sum_of_the_processes(tmp_path: Path) -> None:
    for pid, name, line in (("1", "smaps_rollup", "Pss:      700 kB"), ("2", "status", "VmRSS:    50 kB")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / name).write_text(f"Rss: 9000 kB\n{line}\n")
    assert used_kib((1, 2), tmp_path) is None  # no such system
    (tmp_path / "self").mkdir()
    assert used_kib((1, 2, 3), tmp_path) == 750  # the third process has ended
