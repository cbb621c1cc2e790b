"""`ptemporal-compat board app.ini`: the board as a program of its own, for this machine alone."""

from __future__ import annotations

import ipaddress
import signal

import click

from ..exceptions import OperationalError
from .app_command import CeleryCommand
from .ask_server import load
from .common import Common
from .errors import failing_in_one_line

FLOWERS_PORT = 5555


@click.command(
    cls=CeleryCommand,
    help="Serve the board of an application on this machine, and print the address that opens it once.\n\n"
    "To give it to a team, mount it in the application: config.include('pyramid_temporal_compat.board').",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=FLOWERS_PORT, show_default=True, help="0: any free port."
)
@click.option("--address", "host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--read-only", is_flag=True, help="No buttons: nobody can retry, revoke or pause anything.")
@click.pass_obj
def command(common: Common, port: int, host: str, read_only: bool) -> None:
    with failing_in_one_line():
        app = load(common)
        from ..board.alone import serving  # needs Jinja2, and says so

        try:
            server, url = serving(app, host, port, may_control=not read_only)
        except OSError as error:
            raise OperationalError(
                f"the board can't listen on {host}:{port}: {error.strerror}; --port 0 takes a free one"
            ) from None
        if not is_local(host):
            click.echo(f"{host} can be reached from other machines, and nothing encrypts what they read", err=True)
        click.echo(f"The board of {app.main or 'this application'}: {url}")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            server.server_close()
            app.close()


def is_local(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
