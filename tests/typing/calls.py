"""Right and wrong calls for type checkers. `test_typed_calls.py` runs mypy and pyright on this file.

Both must report an error for each line that ends in `# error`, and for no other line.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from pyramid_temporal_compat import AsyncResult, Celery, Task, shared_task, task

app = Celery("typed")


@shared_task
def plain(item: int, note: str = "") -> str:
    return note * item


@shared_task(max_retries=5, queue="items")
def with_options(item: int) -> list[int]:
    return [item]


@shared_task(bind=True, autoretry_for=(OSError,))
def bound(self: Task, item: int, *, loud: bool = False) -> bool:
    return loud


@task(bind=False)
def under_the_other_name(item: int) -> None: ...


@app.task
def of_an_app(item: int) -> float:
    return item / 2


@app.task(bind=True)
def of_an_app_bound(self: Any, item: int) -> dict[str, int]:
    return {"item": item}


def right_calls() -> None:
    assert_type(plain.delay(1, note="x"), "AsyncResult[str]")
    assert_type(plain.delay(1).get(timeout=1), str)
    assert_type(plain(1), str)
    assert_type(plain.apply_async((1,), countdown=5).get(), str)
    assert_type(plain.s(1).delay().get(), str)
    assert_type(plain.si(1).apply_async().get(), str)
    assert_type(with_options.delay(1).get(), "list[int]")
    assert_type(bound.delay(1, loud=True).get(), bool)
    assert_type(bound(1), bool)
    assert_type(of_an_app.delay(1).get(), float)
    assert_type(of_an_app_bound.delay(item=1).get(), "dict[str, int]")
    anything: Task = plain
    anything.delay(1, 2, 3)
    (plain.s(1) | with_options.s()).delay()
    found: AsyncResult = AsyncResult("an-id")
    found.get()


def wrong_calls() -> None:
    plain.delay("1")  # error
    plain.delay()  # error
    plain.delay(1, nota="x")  # error
    plain.si("1")  # error
    with_options.delay(1, 2)  # error
    bound.delay(None, 1)  # error
    bound.delay(1, True)  # error
    bound(1, loud="yes")  # error
    under_the_other_name.delay(item="1")  # error
    of_an_app.delay(1).get().upper()  # error
    of_an_app_bound.delay()  # error
    length: int = plain.delay(1).get()  # error
    print(length)
