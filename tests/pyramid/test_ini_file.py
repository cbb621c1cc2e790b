"""Celery's sections of the ini file have effect under pserve, pshell and the worker, with no edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.paster import bootstrap, get_app

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.app import APP_KEY
from pyramid_temporal_compat.pyramid.ini_file import paste_variables

INI = """
[DEFAULT]
prefix = shop

[app:main]
use = call:tests.pyramid.test_ini_file:main
pyramid.includes = pyramid_temporal_compat
ptemporal.app = tests.pyramid.test_ini_file:app
celery.task_soft_time_limit = 30

[celery]
task_default_queue = %(prefix)s-%(stage)s
task_soft_time_limit = 60

[celeryroutes]
shop.tasks.image_* = images

[celeryroute:shop.tasks.mail]
queue = mails

[celerybeat:nightly]
task = shop.tasks.clean
type = crontab
schedule = {"hour": 3}

[server:main]
listen = %(unknown)s
"""

app = Celery("shop", set_as_current=False)


def main(global_config: Any, **settings: Any) -> Any:
    return Configurator(settings=settings).make_wsgi_app()


@pytest.fixture
def ini(tmp_path: Path) -> str:
    (tmp_path / "app.ini").write_text(INI)
    return str(tmp_path / "app.ini")


def load_script(ini: str, options: dict[str, str]) -> None:
    bootstrap(ini, options=options)["closer"]()


@pytest.mark.parametrize("load", [get_app, load_script])
def test_the_sections_are_read_when_paste_loads_the_application(ini: str, load: Any) -> None:
    load(ini, options={"stage": "test"})
    assert app.conf.task_default_queue == "shop-test"
    assert app.conf.task_routes == {"shop.tasks.image_*": "images", "shop.tasks.mail": {"queue": "mails"}}
    assert app.conf.beat_schedule["nightly"]["task"] == "shop.tasks.clean"
    assert app.conf.task_soft_time_limit == 30  # [app:main] comes before [celery]


def test_an_application_that_no_ini_loads_has_no_sections() -> None:
    assert paste_variables() == {}
    registry = main({"__file__": "/nowhere.ini"}, **{"pyramid.includes": "pyramid_temporal_compat"}).registry
    assert isinstance(registry[APP_KEY], Celery)
