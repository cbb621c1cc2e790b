"""What an application may replace in its app, its tasks and its settings."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from typing import Any

import pytest
from pyramid.config import Configurator

from pyramid_temporal_compat import Celery, Task
from pyramid_temporal_compat.app import APP_KEY, current_app
from pyramid_temporal_compat.app.loading import Loader
from pyramid_temporal_compat.as_celery import Unsupported, unsupported
from pyramid_temporal_compat.as_celery.backend import Backend
from pyramid_temporal_compat.celery_names.refused import MEMBERS
from pyramid_temporal_compat.context import Context
from pyramid_temporal_compat.control import Control
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.log import Logging
from pyramid_temporal_compat.schedules import crontab
from pyramid_temporal_compat.task.call_options import make_message
from pyramid_temporal_compat.task.routing import Amqp
from pyramid_temporal_compat.worker.task_modules import load_tasks
from pyramid_temporal_compat.worker.worker import Worker


class OwnControl(Control):
    pass


class OwnLoader(Loader):
    loaded = 0

    def on_worker_init(self) -> None:
        type(self).loaded += 1


class LoaderOfCelerys(Loader):
    def on_task_init(self, task_id: str, task: Any) -> None:
        raise AssertionError("nothing calls it")


def test_an_app_takes_subclasses_of_its_parts() -> None:
    class OwnApp(Celery):
        log_cls = type("OwnLogging", (Logging,), {})
        amqp_cls = type("OwnAmqp", (Amqp,), {})
        backend_cls = type("OwnBackend", (Backend,), {})

    app = OwnApp("shop", set_as_current=False, control=f"{__name__}:OwnControl", loader=OwnLoader)
    assert isinstance(app.control, OwnControl)
    assert [type(part) for part in (app.log, app.amqp, app.backend)] == [
        OwnApp.log_cls,
        OwnApp.amqp_cls,
        OwnApp.backend_cls,
    ]
    load_tasks(app)
    assert OwnLoader.loaded == 1


def test_celerys_names_of_parts_mean_our_classes() -> None:
    app = Celery(
        "shop",
        set_as_current=False,
        loader="default",
        amqp="celery.app.amqp:AMQP",
        log="celery.app.log:Logging",
        control="celery.app.control:Control",
        events="celery.app.events:Events",
    )
    assert (type(app.loader), type(app.amqp), type(app.log), type(app.control)) == (Loader, Amqp, Logging, Control)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"log": object}, "log_cls = .* derives from pyramid_temporal_compat.log.Logging"),
        ({"control": "no.such:Thing"}, "the class 'no.such:Thing' can't be imported"),
        ({"loader": LoaderOfCelerys}, r"on_task_init\(\), which nothing calls here; use the signal task_prerun"),
    ],
)
def test_a_class_that_cannot_be_a_part_raises_when_the_app_is_made(parts: dict[str, Any], why: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=why):
        Celery("shop", set_as_current=False, **parts)


def test_celerys_variable_names_the_loader_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_LOADER", f"{__name__}:OwnLoader")
    assert type(Celery("shop", set_as_current=False).loader) is OwnLoader
    monkeypatch.setenv("CELERY_LOADER", f"{__name__}:LoaderOfCelerys")
    with pytest.raises(ImproperlyConfigured, match="which nothing calls here"):
        Celery("shop", set_as_current=False)


def test_a_class_of_events_is_refused() -> None:
    with pytest.raises(Unsupported, match="history"):
        Celery("shop", set_as_current=False, events="own.events:Events")


@pytest.mark.parametrize("dotted", [name for name in MEMBERS if name.startswith(("celery.Celery.", "celery.Task."))])
def test_a_refused_member_raises_the_sentence_of_the_table(dotted: str) -> None:
    app = Celery("shop", set_as_current=False)
    _, owner, name = dotted.split(".")
    for of in (Celery, app) if owner == "Celery" else (Task, app.task(lambda: None, name="buy")):
        with pytest.raises(Unsupported) as caught:
            getattr(of, name)
        assert str(caught.value) == f"{dotted} is refused here. {MEMBERS[dotted]}"
    assert unsupported()[dotted] == MEMBERS[dotted]


def test_a_class_that_defines_a_refused_member_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"OwnTask defines Request; celery\.Task\.Request is refused here"):

        class OwnTask(Task):
            Request = object

    class Harmless(Task):
        Request = "celery.worker.request:Request"

    with pytest.raises(Unsupported, match="type_checker"):
        type("OwnApp", (Celery,), {"type_checker": lambda self, fun, bound=False: fun})


def test_request_stack_holds_the_requests_of_one_task() -> None:
    app = Celery("shop", set_as_current=False)
    one, other = app.task(lambda: None, name="one"), app.task(lambda: None, name="other")
    assert one.request_stack.top is None
    one.request_stack.push(Context(id="1"))
    other.request_stack.push(Context(id="2"))
    try:
        assert (one.request.id, len(one.request_stack), other.request_stack.top.id) == ("1", 1, "2")
    finally:
        assert one.request_stack.pop().id == "1"
        assert other.request_stack.pop().id == "2"
    assert one.request_stack.pop() is None


def test_settings_from_words_of_a_command_line() -> None:
    app = Celery("shop", set_as_current=False)
    app.config_from_cmdline(
        ["worker.concurrency=3", "TASK_ALWAYS_EAGER=true", ".max_tasks_per_child=(int)5", "beat.schedule=(json){}"],
        namespace="worker",
    )
    conf = app.conf
    assert (conf.worker_concurrency, conf.task_always_eager, conf.worker_max_tasks_per_child) == (3, True, 5)
    for words, why in (
        (["worker.nosuch=1"], "there is no setting worker_nosuch"),
        (["concurrency"], "written as KEY=VALUE"),
    ):
        with pytest.raises(ImproperlyConfigured, match=why):
            app.config_from_cmdline(words, namespace="worker")


def test_prepare_config_sees_the_configuration_object_before_it_is_taken() -> None:
    class OwnApp(Celery):
        def prepare_config(self, c: Mapping[str, Any]) -> Mapping[str, Any]:
            return {**c, "task_default_queue": c["task_default_queue"].lower()}

    app = OwnApp("shop", set_as_current=False, config_source={"task_default_queue": "ITEMS"})
    assert app.conf.task_default_queue == "items"


def test_ptemporal_app_chooses_among_several_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Celery("mine", set_as_current=False)
    Celery("made last")
    monkeypatch.setattr("tests.app.test_app_parts.mine", mine, raising=False)
    settings = {"pyramid.includes": "pyramid_tm pyramid_temporal_compat", "ptemporal.app": f"{__name__}:mine"}
    with Configurator(settings=settings) as config:
        assert config.registry[APP_KEY] is mine
    assert current_app() is mine
    with pytest.raises(ImproperlyConfigured, match=r"ptemporal\.app = .* is no Celery\(\) of this package"):
        Configurator(settings={**settings, "ptemporal.app": f"{__name__}:OwnLoader"})


@pytest.mark.parametrize(("levels", "shown"), [(3, "([[[...]]],)"), (1, "([...],)"), (6, "([[[[1]]]],)")])
def test_task_repr_maxlevels_limits_how_deep_arguments_are_shown(levels: int, shown: str) -> None:
    app = Celery("shop", set_as_current=False, changes={"task_repr_maxlevels": levels})
    task = app.task(lambda value: None, name="buy")
    assert make_message(app, "buy", ([[[[1]]]],), {}, {}, task).argsrepr == shown


def test_a_worker_caches_at_most_the_configured_number_of_workflows(temporal_address: str) -> None:
    changes = {"ptemporal.address": temporal_address, "ptemporal.workflow_cache": 7}
    with Celery("shop", set_as_current=False, changes=changes) as app:
        worker = Worker(app, queues=["cache"], pool="solo")

        async def made(client: Any) -> Any:
            return worker._temporal_worker(client, "cache").config()

        assert app.temporal.call(made)["max_cached_workflows"] == 7


@pytest.mark.parametrize("zone", ["Europe/Paris", zoneinfo.ZoneInfo("Europe/Paris")])
def test_an_assigned_timezone_is_the_zone_of_schedules_and_naive_times(zone: Any) -> None:
    app = Celery("assigned-zone")
    app.timezone = zone
    assert str(app.timezone) == str(app.now().tzinfo) == str(app.naive_zone) == "Europe/Paris"
    assert str(crontab(hour=3, app=app).tz) == "Europe/Paris"
