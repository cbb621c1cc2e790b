"""Runs in the caller's process: `apply()` and `task_always_eager`."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import transaction

from pyramid_temporal_compat import Celery, Task, chain, group
from pyramid_temporal_compat.exceptions import Ignore, NotSerializable, StillEnlisted
from pyramid_temporal_compat.results import EagerResult


@pytest.fixture
def app() -> Celery:
    return Celery("eager")


@pytest.fixture
def eager(app: Celery) -> Celery:
    app.conf.task_always_eager = True
    return app


def test_apply_runs_the_task_and_returns_a_ready_result(app: Celery) -> None:
    task = app.task(lambda x, y: x + y, name="add")
    result = task.apply((1, 2))
    assert (result.get(), result.state, result.ready(), result.successful()) == (3, "SUCCESS", True, True)


def test_apply_returns_the_error_or_raises_it(app: Celery) -> None:
    @app.task
    def fail() -> None:
        raise ValueError("no")

    result = fail.apply()
    assert (result.state, repr(result.result)) == ("FAILURE", "ValueError('no')")
    assert "raise ValueError" in (result.traceback or "")
    with pytest.raises(ValueError, match="no"):
        result.get()
    with pytest.raises(ValueError, match="no"):
        fail.apply(throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(ValueError, match="no"):
        fail.apply()


def test_apply_retries_at_once_and_counts(app: Celery) -> None:
    @app.task(bind=True, max_retries=3)
    def again(self: Any, text: str) -> Any:
        if self.request.retries < 2:
            raise self.retry(args=(text + "!",), countdown=60)
        return self.request.retries, text

    assert again.apply(("x",)).get() == (2, "x!!")


def test_apply_gives_up_after_max_retries(app: Celery) -> None:
    @app.task(bind=True, autoretry_for=(KeyError,), max_retries=2)
    def never(self: Any) -> None:
        raise KeyError(self.request.retries)

    result = never.apply()
    assert (result.state, repr(result.result)) == ("FAILURE", "KeyError(2)")


def test_apply_calls_the_hooks(app: Celery) -> None:
    heard = []

    class Telling(Task):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            heard.append("before_start")

        def on_success(self, *args: Any) -> None:
            heard.append("on_success")

        def after_return(self, status: str, *args: Any) -> None:
            heard.append(status)

    task = app.task(lambda: 1, name="told", base=Telling)
    task.apply()
    assert heard == ["before_start", "on_success", "SUCCESS"]


def test_the_request_says_that_the_run_is_eager(app: Celery) -> None:
    @app.task(bind=True)
    def which(self: Any) -> Any:
        request = self.request
        return request.is_eager, request.called_directly, request.id, request.retries

    assert which.apply(task_id="mine").get() == (True, False, "mine", 0)


def test_an_ignored_run_is_neither_success_nor_failure(app: Celery) -> None:
    @app.task
    def skip() -> None:
        raise Ignore

    assert skip.apply().state == "IGNORED"
    assert skip.apply().get() is None


def test_always_eager_runs_at_once_outside_a_transaction(eager: Celery) -> None:
    task = eager.task(lambda x: x * 2, name="double")
    assert task.delay(21).get() == 42


def test_always_eager_runs_when_the_transaction_commits(eager: Celery) -> None:
    ran = []
    task = eager.task(lambda x: ran.append(x) or x, name="late")
    transaction.begin()
    result = task.delay(1)
    assert (ran, result.state, result.ready()) == ([], "PENDING", False)
    with pytest.raises(StillEnlisted):
        result.get()
    told = []
    result.then(lambda ready: told.append(ready.result))
    transaction.commit()
    assert (ran, result.get(), told) == ([1], 1, [1])


def test_always_eager_does_not_run_when_the_transaction_aborts(eager: Celery) -> None:
    ran = []
    task = eager.task(ran.append, name="never")
    transaction.begin()
    task.delay(1)
    transaction.abort()
    assert ran == []


def test_always_eager_passes_arguments_through_bytes(eager: Celery) -> None:
    task = eager.task(lambda value: type(value).__name__, name="kind")
    assert task.delay((1, 2)).get() == "list"
    with pytest.raises(NotSerializable):
        task.delay(object())


def test_push_request_gives_a_bound_task_its_request(app: Celery) -> None:
    @app.task(bind=True)
    def tell(self: Any) -> Any:
        return self.request.id

    tell.push_request(id="pushed", called_directly=False)
    try:
        assert tell.run() == "pushed"
    finally:
        tell.pop_request()


def test_retry_in_a_plain_call_raises_the_error_itself(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task(autoretry_for=(OSError,), retry_kwargs={"max_retries": 3})
    def fetch() -> None:
        raise OSError("away")

    asked = mock.Mock(wraps=fetch.retry)
    monkeypatch.setattr(fetch, "retry", asked)
    with pytest.raises(OSError, match="away"):
        fetch()
    assert asked.call_args.kwargs["max_retries"] == 3


def test_a_task_can_be_mocked_with_autospec(app: Celery) -> None:
    @app.task
    def fetch(number: int) -> int:
        return number

    mocked = mock.create_autospec(fetch)
    mocked.delay(3)
    mocked.delay.assert_called_once_with(3)


# --- canvas --------------------------------------------------------------------------------------------


def test_a_canvas_runs_eagerly_with_its_links(eager: Celery) -> None:
    heard: list[Any] = []
    add = eager.task(lambda x, y: x + y, name="add")
    total = eager.task(lambda values: sum(values), name="total")
    hears = eager.task(lambda *args: heard.append(args), name="hears")
    canvas = chain(add.s(1, 1), group(add.s(1), add.s(2)), total.s())
    canvas.link(hears.s("done"))
    assert canvas.delay().get() == 7
    assert heard == [(7, "done")]


def test_a_canvas_in_a_transaction_runs_when_the_transaction_commits(eager: Celery) -> None:
    add = eager.task(lambda x, y: x + y, name="add")
    with transaction.manager:
        result = group(add.s(1, 1), chain(add.s(1, 2), add.s(10))).apply_async()
        assert [member.state for member in result] == ["PENDING", "PENDING"]
        with pytest.raises(StillEnlisted):
            result.get()
    assert result.get() == [2, 13]
    assert result[1].parent.get() == 3
    result.forget()  # asks no server


def test_errbacks_of_both_kinds_are_called_eagerly(eager: Celery) -> None:
    heard: list[Any] = []

    @eager.task
    def fail() -> None:
        raise ValueError("no")

    old = eager.task(lambda task_id: heard.append(task_id), name="old")
    new = eager.task(lambda request, exc, traceback: heard.append((request.id, repr(exc))), name="new")
    result = fail.apply_async(link_error=[old.s(), new.s()])
    assert sorted(map(str, heard)) == sorted([result.id, f"('{result.id}', \"ValueError('no')\")"])


def test_the_result_of_a_replaced_task_is_the_result_of_its_replacement(eager: Celery) -> None:
    add = eager.task(lambda x, y: x + y, name="add")

    @eager.task(bind=True)
    def replaced(self: Any) -> Any:
        return self.replace(group(add.s(1, 1), add.s(2, 2)))

    assert replaced.delay().get() == [2, 4]


def test_a_callback_of_an_eager_run_knows_its_parent_and_root(eager: Celery) -> None:
    @eager.task(bind=True)
    def tell(self: Any, *args: Any) -> Any:
        told.append((self.request.parent_id, self.request.root_id))

    told: list[Any] = []
    result = tell.apply_async(link=tell.s())
    assert told == [(None, result.id), (result.id, result.id)]


def test_an_eager_result_needs_no_server(eager: Celery) -> None:
    @eager.task
    def fail() -> None:
        raise ValueError("no")

    result = fail.delay()
    with pytest.raises(ValueError, match="no"):
        result.maybe_throw()
    assert repr(result.maybe_throw(propagate=False)) == "ValueError('no')"
    assert (result.queue, result.date_done, result.args, result.current_status().state) == (None, None, None, "FAILURE")


def test_the_first_parents_error_is_raised_even_if_that_parent_ends_meanwhile(eager: Celery) -> None:
    class EndsMeanwhile(EagerResult):
        asked = 0

        def maybe_throw(self, *args: Any, **kwargs: Any) -> Any:
            self.asked += 1
            return super().maybe_throw() if self.asked > 1 else None

    first = EndsMeanwhile("1", ValueError("first"), "FAILURE", app=eager)
    then = EagerResult("2", ValueError("of the first"), "FAILURE", app=eager)
    last = eager.AsyncResult("3", parent=then)
    then.parent = first
    with pytest.raises(ValueError, match=r"^first$"):
        last.raise_parent_error()
