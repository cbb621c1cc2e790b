"""Hooks of a task class and signals of a run: when they are called, with what, and in which transaction."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyramid.scripting
import pytest
import transaction
from pyramid.threadlocal import get_current_registry

from pyramid_temporal_compat import Task, shared_task, signals
from pyramid_temporal_compat.enlist.enlistment import has_begun
from pyramid_temporal_compat.exceptions import Ignore, InvalidArguments, Retry
from tests.parts import wait_until
from tests.worker.shop import Shop, add, seen, write

PATIENCE = 30


class Telling(Task):
    """Notes each hook call, also in the database: a row that stays shows that the hook's transaction committed."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        self.tell("before_start", task_id, args, kwargs)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        self.tell("on_success", task_id, args, kwargs, retval)

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.tell("on_retry", task_id, args, kwargs, repr(exc))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.tell("on_failure", task_id, args, kwargs, repr(exc), "raise ValueError" in einfo.traceback)

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.tell("after_return", task_id, args, kwargs, status)

    def tell(self, hook: str, task_id: str, args: Any, kwargs: Any, *more: Any) -> None:
        assert task_id == self.request.id
        seen[task_id].append((hook, tuple(args), kwargs, *more))
        write(hook)


@shared_task(base=Telling, bind=True, max_retries=1)
def does(self: Any, what: str, by: str = "test") -> str:
    write("the task")
    if what == "fail":
        raise ValueError(what)
    if what == "retry" and self.request.retries == 0:
        raise self.retry(countdown=0, exc=KeyError("again"))
    if what == "ignore":
        raise Ignore
    return f"did {what}"


def hooks_of(result: Any, last: str) -> list[Any]:
    """Return the hook calls of a run, once the last hook was called: hooks may follow the result."""
    wait_until(lambda: seen[result.id] and seen[result.id][-1][0] == last, message=f"{last} was not called")
    return seen[result.id]


def test_on_success_is_called_after_the_commit(shop: Shop) -> None:
    result = does.delay("it", by="me")
    assert result.get(timeout=PATIENCE) == "did it"
    about = (("it",), {"by": "me"})
    assert hooks_of(result, "after_return") == [
        ("before_start", *about),
        ("on_success", *about, "did it"),
        ("after_return", *about, "SUCCESS"),
    ]
    wait_until(lambda: shop.lines() == ["before_start", "the task", "on_success", "after_return"])


def test_on_failure_is_called_in_a_transaction_that_commits(shop: Shop) -> None:
    result = does.delay("fail")
    assert isinstance(result.get(timeout=PATIENCE, propagate=False), ValueError)
    about = (("fail",), {})
    assert hooks_of(result, "after_return") == [
        ("before_start", *about),
        ("on_failure", *about, "ValueError('fail')", True),
        ("after_return", *about, "FAILURE"),
    ]
    wait_until(lambda: shop.lines() == ["on_failure", "after_return"], message="what the task wrote is rolled back")


def test_after_return_is_not_called_for_a_retry(shop: Shop) -> None:
    result = does.delay("retry")
    assert result.get(timeout=PATIENCE) == "did retry"
    names = [hook[0] for hook in hooks_of(result, "after_return")]
    assert names == ["before_start", "on_retry", "before_start", "on_success", "after_return"]
    assert seen[result.id][1][-1] == "KeyError('again')"


def test_only_before_start_is_called_for_an_ignored_task(shop: Shop) -> None:
    result = does.delay("ignore")
    wait_until(result.ready)
    assert [hook[0] for hook in seen[result.id]] == ["before_start"]


@shared_task(base=Telling)
def unfit() -> object:
    write("the task")
    return object()


def test_on_failure_is_called_for_a_result_that_can_not_travel(shop: Shop) -> None:
    result = unfit.delay()
    error = result.get(timeout=PATIENCE, propagate=False)
    assert "the result of task" in str(error)
    assert [hook[0] for hook in hooks_of(result, "after_return")] == ["before_start", "on_failure", "after_return"]


class Broken(Task):
    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        write("half")
        raise RuntimeError("the hook is broken")


@shared_task(base=Broken)
def has_a_broken_hook() -> str:
    write("the task")
    return "fine"


