"""An application that loads its ini itself, by options of its own, as pyramid_celery does for its applications."""

from __future__ import annotations

import os
from typing import Any

from click import Option
from pyramid.config import Configurator
from pyramid.paster import bootstrap

from pyramid_temporal_compat import Celery, signals

app = Celery("glue", ptemporal_address=os.environ.get("PROJECT_ADDRESS", "localhost:1"))
app.user_options["preload"].add(Option(("--ini", "-i"), help="The application's ini file."))
app.user_options["preload"].add(Option(("--ini-var",), help="Variables of the ini, separated by commas."))


def main(global_config: dict[str, str], **settings: str) -> Any:
    """Make the Pyramid application, which does not include pyramid_temporal_compat."""
    with Configurator(settings=settings) as config:
        return config.make_wsgi_app()


@signals.user_preload_options.connect
def load_ini(options: dict[str, Any], **kwargs: Any) -> None:
    variables = dict(pair.split("=") for pair in options["ini_var"].split(","))
    registry = bootstrap(options["ini"], options=variables)["registry"]
    app.conf.update(task_default_queue=registry.settings["queue"], PYRAMID_REGISTRY=registry)


@app.task
def greeting() -> str:
    """Return a setting of the ini, which has an ini variable in it."""
    found: str = app.conf["PYRAMID_REGISTRY"].settings["greeting"]
    return found
