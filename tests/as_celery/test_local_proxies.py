"""`current_app`, `current_task` and `Proxy`."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from pyramid_temporal_compat import Celery, Task
from pyramid_temporal_compat.app import latest_app
from pyramid_temporal_compat.as_celery import local_proxies as local
from pyramid_temporal_compat.as_celery.local_proxies import Proxy, current_app, current_task


@pytest.fixture
def app() -> Any:
    before = latest_app()
    app = Celery("proxied")
    yield app
    app.close()
    if before is not None:
        before.set_current()


def test_current_app_follows_the_app_that_is_current(app: Celery) -> None:
    assert current_app == app
    assert isinstance(current_app, Celery)
    assert current_app.main == "proxied"
    assert current_app.conf is app.conf
    current_app.conf.task_default_queue = "other"
    assert app.conf.task_default_queue == "other"
    assert repr(current_app) == repr(app)
    assert current_app._get_current_object() is current_app() is app
    assert local.app_or_default(None) is app
    later = Celery("later")
    assert current_app == later
    assert local.app_or_default(app) is app


def test_current_task_is_the_running_task(app: Celery) -> None:
    @app.task(name="ask", bind=True)
    def ask(self: Task) -> tuple[Any, ...]:
        return current_task.name, bool(current_task), isinstance(current_task, Task), current_task == self

    assert not current_task
    assert ask() == ("ask", True, True, True)
    assert not current_task
    assert local.get_current_task() is None
    with pytest.raises(AttributeError):
        _ = current_task.request


def test_a_task_can_be_made_current_by_hand(app: Celery) -> None:
    @app.task(name="by_hand")
    def by_hand() -> None: ...

    local.push_current_task(by_hand)
    assert current_task.name == "by_hand"
    assert local.pop_current_task().name == "by_hand"  # type: ignore[union-attr]
    assert not current_task


def test_a_proxy_behaves_like_its_object() -> None:
    numbers = [1, 2, 3]
    proxy: Any = Proxy(lambda: numbers)
    assert (len(proxy), list(proxy), proxy[1], 2 in proxy, proxy * 2) == (3, [1, 2, 3], 2, True, [1, 2, 3] * 2)
    proxy[0] = 9
    del proxy[2]
    assert numbers == [9, 2]
    assert str(proxy) == "[9, 2]"
    three: Any = Proxy(lambda add: 2 + add, args=(1,), name="three")
    assert (three + 1, three * 2, three > 2, int(three), -three, hash(three), f"{three}") == (4, 6, True, 3, -3, 3, "3")
    assert three.__name__ == "three"
    assert pickle.loads(pickle.dumps(three)) == 3
    assert Proxy(lambda: str.upper)("a") == "A"


def test_a_promise_calls_its_function_once() -> None:
    asked: list[int] = []
    promise = local.PromiseProxy(lambda: asked.append(1) or ["kept"])
    assert asked == []
    assert promise == ["kept"]
    assert local.maybe_evaluate(promise) is local.maybe_evaluate(promise)
    assert asked == [1]
    assert local.maybe_evaluate(5) == 5


def test_try_import() -> None:
    assert local.try_import("json").__name__ == "json"
    assert local.try_import("no_such_module_here", "default") == "default"