def test_a_hook_that_fails_does_not_change_the_result(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    assert has_a_broken_hook.delay().get(timeout=PATIENCE) == "fine"
    wait_until(lambda: "a hook or a signal receiver failed" in caplog.text)
    assert shop.lines() == ["the task"]


class Enlisting(Task):
    def on_failure(self, *args: Any) -> None:
        add.apply_async((1, 1), task_id=f"{self.request.id}-after")


@shared_task(base=Enlisting)
def fails_and_asks() -> None:
    raise ValueError("no")


def test_a_task_called_in_on_failure_starts(shop: Shop) -> None:
    result = fails_and_asks.delay()
    result.get(timeout=PATIENCE, propagate=False)
    assert shop.app.AsyncResult(f"{result.id}-after").get(timeout=PATIENCE) == 2


class CallsItself(Task):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        write("around")
        return f"<{super().__call__(*args, **kwargs)}>"


@shared_task(base=CallsItself, bind=True)
def wrapped(self: Any, text: str) -> str:
    assert self.request.id
    return text


def test_a_base_class_may_wrap_the_call(shop: Shop) -> None:
    assert wrapped.delay("x").get(timeout=PATIENCE) == "<x>"
    assert shop.lines() == ["around"]


# --- signals -------------------------------------------------------------------------------------------

NAMES = ("task_prerun", "task_postrun", "task_success", "task_retry", "task_failure")


@pytest.fixture
def heard(shop: Shop) -> Iterator[dict[str, list[tuple[str, dict[str, Any]]]]]:
    """The signals of runs, with their arguments, by the id of the task. Signals may follow the result."""
    sent: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)

    def receiver(name: str) -> Any:
        def receive(**named: Any) -> None:
            sent[named["sender"].request.id].append((name, named))

        return receive

    receivers = {name: receiver(name) for name in NAMES}
    for name, receive in receivers.items():
        getattr(signals, name).connect(receive, weak=False)
    yield sent
    for name, receive in receivers.items():
        getattr(signals, name).disconnect(receive)


def test_signals_of_a_success(heard: Any) -> None:
    result = add.delay(1, 2)
    result.get(timeout=PATIENCE)
    wait_until(lambda: len(heard[result.id]) == 3)
    assert [name for name, _ in heard[result.id]] == ["task_prerun", "task_success", "task_postrun"]
    (_, prerun), (_, success), (_, postrun) = heard[result.id]
    assert {name: prerun[name] for name in ("task_id", "args", "kwargs")} == {
        "task_id": result.id,
        "args": (1, 2),
        "kwargs": {},
    }
    assert prerun["sender"].name == prerun["task"].name == add.name
    assert success["result"] == 3
    assert (postrun["retval"], postrun["state"]) == (3, "SUCCESS")


def test_signals_of_a_retry_and_of_a_failure(heard: Any) -> None:
    retried = does.delay("retry")
    retried.get(timeout=PATIENCE)
    wait_until(lambda: len(heard[retried.id]) == 6)
    assert [name for name, _ in heard[retried.id]][:3] == ["task_prerun", "task_retry", "task_postrun"]
    retry = heard[retried.id][1][1]
    assert isinstance(retry["reason"], Retry)
    assert retry["request"].retries == 0
    failed = does.delay("fail")
    failed.get(timeout=PATIENCE, propagate=False)
    wait_until(lambda: len(heard[failed.id]) == 3)
    failure = heard[failed.id][1][1]
    assert repr(failure["exception"]) == "ValueError('fail')"
    assert failure["traceback"] is not None
    assert "ValueError" in str(failure["einfo"])


