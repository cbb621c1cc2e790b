"""Each kind of canvas, results that are read in another process, and how the web UI shows a step."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyramid_temporal_compat import chain, chord, chunks, group, shared_task, signature, xmap, xstarmap
from pyramid_temporal_compat.exceptions import ChordError
from pyramid_temporal_compat.results import result_from_tuple
from tests.parts import wait_until
from tests.worker.shop import Shop, add, events, seen

PATIENCE = 30


@shared_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task
def twice(number: int) -> int:
    return 2 * number


@shared_task
def fails_here() -> None:
    raise ValueError("on purpose")


@shared_task
def hears_of(request: Any, error: BaseException, traceback: str, key: str) -> None:
    seen[key].append((request.task.rpartition(".")[2], type(error).__name__))


@pytest.mark.parametrize(
    ("canvas", "value"),
    [
        (lambda: twice.map([1, 2, 3]), [2, 4, 6]),
        (lambda: add.starmap([(1, 2), (3, 4)]), [3, 7]),
        (lambda: xmap(task=twice.s(), it=[4, 5]), [8, 10]),
        (lambda: xstarmap(task=add.s(), it=[(5, 6)]), [11]),
        (lambda: add.chunks([(n, n) for n in range(5)], 2), [[0, 2], [4, 6], [8]]),
        (lambda: chunks(add.s(), [(n, n) for n in range(3)], 2).group(), [[0, 2], [4]]),
        (lambda: group(add.s(n, n) for n in range(3)), [0, 2, 4]),
        (lambda: chord((add.s(n, n) for n in range(3)), total.s()), 6),
        (lambda: chain(twice.s(number) for number in (3,)), 6),
        (lambda: add.s(1, 2) | (twice.s() | twice.si(7)), 14),
        (lambda: group(add.s(1, 1), add.s(2, 2)) | total.s() | twice.s(), 12),
        (lambda: group(), []),
        (lambda: chord([], total.s()), 0),
        (lambda: signature(json.loads(json.dumps(chord([add.s(1, 1)], total.s())))), 2),
        (lambda: add.s(1).clone(args=(2,)), 3),
    ],
    ids=lambda canvas: None,
)
def test_each_kind_gives_what_celery_documents(shop: Shop, canvas: Any, value: Any) -> None:
    assert canvas().delay().get(timeout=PATIENCE) == value


def test_error_callbacks_of_a_chord_are_those_of_its_header_where_that_is_allowed(shop: Shop) -> None:
    shop.app.conf.task_allow_error_cb_on_chord_header = True
    try:
        canvas = chord([fails_here.s(), add.s(1, 1)], total.s())
        canvas.link_error(hears_of.s("allowed"))
    finally:
        shop.app.conf.task_allow_error_cb_on_chord_header = False
    with pytest.raises(ChordError, match=r"Dependency .* raised ValueError\('on purpose'\)"):
        canvas.delay().get(timeout=PATIENCE, follow_parents=False)
    wait_until(lambda: sorted(seen["allowed"]) == [("fails_here", "ValueError"), ("total", "ChordError")])


def test_a_result_is_written_down_and_read_elsewhere(shop: Shop) -> None:
    result = chain(add.s(1, 1), group(add.s(2), add.s(3)))()
    assert result.get(timeout=PATIENCE) == [4, 5]
    again = result_from_tuple(json.loads(json.dumps(result.as_tuple())), app=shop.app)
    assert again == result
    assert again.parent.get(timeout=PATIENCE) == 2
    assert next(value for _, value in again.parent.collect(timeout=PATIENCE)) == 2
    assert [member.get(timeout=PATIENCE) for member in again.results] == [4, 5]


def test_each_step_shows_in_the_web_ui_what_it_is_and_where(shop: Shop) -> None:
    result = (add.s(1, 2) | chord([twice.s(), twice.si(5)], total.s()))()
    assert result.get(timeout=PATIENCE) == 16
    shown = [
        json.loads(event.user_metadata.summary.data)
        for event in events(shop, result.id)
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    here = __name__
    assert shown[0] == "1/2 tests.worker.shop.add(1, 2)"
    assert sorted(shown[1:3]) == [f"2/2 1/2 {here}.twice()", f"2/2 2/2 {here}.twice(5)"]
    assert shown[3] == f"2/2 body {here}.total()"
