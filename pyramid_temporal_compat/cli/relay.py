"""`ptemporal-compat relay app.ini`: sends the messages in the outbox, as the relay in every worker does."""

from __future__ import annotations

import logging
import signal

import click

from ..exceptions import OperationalError
from ..log import LOG_LEVELS, Logging
from .app_command import AppCommand
from .bootstrap import application
from .common import Common
from .errors import failing_in_one_line
from .worker import set_level

LEVELS = [name for name in LOG_LEVELS if isinstance(name, str)]


@click.command(
    cls=AppCommand,
    help="Send the messages that wait in the outbox of an application: of the ini file CONFIG, or of -A. "
    "Every worker does this too, so run a relay only if no worker runs.",
)
@click.argument("config", required=False)
@click.option("-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), help="Default: INFO, or the ini's.")
@click.pass_obj
def command(common: Common, config: str | None, loglevel: str | None) -> None:
    from sqlalchemy.exc import SQLAlchemyError  # `--help` needs neither SQLAlchemy nor the client library

    from ..outbox.relay import Relay

    common.debug = (loglevel or "").upper() == "DEBUG"
    with failing_in_one_line():
        app = application(common, config)
        if Logging.already_setup and loglevel:
            set_level(loglevel)
        app.log.setup(loglevel or "INFO")
        relay = Relay(app)
        engine = relay.store.location
        try:
            relay.store.backlog()  # so that a missing table is reported now, and not once a minute
        except SQLAlchemyError as error:
            raise OperationalError(f"the outbox at {engine}: {' '.join(str(error).split())}") from error

        def stop(signum: int, frame: object) -> None:
            signal.signal(signum, signal.SIG_DFL)  # a second signal ends the relay even if the database does not answer
            relay.stop()

        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, stop)
        settings = app.temporal.settings
        logging.getLogger(__name__).info(
            "relay %s: from %s to %s, namespace %s", relay.name, engine, settings.address, settings.namespace
        )
        relay.run()
        app.close()
