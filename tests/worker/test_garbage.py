"""A worker leaves its application out of Python's garbage collections, and its threads share one heap of glibc."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pyramid_temporal_compat.worker.program import (
    COLLECT_AFTER,
    M_ARENA_MAX,
    MALLOC_SETTINGS,
    collect_garbage_seldom,
    share_one_heap,
)


@pytest.fixture(autouse=True)
def thresholds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = gc.get_threshold()
    monkeypatch.setattr(gc, "freeze", lambda: None)  # for the other tests of this process
    yield
    gc.set_threshold(*before)


def test_a_worker_collects_seldom() -> None:
    gc.set_threshold(700)
    collect_garbage_seldom()
    assert gc.get_threshold()[0] == COLLECT_AFTER


def test_a_choice_of_the_application_stays() -> None:
    gc.set_threshold(1234)
    collect_garbage_seldom()
    assert gc.get_threshold()[0] == 1234


class Recorder:
    """Stands for the C library. A real `mallopt` would change the process of all tests, and can't be asked."""

    def __init__(self) -> None:
        self.settings: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, value: int) -> int:
        self.settings.append((parameter, value))
        return 1


@pytest.fixture
def c_library(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: recorder)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in os.environ:
        if name.startswith(MALLOC_SETTINGS):
            monkeypatch.delenv(name)
    return recorder


def test_threads_share_one_heap(c_library: Recorder) -> None:
    share_one_heap()
    assert c_library.settings == [(M_ARENA_MAX, 1)]


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_settings_of_malloc_in_the_environment_stay(
    name: str, c_library: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "4")
    share_one_heap()
    assert c_library.settings == []


def test_no_other_system_and_no_other_c_library_is_changed(
    c_library: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # musl has no `mallopt`
    share_one_heap()
    monkeypatch.setattr(ctypes, "CDLL", None)
    monkeypatch.setattr(sys, "platform", "darwin")
    share_one_heap()


RARELY_USED = (
    "argparse",
    "http.server",
    "pyramid_temporal_compat.schedules.sync",
    "pyramid_temporal_compat.worker.pools.prefork",
    "sqlalchemy",
)


def test_a_worker_with_threads_starts_without_what_it_does_not_use() -> None:
    code = (
        "import sys; from pyramid_temporal_compat import Celery; "
        "Celery('shop').Worker(pool='threads', hostname='celery@here'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not set(RARELY_USED) & set(done.stdout.split())
