"""`ptemporal-compat health app.ini`: asks a worker on this machine whether it is well, for exec probes.

It reads the port from the ini, and loads neither the application nor the client library: a probe that runs every few
seconds has to be quick.
"""

from __future__ import annotations

import configparser
import http.client
from pathlib import Path

import click

from ..settings.values import host_and_port
from .common import Common
from .ports import listening

KEYS = ("ptemporal.health_port", "health_port")
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
    listener = port or port_in(config or common.config)
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


def port_in(config: str | None) -> str:
    """Return `ptemporal.health_port` of an ini file."""
    if config is None:
        raise click.UsageError("name the ini file whose ptemporal.health_port the worker uses, or --port PORT")
    path = Path(config.partition("#")[0])
    parser = configparser.ConfigParser(
        {"here": str(path.resolve().parent), "__file__": str(path.resolve())}, interpolation=None, strict=False
    )
    try:
        with path.open() as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise click.UsageError(f"{path} can't be read: {error}") from None
    for section in parser.sections():
        for key in KEYS if section == "ptemporal" else KEYS[:1]:
            if found := parser[section].get(key):
                return listening(found.strip())
    raise click.UsageError(f"{path} sets no ptemporal.health_port; set it for the worker, or give --port PORT")
