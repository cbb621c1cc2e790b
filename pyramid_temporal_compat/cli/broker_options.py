"""The options of commands that open a broker of Celery's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..migrate.carrier_process import BrokerAddress

FROM = click.option("--from", "url", required=True, metavar="URL", help="Celery's broker, as redis://… or amqp://…")
UNTESTED = click.option("--untested", is_flag=True, help="Also use a broker that nobody has tried this with.")
TRANSPORT_OPTIONS = click.option(
    "--transport-options",
    "options",
    metavar="JSON",
    default="{}",
    help='Celery\'s broker_transport_options, as \'{"global_keyprefix": "shop:"}\'.',
)


def broker_of(
    url: str, options: str, untested: bool, given: dict[str, Any] | None = None, ssl: Any = None
) -> BrokerAddress:
    """Return the broker that the command line names.

    :param given: the transport options of the application. An option of the command line takes the place of its own.
    """
    from ..migrate.carrier_process import BrokerAddress  # imports the exceptions of the client library

    try:
        read = json.loads(options)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise click.UsageError(f"--transport-options {options}: it takes a dict in JSON")
    broker = BrokerAddress(url, {**(given or {}), **read}, ssl)
    if not untested:
        broker.refuse_untried()
    return broker
