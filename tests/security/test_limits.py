"""Payloads at, over and just under every limit: a clear error where they are asked for, and nothing half done."""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import transaction

from pyramid_temporal_compat import Celery, chain, chord, group
from pyramid_temporal_compat.exceptions import PayloadTooLarge
from pyramid_temporal_compat.payload.types import ascii_size, dumps
from tests.parts import fresh_database, wait_until
from tests.security.conftest import PATIENCE
from tests.worker.shop import Shop, WorkerThread, write

EMPTY = len(b'""')
METADATA = len("encoding") + len(b"json/plain")


@pytest.fixture(scope="module")
def running_shop(temporal_address: str, postgres: str) -> Iterator[Shop]:
    with fresh_database(postgres) as url:
        shop = Shop(temporal_address, url)
        define_tasks(shop.app)
        with WorkerThread(shop.app, shop.queue, concurrency=8):
            yield shop
        shop.close()


@pytest.fixture
def shop(running_shop: Shop) -> Iterator[Shop]:
    running_shop.app.set_current()
    yield running_shop
    running_shop.clear()


def noise(size: int) -> str:
    """Text that zlib takes a quarter off, and no more; another one each time."""
    return base64.b64encode(random.randbytes(size)).decode()[:size]


def define_tasks(app: Celery) -> None:
    @app.task(name="limits.give")
    def give(size: int, children: int = 0) -> str:
        write("given")
        for _ in range(children):
            app.send_task("limits.give", (1,), queue="nobody serves this")
        return "x" * size

    @app.task(name="limits.take")
    def take(*values: Any) -> int:
        write("taken")
        return sum(len(value) for value in values)

    @app.task(name="limits.say", bind=True)
    def say(self: Any, size: int) -> None:
        write("said")
        self.update_state(state="PROGRESS", meta="é" * size)

    @app.task(name="limits.replace", bind=True)
    def replace(self: Any, size: int) -> None:
        write("replaced")
        self.replace(chain(take.s(noise(size)), take.si(noise(size))))

    @app.task(name="limits.fail")
    def fail(size: int, times: int) -> None:
        write("failed")
        raise ValueError(*["x" * size] * times)


def task(shop: Shop, name: str) -> Any:
    return shop.app.tasks[f"limits.{name}"]


def limit(shop: Shop) -> int:
    found: int = shop.app.conf.ptemporal_payload_limit
    return found


# --- in the view -----------------------------------------------------------------------------------------


@contextmanager
def a_transaction() -> Iterator[None]:
    transaction.begin()
    try:
        yield
        transaction.commit()
    except BaseException:
        transaction.abort()
        raise


def largest_argument(shop: Shop) -> int:
    """How many characters an argument may have: found by asking."""
    low, high = 0, limit(shop)
    transaction.begin()
    try:
        while high - low > 1:
            middle = (low + high) // 2
            try:
                task(shop, "take").apply_async(("x" * middle,), task_id=str(uuid.uuid4()))
                low = middle
            except PayloadTooLarge:
                high = middle
    finally:
        transaction.abort()
    return low


def test_arguments_of_the_largest_size_run_and_one_byte_more_is_refused(shop: Shop) -> None:
    largest = largest_argument(shop)
    assert largest > limit(shop) - 1000
    with a_transaction():
        result = task(shop, "take").apply_async(("x" * largest,), task_id=str(uuid.uuid4()))
    assert result.get(timeout=PATIENCE) == largest
    with a_transaction():
        first = task(shop, "take").delay("small")
        with pytest.raises(PayloadTooLarge, match=r"the largest argument is values\[0\], of 2,09"):
            task(shop, "take").apply_async(("x" * (largest + 1),), task_id=str(uuid.uuid4()))
    assert first.get(timeout=PATIENCE) == len("small")
    assert shop.lines() == ["taken"] * 2  # and no third


def test_a_canvas_that_is_too_large_together_is_refused_in_the_view(shop: Shop) -> None:
    take, size = task(shop, "take"), limit(shop) - 2000
    with a_transaction():
        result = group(take.s("x" * size) for _ in range(4)).apply_async()  # it leaves compressed
    assert result.get(timeout=PATIENCE) == [size] * 4
    with pytest.raises(PayloadTooLarge, match=r"the canvas group of 2: .* bytes, compressed, and the"), a_transaction():
        group(take.s(noise(size)) for _ in range(2)).apply_async()
    with pytest.raises(PayloadTooLarge, match=r"the canvas limits\.take"), a_transaction():
        take.apply_async((noise(size),), link=take.si(noise(size)))


