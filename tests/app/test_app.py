"""The app: its configuration, its tasks, and which app is current."""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
import threading
import types
import warnings
from typing import Any
from unittest import mock

import pytest

from pyramid_temporal_compat import Celery, Task, current_app, shared_task
from pyramid_temporal_compat.exceptions import DuplicateTaskNameWarning, InvalidTaskError, NotRegistered


@pytest.fixture
def app() -> Celery:
    return Celery("shop")


def add(x: int, y: int) -> int:
    return x + y


# --- tasks -------------------------------------------------------------------------------------------


def test_a_task_is_named_by_its_module_and_function(app: Celery) -> None:
    task = app.task(add)
    assert task.name == f"{__name__}.add"
    assert app.tasks[task.name] is task


def test_a_task_looks_like_its_function(app: Celery) -> None:
    task = app.task(add)
    assert (task.__name__, task.__qualname__, task.__doc__) == ("add", "add", add.__doc__)
    assert task.__annotations__ == add.__annotations__
    assert functools.wraps(task)(lambda x, y: None).__name__ == "add"
    assert app.register_task(type("Pack", (Task,), {"run": lambda self: None})()).__name__ == "Pack"


def test_a_task_can_be_inspected_outside_a_request(app: Celery) -> None:
    task = app.task(add)
    assert not hasattr(task, "pyramid_request")
    assert "delay" in dict(inspect.getmembers(task))
    double = mock.create_autospec(task)
    double.delay(1, 2)
    double.delay.assert_called_once_with(1, 2)


def test_a_task_of_a_script_is_named_by_the_app(app: Celery) -> None:
    assert app.gen_task_name("add", "__main__") == "shop.add"
    assert app.gen_task_name("add", "orders.tasks") == "orders.tasks.add"


def test_a_plain_call_runs_the_function(app: Celery) -> None:
    assert app.task(add)(1, 2) == 3


def test_a_taken_name_keeps_its_task_and_warns(app: Celery) -> None:
    first = app.task(name="same")(add)
    with pytest.warns(DuplicateTaskNameWarning, match=r"'same' is taken by .*add, which keeps it; .*other"):
        second = app.task(name="same")(lambda: None)
    assert second is first


def test_the_same_function_again_is_the_same_task(app: Celery) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert app.task(add) is app.task(add)


def test_an_unknown_name_raises_and_says_what_to_do(app: Celery) -> None:
    with pytest.raises(NotRegistered, match=r"'nobody.knows' is not registered.*ptemporal.include"):
        app.tasks["nobody.knows"]
    with pytest.raises(NotRegistered):
        app.tasks.unregister("nobody.knows")


def test_a_class_is_registered_as_a_task(app: Celery) -> None:
    class Pack(Task):
        def run(self, item: str) -> str:
            return f"packed {item}"

    task = app.register_task(Pack())
    assert task.name == f"{__name__}.Pack"
    assert task("book") == "packed book"
    assert task.app is app


def test_a_class_without_a_name_cannot_be_registered(app: Celery) -> None:
    with pytest.raises(InvalidTaskError, match="'Task' has no name"):
        app.tasks.register(Task())


def test_every_task_derives_from_the_apps_base_class() -> None:
    class Tracked(Task):
        calls = 0

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            type(self).calls += 1
            return super().__call__(*args, **kwargs)

    app = Celery("shop", task_cls=Tracked)
    task = app.task(add)
    assert isinstance(task, Tracked)
    assert task(1, 2) == 3
    assert task.calls == 1


def test_base_of_one_task(app: Celery) -> None:
    class Base(Task):
        greeting = "hello"

    @app.task(base=Base, bind=True)
    def greet(self: Any, who: str) -> str:
        return f"{self.greeting} {who}"

    assert greet("you") == "hello you"


def test_annotations_set_attributes_and_wrap_methods(app: Celery) -> None:
    calls = []

    def around(method: Any) -> Any:
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            return method(self, *args, **kwargs)

        return wrapped

    task = app.task(name="orders.pack")(add)
    app.conf.task_annotations = [{"*": {"rate_limit": "10/s"}}, {"orders.pack": {"@on_success": around}}]
    assert app.tasks["orders.pack"].rate_limit == "10/s"
    task.on_success(3, "id", (1, 2), {})
    assert calls == [(3, "id", (1, 2), {})]


def test_attributes_come_from_the_configuration_until_the_task_sets_its_own(app: Celery) -> None:
    plain, own = app.task(name="plain")(add), app.task(name="own", serializer="pickle")(add)
    app.conf.task_serializer = "yaml"
    assert (plain.serializer, own.serializer) == ("yaml", "pickle")


def test_a_task_is_pickled_as_its_name(app: Celery) -> None:
    task = app.task(name="orders.pickled")(add)
    assert pickle.loads(pickle.dumps(task)) is task


