"""`ptemporal-compat report app.ini`: prints versions and effective settings, for example for a bug report."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import click

from ..log_lines.text_safety import one_line
from ..schedules.sources import declares_any
from ..settings import connection
from ..worker.task_modules import load_tasks
from .app_command import AppCommand
from .ask_server import JSON
from .bootstrap import application
from .common import Common
from .errors import failing_in_one_line

if TYPE_CHECKING:
    from ..interfaces import AppLike

ANSWER_TIMEOUT = 10.0
"""Seconds for the comparison of schedules with the server's."""
SERVER_TIMEOUT = 3.0
"""Seconds for the question what the server can do: a report is also made when the server is away."""
PACKAGES = ("pyramid-temporal-compat", "temporalio", "pyramid", "pyramid_tm", "transaction", "sqlalchemy")


@click.command(
    cls=AppCommand,
    help="Print versions, and the settings of the application in CONFIG (an ini file), or of -A. Secrets are masked.",
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
@JSON
@click.pass_obj
def command(common: Common, config: str | None, everything: bool, cost: bool, days: float, as_json: bool) -> None:
    with failing_in_one_line():
        app = application(common, config)
        if cost:
            from .report_cost import print_cost  # the client library: 0.4 s

            print_cost(app, days, as_json)
            return
        found = {**facts(), **facts_of(app, everything)}
        click.echo(json.dumps(found, default=str) if as_json else "\n".join(lines(app, found, everything)))


def facts() -> dict[str, Any]:
    """Return the versions, which the application does not change."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {package: _version(package) for package in PACKAGES},
    }


def facts_of(app: AppLike, everything: bool) -> dict[str, Any]:
    """Return the server, the settings with masked secrets, and what is to be said of them."""
    server = connection(app.conf)
    return {
        "server": {"address": server.address, "namespace": server.namespace, "tls": bool(server.tls)},
        "settings": app.conf.table(with_defaults=everything),
        "notices": list(app.conf.notices),
        "schedules": one_line(_schedules(app)) if declares_any(app) else None,
        "features": _features(app),
    }


def lines(app: AppLike, found: dict[str, Any], everything: bool) -> Iterator[str]:
    """Yield the lines of a report."""
    yield f"python {found['python']}, {found['platform']}"
    yield from (f"{package} {version}" for package, version in found["packages"].items())
    server = found["server"]
    yield f"\nserver {server['address']}, namespace {server['namespace']}, tls {'on' if server['tls'] else 'off'}"
    yield from found["features"]
    yield f"\n{app.conf.humanize(with_defaults=everything)}"
    yield from (f"note: {notice}" for notice in found["notices"])
    if found["schedules"]:
        yield f"\nschedules: {found['schedules']}"


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


def _features(app: AppLike) -> list[str]:
    """Return a line for the server's release, and one for each thing that we use and that it lacks."""
    from ..client.server_features import LOWEST, TESTED, server_features  # the client library, as above

    try:
        found = app.temporal.call(server_features, SERVER_TIMEOUT)
    except Exception as error:
        return [f"the server was not asked what it can do: {one_line(error)}"]
    said = [f"server release {found.version or 'unknown'}, tested with {TESTED}"]
    if found.is_too_old:
        said.append(f"  too old: {'.'.join(map(str, LOWEST))} is the lowest release")
    missing = [feature for feature, is_there in found.features if not is_there]
    said += [f"  no {each.name} (from {each.since} on): {each.without}" for each in missing]
    return said if missing else [f"{said[0]}: it has all that is used here"]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
