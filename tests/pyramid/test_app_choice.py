"""Which app a Pyramid application has: the four places where public applications keep theirs, and how to name one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationExecutionError

from pyramid_temporal_compat import Celery, current
from pyramid_temporal_compat.app import APP_KEY, current_app
from pyramid_temporal_compat.exceptions import ImproperlyConfigured

ERRORS = (ImproperlyConfigured, ConfigurationExecutionError)
"""Pyramid wraps what an action raises."""


@pytest.fixture(autouse=True)
def no_app_yet() -> Iterator[None]:
    before = current.save_current()
    current.set_current_app(None)
    yield
    current.restore_current(before)


def own_app() -> Celery:
    return Celery("own", autofinalize=False, set_as_current=False)


def as_key(config: Any) -> None:
    config.registry["celery.app"] = own_app()
    config.action(("celery", "finalize"), config.registry["celery.app"].finalize)


def as_attribute(config: Any) -> None:
    config.registry.celery_app = own_app()


def by_an_action(config: Any) -> None:
    config.action("own", lambda: as_key(config))


def by_directive(config: Any) -> None:
    config.registry["one"], config.registry["two"] = own_app(), own_app()
    config.set_celery_app(config.registry["two"])


def put_one_under_x(config: Any) -> None:
    config.registry["x"] = 1


def registry_of(include: Callable[[Any], None], **settings: str) -> Any:
    """Return the registry of an application that includes us first, as `pyramid.includes` does."""
    config = Configurator(settings={"pyramid.includes": "pyramid_temporal_compat", **settings})
    config.include(include)
    return config.make_wsgi_app().registry


@pytest.mark.parametrize("include", [as_key, as_attribute, by_an_action])
def test_an_app_in_the_registry_is_the_applications_app(include: Callable[[Any], None]) -> None:
    settings = {"ptemporal.namespace": "items"}
    registry = registry_of(include, **settings)
    app = registry[APP_KEY]
    assert app.main == "own"
    assert (app.registry, app.conf.ptemporal_namespace) == (registry, "items")


def test_an_app_in_the_registry_is_found_by_an_include_that_comes_later() -> None:
    config = Configurator()
    as_key(config)
    config.include("pyramid_temporal_compat")
    assert config.registry[APP_KEY].main == "own"


def test_no_second_app_is_made() -> None:
    before = set(current.apps)
    registry = registry_of(as_key)
    assert set(current.apps) - before == {registry["celery.app"]}


def test_an_app_in_the_registry_comes_before_the_latest_app_of_the_process() -> None:
    Celery("another")
    assert registry_of(as_key)[APP_KEY].main == "own"


def test_settings_are_there_when_the_application_finalizes_its_app() -> None:
    seen = []

    def include(config: Any) -> None:
        as_key(config)
        config.registry["celery.app"].on_after_finalize.connect(
            lambda sender, **more: seen.append(sender.conf.ptemporal_namespace), weak=False
        )

    registry_of(include, **{"ptemporal.namespace": "items"})
    assert seen == ["items"]


def test_set_celery_app_names_one_of_several() -> None:
    registry = registry_of(by_directive)
    assert registry[APP_KEY] is registry["two"]


def test_a_setting_names_the_key_of_one_of_several() -> None:
    def include(config: Any) -> None:
        config.registry["one"], config.registry["two"] = own_app(), own_app()

    registry = registry_of(include, **{"ptemporal.app_key": "two"})
    assert registry[APP_KEY] is registry["two"]


def test_several_apps_and_no_choice_are_an_error_that_names_the_setting() -> None:
    def include(config: Any) -> None:
        config.registry["one"], config.registry["two"] = own_app(), own_app()

    with pytest.raises(ERRORS, match=r"holds several apps, under 'one', 'two'; name one by ptemporal\.app_key"):
        registry_of(include)


@pytest.mark.parametrize("include", [lambda config: config.set_celery_app(1), put_one_under_x])
def test_what_is_no_app_is_an_error(include: Callable[[Any], None]) -> None:
    with pytest.raises(ERRORS, match=r"which is no Celery\(\)|that is no Celery\(\)"):
        registry_of(include, **{"ptemporal.app_key": "x"})


def test_a_request_uses_the_app_in_the_registry() -> None:
    config = Configurator()
    config.include("pyramid_temporal_compat")
    config.include(as_key)
    config.add_route("which", "/")
    config.add_view(lambda request: {"app": current_app().main}, route_name="which", renderer="json")
    webob = pytest.importorskip("webob", reason="the request of this test is webob's")
    assert webob.Request.blank("/").get_response(config.make_wsgi_app()).json == {"app": "own"}


def test_an_application_without_an_app_gets_a_new_one() -> None:
    registry = registry_of(lambda config: None)
    assert registry[APP_KEY].main == "tests.pyramid"
