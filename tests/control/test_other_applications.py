"""A worker that starts says that another application's worker serves the same queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyramid_temporal_compat.app import Celery
from tests.parts import wait_until

from .conftest import RunningWorker

WARNING = "Two applications that share a queue take each other's tasks"


@pytest.fixture(autouse=True)
def no_shared_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two applications in one process have their shared tasks in common. Here each has tasks of its own only."""
    monkeypatch.setattr("pyramid_temporal_compat.app.shared._shared", {})


@pytest.fixture
def blog(temporal_address: str) -> Iterator[Celery]:
    with Celery("blog", set_as_current=False) as blog:
        blog.conf.ptemporal_address = temporal_address
        yield blog


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if WARNING in record.getMessage()]


def add_task(app: Celery, name: str) -> None:
    app.task(name=name)(lambda: None)


@pytest.mark.parametrize("name", ["host", "another"], ids=["of the same name", "of another name"])
def test_a_worker_of_another_application_on_the_same_queue_is_told(
    app: Celery, blog: Celery, queue: str, start: Callable[..., Any], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG, "pyramid_temporal_compat.control")
    add_task(app, "shop.sell")
    add_task(blog, "blog.publish")
    node = start("host").hostname
    second = RunningWorker(blog, queues=[queue], hostname=node if name == "host" else f"{name}@{queue}")
    try:
        wait_until(lambda: warnings_of(caplog), 15, "the warning")
    finally:
        second.stop()
    (warning,) = warnings_of(caplog)
    assert warning.startswith(f"{node}, a worker of the app 'shop', takes tasks from the same queue ({queue}; ")
    assert "celery.task_default_queue" in warning
    assert "ptemporal.namespace" in warning


def test_a_worker_with_some_of_the_same_tasks_is_one_of_this_application(
    app: Celery, blog: Celery, queue: str, start: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pyramid_temporal_compat.control")
    for either in (app, blog):
        add_task(either, "shop.sell")
    add_task(blog, "shop.buy_since_the_last_release")
    start("first")
    second = RunningWorker(blog, queues=[queue])
    try:
        wait_until(lambda: any("'hello'" in record.getMessage() for record in caplog.records), message="the greeting")
    finally:
        second.stop()
    assert warnings_of(caplog) == []