def test_a_receiver_that_raises_does_no_harm(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    def broken(**named: Any) -> None:
        raise RuntimeError("the receiver is broken")

    signals.task_prerun.connect(broken)
    try:
        assert add.delay(2, 2).get(timeout=PATIENCE) == 4
    finally:
        signals.task_prerun.disconnect(broken)
    assert "the receiver is broken" in caplog.text


def test_headers_set_before_publishing_travel(shop: Shop) -> None:
    def receive(headers: dict[str, Any], **named: Any) -> None:
        headers["tenant"] = f"of {named['routing_key']}"

    signals.before_task_publish.connect(receive, sender=tells_headers.name)
    try:
        result = tells_headers.apply_async(headers={"own": 1})
        assert result.get(timeout=PATIENCE) == {"own": 1, "tenant": f"of {shop.queue}"}
    finally:
        signals.before_task_publish.disconnect(receive, sender=tells_headers.name)


def test_stamps_travel_if_a_receiver_listens_to_before_task_publish(shop: Shop) -> None:
    def receive(headers: dict[str, Any], **named: Any) -> None:
        assert headers["stamps"] == {"tenant": 7}

    signature = tells_headers.s()
    signature.stamp(tenant=7)
    signals.before_task_publish.connect(receive, sender=tells_headers.name)
    try:
        headers = signature.apply_async().get(timeout=PATIENCE)
    finally:
        signals.before_task_publish.disconnect(receive, sender=tells_headers.name)
    assert headers == {"stamped_headers": ["tenant"], "stamps": {"tenant": 7}}


def test_after_task_publish_is_sent_once_the_server_has_the_message(shop: Shop) -> None:
    told = []

    def receive(sender: str, headers: dict[str, Any], routing_key: str, **named: Any) -> None:
        told.append((sender, headers["id"], headers["own"], routing_key))

    signals.after_task_publish.connect(receive, sender=tells_headers.name)
    try:
        result = tells_headers.apply_async(headers={"own": 1})
    finally:
        signals.after_task_publish.disconnect(receive, sender=tells_headers.name)
    assert told == [(tells_headers.name, result.id, 1, shop.queue)]


@shared_task(bind=True)
def tells_headers(self: Any) -> Any:
    return self.request.headers


def test_children_are_the_tasks_that_a_run_asked_for(shop: Shop) -> None:
    result = asks_for_two.delay()
    ids = result.get(timeout=PATIENCE)
    assert [child.id for child in result.children] == ids
    assert [value for _, value in result.collect() if value in (2, 4)] == [2, 4]


@shared_task
def asks_for_two() -> list[str]:
    return [add.delay(1, 1).id, add.delay(2, 2).id]


def test_progress_is_seen_while_the_task_runs(shop: Shop) -> None:
    from tests.worker.shop import gates

    result = tells_progress.delay()
    gates["progress"].reached()
    wait_until(lambda: result.state == "PROGRESS")
    assert result.info == {"done": 3, "of": 10}
    gates["progress"].open()
    assert result.get(timeout=PATIENCE) == "all"


@shared_task(bind=True)
def tells_progress(self: Any) -> str:
    from tests.worker.shop import gates

    self.update_state(state="PROGRESS", meta={"done": 3, "of": 10})
    gates["progress"].pass_through()
    return "all"


def test_a_state_set_before_ignore_stands(shop: Shop) -> None:
    result = sets_its_own_end.delay()
    wait_until(result.ready)
    assert (result.state, result.info) == ("SKIPPED", {"why": "nothing to do"})


@shared_task(bind=True)
def sets_its_own_end(self: Any) -> None:
    self.update_state(state="SKIPPED", meta={"why": "nothing to do"})
    raise Ignore


def test_waiting_for_a_result_in_a_task_is_refused_unless_allowed(shop: Shop) -> None:
    error = waits_for_another.delay(False).get(timeout=PATIENCE, propagate=False)
    assert isinstance(error, RuntimeError)
    assert "allow_join_result" in str(error)
    assert waits_for_another.delay(True).get(timeout=PATIENCE) == 2


@shared_task
def waits_for_another(allowed: bool) -> int:
    from pyramid_temporal_compat.enlist.enlistment import ENLIST_NEVER
    from pyramid_temporal_compat.results import allow_join_result

    app = add.app
    app.conf["ptemporal.enlist"] = ENLIST_NEVER
    try:
        result = add.delay(1, 1)
    finally:
        app.conf["ptemporal.enlist"] = "auto"
    if not allowed:
        return int(result.get(timeout=PATIENCE))
    with allow_join_result():
        return int(result.get(timeout=PATIENCE))


class OwnRequest(Task):
    """A base class as applications that used Celery have it: it makes the request itself and passes it on."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        task = super().__new__(cls, *args, **kwargs)
        if (header := getattr(task, "__header__", None)) is not None:
            task.__header__ = functools.partial(header, object())
        function = task.run

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with task.own_request().tm:
                return function(*args, **kwargs)

        task.run = run
        return task

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(self.own_request(), *args, **kwargs)

    def own_request(self) -> Any:
        if not hasattr(self.request, "own_env"):
            env = pyramid.scripting.prepare(registry=get_current_registry())
            env["request"].tm = transaction.TransactionManager(explicit=True)
            self.request.update(own_env=env)
        return self.request.own_env["request"]

    def after_return(self, *args: Any) -> None:
        seen[self.request.id].append(self.request.own_env["request"])
        self.request.own_env["closer"]()


@shared_task(base=OwnRequest, bind=True)
def hands_over(self: Any, request: Any, number: int) -> list[Any]:
    assert request is self.request.own_env["request"]
    return [number, has_begun(request.tm)]


def test_a_base_class_may_make_the_request_itself(shop: Shop) -> None:
    result = hands_over.delay(7)
    assert result.get(PATIENCE) == [7, True]
    wait_until(lambda: seen[result.id], message="after_return was not called")
    with pytest.raises(InvalidArguments, match="too many positional"):
        hands_over.delay(7, 8)