# --- shared tasks --------------------------------------------------------------------------------------


def test_a_shared_task_is_a_task_of_every_app() -> None:
    before = Celery("before")
    before.finalize()
    task = shared_task(name="shared.add")(add)
    assert before.tasks["shared.add"] is task
    assert Celery("after").tasks["shared.add"] is task


def test_a_shared_task_belongs_to_the_app_that_is_current() -> None:
    one, two = Celery("one"), Celery("two")
    task = shared_task(name="shared.current")(add)
    one.set_current()
    assert task.app is one
    two.set_current()
    assert task.app is two


def test_an_app_with_a_base_class_has_shared_tasks_of_its_own() -> None:
    class Base(Task):
        session = "a session"

    task = shared_task(name="shared.based")(add)
    app = Celery("based", task_cls=Base)
    own = app.tasks["shared.based"]
    assert own is not task
    assert isinstance(own, Base)
    assert Celery("plain").tasks["shared.based"] is task


# --- configuration ---------------------------------------------------------------------------------------


def test_configuration_from_an_object_and_signals_around_it(app: Celery) -> None:
    seen: list[Any] = []

    @app.on_configure.connect
    def configure(sender: Celery, **kwargs: Any) -> None:
        seen.append("configure")

    @app.on_after_configure.connect
    def configured(sender: Celery, source: Any, **kwargs: Any) -> None:
        seen.append(source.task_default_queue)

    app.config_from_object({"task_default_queue": "orders"})
    assert seen == []
    assert app.conf.task_default_queue == "orders"
    assert seen == ["configure", "orders"]


def test_configuration_by_old_names_with_a_namespace() -> None:
    module = types.ModuleType("shop_settings")
    module.SHOP_TASK_DEFAULT_QUEUE = "orders"  # type: ignore[attr-defined]
    sys.modules["shop_settings"] = module
    app = Celery("shop", namespace="SHOP")
    app.config_from_object("shop_settings")
    assert app.conf.task_default_queue == "orders"


def test_periodic_tasks_wait_for_the_configuration(app: Celery) -> None:
    signature = types.SimpleNamespace(name="orders.clean", args=(1,), kwargs={"deep": True}, options={})
    key = app.add_periodic_task(30.0, signature, name="clean up")
    assert app.conf.beat_schedule[key]["task"] == "orders.clean"
    assert app.conf.beat_schedule[key]["args"] == (1,)


def test_an_app_is_pickled_with_its_changes(app: Celery) -> None:
    app.conf.task_default_queue = "orders"
    copy = pickle.loads(pickle.dumps(app))
    assert (copy.main, copy.conf.task_default_queue) == ("shop", "orders")


# --- being current -------------------------------------------------------------------------------------


def test_the_latest_app_is_current_in_every_thread() -> None:
    app = Celery("latest")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(current_app()))
    thread.start()
    thread.join()
    assert seen == [app]


def test_an_app_may_be_made_without_becoming_current(app: Celery) -> None:
    Celery("other", set_as_current=False)
    assert current_app() is app


def test_autofinalize_off_asks_for_finalize() -> None:
    app = Celery("strict", autofinalize=False)
    task = app.task(add)
    with pytest.raises(RuntimeError, match=r"call its finalize\(\)"):
        assert app.tasks
    app.finalize()
    assert app.tasks[task.name](1, 1) == 2


def test_a_task_made_by_hand_can_be_given_its_app(app: Celery) -> None:
    class ByHand(Task):
        pass

    task = ByHand()
    task.app = app
    task.request.update(mine=1)
    assert (task.app, task.request.mine) == (app, 1)
    task.request_stack = types.SimpleNamespace(top=types.SimpleNamespace(mine=2))
    assert task.request.mine == 2


def test_finalize_sends_on_after_finalize(app: Celery) -> None:
    seen = []
    app.on_after_finalize.connect(lambda sender, **kwargs: seen.append(sender), weak=False)
    app.finalize()
    app.finalize()
    assert seen == [app]


def test_autodiscovery_finds_modules_and_reports_missing_packages(app: Celery, tmp_path: Any, monkeypatch: Any) -> None:
    package = tmp_path / "warehouse"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tasks.py").write_text(
        "from pyramid_temporal_compat import shared_task\n\n\n@shared_task\ndef count():\n    return 1\n"
    )
    empty = tmp_path / "attic"
    empty.mkdir()
    (empty / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    app.autodiscover_tasks(["warehouse", "attic"])
    assert "warehouse.tasks.count" not in app.tasks
    app.loader.import_default_modules()
    assert "warehouse.tasks.count" in app.tasks
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        app.autodiscover_tasks(["nowhere.to.be.found"], force=True)


def test_the_current_app_is_found_while_another_thread_imports_pyramid(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyramid.threadlocal", types.ModuleType("pyramid.threadlocal"))
    assert current_app() is not None
