"""A worker leaves its application out of Python's garbage collections."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pyramid_temporal_compat.worker.program import COLLECT_AFTER, collect_garbage_seldom


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
