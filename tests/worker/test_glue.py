"""The glue of Celery applications beside ours, and messages that meet changed tasks: what the guide promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyramid.scripting import prepare
from pyramid.threadlocal import get_current_request
from sqlalchemy import insert
from zope.sqlalchemy import mark_changed

from pyramid_temporal_compat import Celery, shared_task
from pyramid_temporal_compat.client.attempt_counts import AttemptCounts
from pyramid_temporal_compat.task.call_options import make_message
from pyramid_temporal_compat.worker.job import Job
from pyramid_temporal_compat.worker.outcome import Failed, Succeeded
from tests.outbox.desk import Desk, effects, value_of


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(f"sqlite:///{tmp_path / 'desk.sqlite'}")
    yield desk
    desk.close()


# --- app.request_context(), celery.request ---------------------------------------------------------------


@shared_task(bind=True)
def uses_request_context(self: Any, text: str) -> None:
    with self.app.request_context() as request, request.tm:
        request.dbsession.execute(insert(effects).values(text=text))
        mark_changed(request.dbsession, transaction_manager=request.tm)


@contextmanager
def the_tasks_own_request() -> Iterator[Any]:
    yield get_current_request()


def test_request_context_may_give_the_tasks_own_request(desk: Desk) -> None:
    desk.app.request_context = the_tasks_own_request  # type: ignore[attr-defined]
    assert isinstance(desk.run(desk.job(uses_request_context, "packed")), Succeeded)
    assert (desk.texts(), desk.receipts()) == (["packed"], ["task-1"])


def test_request_context_may_go_on_making_requests(desk: Desk) -> None:
    @contextmanager
    def request_context() -> Iterator[Any]:
        with prepare(registry=desk.registry) as env:
            yield env["request"]

    desk.app.request_context = request_context  # type: ignore[attr-defined]
    assert isinstance(desk.run(desk.job(uses_request_context, "packed")), Succeeded)
    assert (desk.texts(), desk.receipts()) == (["packed"], [])


def test_an_apps_request_may_be_the_tasks_own(desk: Desk) -> None:
    class App(Celery):
        @property
        def request(self) -> Any:
            return get_current_request()

    celery = App("shop", set_as_current=False)

    @desk.app.task(bind=True, name="uses_request")
    def uses_request(self: Any) -> bool:
        return celery.request is self.pyramid_request

    assert value_of(desk.run(desk.job(uses_request))) is True


# --- messages in flight ----------------------------------------------------------------------------------


def grown(order: int, urgent: bool, box: str = "small") -> str:
    return f"{order} {urgent} {box}"


def demanding(order: int, urgent: bool, box: str) -> str:
    return f"{order} {urgent} {box}"


def renamed(order: int, express: bool) -> str:
    return f"{order} {express}"


def shrunk(order: int) -> str:
    return f"{order}"


@pytest.mark.parametrize(
    ("new", "by_position", "by_keyword"),
    [
        (grown, "7 True small", "7 True small"),
        (demanding, "InvalidArguments", "InvalidArguments"),
        (renamed, "7 True", "InvalidArguments"),
        (shrunk, "InvalidArguments", "InvalidArguments"),
    ],
)
def test_a_message_meets_a_changed_signature(
    desk: Desk, new: Callable[..., str], by_position: str, by_keyword: str
) -> None:
    @desk.app.task(name="pack")
    def pack(order: int, urgent: bool) -> None: ...

    old = [
        make_message(desk.app, "pack", (7, True), {}, {"task_id": "position"}, pack),
        make_message(desk.app, "pack", (), {"order": 7, "urgent": True}, {"task_id": "keyword"}, pack),
    ]
    desk.app.tasks.unregister("pack")
    desk.app.task(name="pack")(new)
    outcomes = [desk.run(Job(message, AttemptCounts(), "worker@test")) for message in old]
    met = [str(each.error["type"]) if isinstance(each, Failed) else value_of(each) for each in outcomes]
    assert met == [by_position, by_keyword]
