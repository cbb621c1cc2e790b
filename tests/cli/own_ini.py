"""An app that loads the ini file itself when the command line has been read, as pyramid_celery's does."""

from __future__ import annotations

import os
from typing import Any

import click
from pyramid.config import Configurator
from pyramid.paster import bootstrap

from pyramid_temporal_compat import Celery, signals
from pyramid_temporal_compat.cli.user_options import Option

app = Celery("own_ini")
app.conf.task_default_queue = os.environ.get("PROJECT_QUEUE", "own_ini")


def celery_4s_options(parser: Any) -> None:
    parser.add_argument("-i", "--ini", default=None, help="The ini file.")
    parser.add_argument("--ini-var", default=None, help="Variables, separated by commas.")
    parser.add_argument("--loud", action="store_true")


OPTIONS = {
    "3": [
        Option("-i", "--ini", default=None),
        Option("--ini-var", default=None),
        Option("--loud", action="store_true"),
    ],
    "4": [celery_4s_options],
    "5": [click.Option(["--ini", "-i"]), click.Option(["--ini-var"]), click.Option(["--loud"], is_flag=True)],
}
app.user_options["preload"].update(OPTIONS[os.environ.get("OPTIONS_OF", "5")])


@signals.user_preload_options.connect
def load(options: dict[str, Any], **more: Any) -> None:
    variables = dict(pair.split("=") for pair in (options["ini_var"] or "").split(",") if pair)
    registry = bootstrap(options["ini"], options=variables)["registry"]
    print("loaded with", registry.settings["shop.stage"], options["loud"], flush=True)


def main(global_config: Any, **settings: Any) -> Any:
    return Configurator(settings=settings).make_wsgi_app()


@app.task
def add(x: int, y: int) -> int:
    return x + y
