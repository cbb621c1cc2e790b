"""`ptemporal-compat health app.ini`: asks a worker on this machine whether it is well, for exec probes.

It reads the port from the ini, and loads neither the application nor the client library: a probe that runs every few
seconds has to be quick.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping

import click

from ..exceptions import ImproperlyConfigured
from ..settings.ini import value_of_application
from ..settings.values import host_and_port
from .common import Common
from .ports import listening

KEY = "ptemporal.health_port"
PATIENCE = 3.0
NOT_WELL, NO_ANSWER = 1, 2


@click.command(
    help="Ask the worker at ptemporal.health_port of the ini CONFIG, or at --port, whether it is ready. Ends with 0 if "
    "it is, with 1 if it is not, and with 2 if there is no answer."
)
@click.argument("config", required=False)
@click.option("--port", type=listening, metavar="[HOST:]PORT", help="The --health-port of the worker.")
@click.option("--live", is_flag=True, help="Ask whether it is alive, and not whether it takes tasks.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=PATIENCE, show_default=True, help="Seconds.")
@click.pass_context
def command(ctx: click.Context, config: str | None, port: str | None, live: bool, timeout: float) -> None:
    common = ctx.ensure_object(Common)
    listener = port or port_in(config or common.config, common.ini_variables)
    host, number = host_and_port(listener)
    try:
        status, text = ask(host, number, "/live" if live else "/ready", timeout)
    except (OSError, http.client.HTTPException) as error:
        click.echo(f"no worker answers at port {listener}: {error}", err=True)
        ctx.exit(NO_ANSWER)
    click.echo(text.rstrip(), err=status != 200)
    ctx.exit(0 if status == 200 else NOT_WELL)


def ask(host: str, port: int, page: str, timeout: float) -> tuple[int, str]:
    """Return the answer of a worker's page: its status and its text."""
    connection = http.client.HTTPConnection("127.0.0.1" if host in ("", "0.0.0.0", "::") else host, port, timeout)
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def port_in(config: str | None, variables: Mapping[str, str]) -> str:
    """Return `ptemporal.health_port` of an ini file."""
    if config is None:
        raise click.UsageError("name the ini file whose ptemporal.health_port the worker uses, or --port PORT")
    path = config.partition("#")[0]
    try:
        found = value_of_application(path, KEY, variables)
    except ImproperlyConfigured as error:
        raise click.UsageError(str(error)) from None
    if found is None:
        raise click.UsageError(f"{path} sets no {KEY}; set it for the worker, or give --port PORT")
    return listening(found)
