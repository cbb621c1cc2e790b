"""`ptemporal-compat report app.ini`: prints versions and effective settings, for example for a bug report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import click

from ..log_lines.text_safety import one_line
from ..schedules.entries import declares_any
from ..settings import connection
from ..worker.task_modules import load_tasks
from .app_command import AppCommand
from .bootstrap import application
from .common import Common
from .errors import failing_in_one_line

if TYPE_CHECKING:
    from ..interfaces import AppLike

ANSWER_TIMEOUT = 10.0
"""Seconds for the comparison of schedules with the server's."""
PACKAGES = ("pyramid-temporal-compat", "temporalio", "pyramid", "pyramid_tm", "transaction", "sqlalchemy")


@click.command(
    cls=AppCommand,
    help="Print versions, and the settings of the application in CONFIG (an ini file), or of -A before the command. "
    "Secrets are masked.",
)
@click.argument("config", required=False)
@click.option("--all", "everything", is_flag=True, help="Also print settings that have their default value.")
@click.option("--cost", is_flag=True, help="Instead, estimate the actions a month that Temporal Cloud would bill.")
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True),
    default=7.0,
    show_default=True,
    help="With --cost: the days whose workflows are counted.",
)
@click.option("--json", "as_json", is_flag=True, help="With --cost: print JSON, for programs.")
@click.pass_obj
def command(common: Common, config: str | None, everything: bool, cost: bool, days: float, as_json: bool) -> None:
    with failing_in_one_line():
        app = application(common, config)
        if cost:
            from .report_cost import print_cost  # the client library: 0.4 s

            print_cost(app, days, as_json)
            return
        if as_json:
            raise click.UsageError("--json needs --cost: the report itself is text")
        click.echo(f"python {platform.python_version()}, {platform.platform()}")
        for package in PACKAGES:
            click.echo(f"{package} {_version(package)}")
        settings = connection(app.conf)
        tls = "on" if settings.tls else "off"
        click.echo(f"\nserver {settings.address}, namespace {settings.namespace}, tls {tls}")
        click.echo(f"\n{app.conf.humanize(with_defaults=everything)}")
        for notice in app.conf.notices:
            click.echo(f"note: {notice}")
        if declares_any(app):
            click.echo(f"\nschedules: {one_line(_schedules(app))}")


def _schedules(app: AppLike) -> str:
    """Return how the server's schedules differ from the declared ones."""
    from ..schedules.drift import drift
    from ..schedules.sync import FAILURES  # the client library: 0.4 s, which a report without schedules does not need

    try:
        load_tasks(app)
        found = app.temporal.call(lambda client: drift(client, app), ANSWER_TIMEOUT)
    except FAILURES as error:
        return f"not compared with the server's: {error}"
    return f"{found} (ptemporal-compat beat makes them equal)" if found else "the server has them as declared"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
