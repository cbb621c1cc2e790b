"""Canvases that are made at random, by Celery and by us: the same dicts, the same ids, the same eager results."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import celery._state
import pytest

from pyramid_temporal_compat import current

from .beside import Side, form, mine, renamed, shape, some_canvas, theirs

# Celery's word about a setting of its own.
pytestmark = pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")

SEEDS = range(150)
THEIRS, OURS = theirs(), mine()


@pytest.fixture(autouse=True)
def current_apps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Signatures that were dicts belong to the current app."""
    before = current.save_current()
    monkeypatch.setattr(celery._state._tls, "current_app", THEIRS.app)
    current.set_current_app(OURS.app)
    yield
    current.restore_current(before)


def same(make: Callable[[Side], Any], seen: Callable[[Side, Any], Any]) -> None:
    """What is seen of the canvas is the same on both sides, or it is an error on both."""
    expected, found = _seen(THEIRS, make, seen), _seen(OURS, make, seen)
    assert found == expected


def _seen(side: Side, make: Callable[[Side], Any], seen: Callable[[Side, Any], Any]) -> Any:
    try:
        return seen(side, make(side))
    except (AttributeError, IndexError, TypeError, ValueError):  # a chain of nothing; arguments that do not fit
        return "an error"


def made(seed: int) -> Callable[[Side], Any]:
    dice = random.Random(seed)
    return some_canvas(dice, dice.choice([1, 2, 3]))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_dict_is_made_and_read_back(seed: int) -> None:
    same(made(seed), lambda side, canvas: form(canvas))
    same(made(seed), lambda side, canvas: form(canvas.clone()))
    same(made(seed), lambda side, canvas: form(side.canvas.signature(json.loads(json.dumps(canvas)), app=side.app)))


@pytest.mark.parametrize("seed", SEEDS)
def test_freezing_gives_the_same_ids_to_the_same_tasks(seed: int) -> None:
    def frozen(side: Side, canvas: Any) -> Any:
        result = canvas.freeze()
        return shape(result, side.group_result, {}), renamed(form(canvas))

    same(made(seed), frozen)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_gives_the_same_when_it_runs_here(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def eager(side: Side, canvas: Any) -> Any:
        monkeypatch.setitem(side.app.conf, "task_always_eager", True)
        side.app.notes.clear()
        value = canvas.apply_async((5,)).get(disable_sync_subtasks=False)
        return value, list(side.app.notes)

    same(made(seed), eager)