# --- in the worker ---------------------------------------------------------------------------------------


def test_a_result_of_the_largest_size_arrives_and_one_byte_more_fails_the_task(shop: Shop) -> None:
    largest = limit(shop) - EMPTY - METADATA
    assert len(task(shop, "give").delay(largest).get(timeout=PATIENCE)) == largest
    assert shop.lines() == ["given"]
    with pytest.raises(PayloadTooLarge, match=r"the result of task 'limits\.give' takes 2,093,057 bytes"):
        task(shop, "give").delay(largest + 1).get(timeout=PATIENCE)
    assert shop.lines() == ["given"]  # what the second one wrote was rolled back


def test_a_result_arrives_with_as_many_children_as_there_is_room_for(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    result = task(shop, "give").delay(limit(shop) - 1000, children=100)
    assert len(result.get(timeout=PATIENCE)) == limit(shop) - 1000
    assert shop.lines() == ["given"]  # once
    assert 1 <= len(result.children or []) < 100
    assert "has asked for 100 tasks: its result does not name them all" in caplog.text


def test_progress_that_is_too_large_fails_the_task(shop: Shop) -> None:
    most = (limit(shop) - EMPTY) // len(r"\u00e9")
    task(shop, "say").delay(most).get(timeout=PATIENCE)
    assert shop.lines() == ["said"]
    with pytest.raises(PayloadTooLarge, match=r"update_state\(meta=\.\.\.\) takes 2,"):
        task(shop, "say").delay(most + 1).get(timeout=PATIENCE)
    assert shop.lines() == ["said"]


@pytest.mark.parametrize(
    "value", ["", "plain", 'quo"ted \\ back', "é", "\U0001f600 é \\u00e9", "\n\t\x7f\x00", {"é": ["ü"]}]
)
def test_the_size_of_progress_is_that_which_the_server_sees(value: Any) -> None:
    assert ascii_size(dumps(value)) == len(json.dumps(value, separators=(",", ":")))


def test_a_replacement_that_is_too_large_fails_the_task(shop: Shop) -> None:
    size = limit(shop) * 3 // 8
    assert task(shop, "replace").delay(size).get(timeout=PATIENCE) == size
    shop.clear()
    with pytest.raises(
        PayloadTooLarge, match=r"replacement of task 'limits\.replace', chain of 2: .*three quarters of"
    ):
        task(shop, "replace").delay(limit(shop) * 3 // 5).get(timeout=PATIENCE)
    assert shop.lines() == []


@pytest.mark.parametrize(("size", "times"), [(19_000, 1), (19_000, 150), (5_000_000, 1)])
def test_an_error_arrives_whatever_its_size(shop: Shop, size: int, times: int) -> None:
    with pytest.raises(ValueError, match="xxx"):
        task(shop, "fail").delay(size, times).get(timeout=PATIENCE)
    assert shop.lines() == []


def test_a_large_error_fails_all_that_was_to_come_after_it(shop: Shop) -> None:
    steps = [task(shop, "take").si("x") for _ in range(40)]
    result = chain(task(shop, "fail").si(19_000, 20), *steps).apply_async()
    with pytest.raises(ValueError, match="xxx"):
        result.get(timeout=PATIENCE)
    # `get` raises as soon as the first task is known to have failed. The workflow tells of the others a moment later.
    wait_until(lambda: [result.parent.state, result.state] == ["FAILURE", "FAILURE"])
    assert shop.lines() == []


def test_results_that_are_too_large_together_fail_the_chord(shop: Shop) -> None:
    header = [task(shop, "give").si(limit(shop) // 2) for _ in range(3)]
    with pytest.raises(PayloadTooLarge, match=r"3 results of 3,139,\d+ bytes together, and its own arguments"):
        chord(header, task(shop, "take").s()).apply_async().get(timeout=PATIENCE)
    assert shop.lines() == ["given"] * 3


def test_a_large_result_reaches_every_member_of_a_group(shop: Shop) -> None:
    members = group(task(shop, "take").s() for _ in range(8))
    result = chain(task(shop, "give").si(1_000_000), members).apply_async()
    assert result.get(timeout=PATIENCE) == [1_000_000] * 8
    assert sorted(shop.lines()) == ["given"] + ["taken"] * 8
