"""Random canvases, made with Celery and with this package: the dicts, the ids and the eager results are equal."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import celery._state
import pytest

from pyramid_temporal_compat import current

from .beside import Side, form, mine, renamed, shape, some_canvas, theirs

# Celery warns about a setting of its own.
pytestmark = pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")

SEEDS = range(150)
THEIRS, OURS = theirs(), mine()


@pytest.fixture(autouse=True)
def current_apps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the app current, because signatures read from dicts belong to the current app."""
    before = current.save_current()
    monkeypatch.setattr(celery._state._tls, "current_app", THEIRS.app)
    current.set_current_app(OURS.app)
    yield
    current.restore_current(before)


def same(make: Callable[[Side], Any], seen: Callable[[Side, Any], Any]) -> None:
    """Check that both sides show the same canvas, or that both raise an error."""
    expected, found = _seen(THEIRS, make, seen), _seen(OURS, make, seen)
    assert found == expected


def _seen(side: Side, make: Callable[[Side], Any], seen: Callable[[Side, Any], Any]) -> Any:
    try:
        return seen(side, make(side))
    except (AttributeError, IndexError, TypeError, ValueError):  # an empty chain, or arguments that do not fit
        return "an error"


def made(seed: int) -> Callable[[Side], Any]:
    dice = random.Random(seed)
    return some_canvas(dice, dice.choice([1, 2, 3]))


@pytest.mark.parametrize("seed", SEEDS)
def test_both_make_and_read_back_the_same_dict(seed: int) -> None:
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
def test_an_eager_run_gives_the_same_results(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def eager(side: Side, canvas: Any) -> Any:
        monkeypatch.setitem(side.app.conf, "task_always_eager", True)
        side.app.notes.clear()
        value = canvas.apply_async((5,)).get(disable_sync_subtasks=False)
        return value, list(side.app.notes)

    same(made(seed), eager)
