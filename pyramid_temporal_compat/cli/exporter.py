"""`ptemporal-compat exporter app.ini`: serves the metrics of queues, workers, outbox and schedules."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import click

from ..celery_names.lists import split_names
from .app_command import IniCommand
from .ask_server import load
from .common import Common
from .errors import failing_in_one_line
from .ports import listening

if TYPE_CHECKING:
    from ..exporter import Exporter

METRICS = "/metrics"


@click.command(
    cls=IniCommand,
    help="Serve the metrics of queues, workers, outbox and schedules of the application in CONFIG (an ini file), or of "
    "--ini or -A. One process is enough; workers serve those of their tasks: --metrics-port.",
)
@click.argument("config")
@click.option(
    "--port", type=listening, metavar="[HOST:]PORT", default="9808", show_default=True, help="Where /metrics is served."
)
@click.option("-Q", "--queues", type=split_names, help="More queues than task_queues and the workers' own.")
@click.option(
    "--interval", type=click.FloatRange(min=1), default=15.0, show_default=True, help="Seconds between two rounds."
)
@click.option(
    "--worker-timeout", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds for an answer."
)
@click.pass_obj
def command(
    common: Common, config: str, port: str, queues: list[str] | None, interval: float, worker_timeout: float
) -> None:
    with failing_in_one_line():
        app = load(common, config)
        from ..exporter import Exporter
        from ..monitoring.http_server import Address, HttpServer
        from ..settings.values import host_and_port

        app.finalize()
        exporter = Exporter(app, [*app.amqp.queues.consume_from, *(queues or ())], worker_timeout)
        server = HttpServer(Address(*host_and_port(port)), {METRICS: exporter.page})
        where = f"{server.address.host}:{server.address.port}"
        click.echo(f"metrics are served at http://{where}{METRICS}; Ctrl-C stops it")
        try:
            refresh_until_stopped(exporter, interval)
        finally:
            server.close()
            app.close()


def refresh_until_stopped(exporter: Exporter, interval: float) -> None:
    """Ask again and again until SIGTERM or SIGINT."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    while not stop.is_set():
        exporter.refresh()
        stop.wait(interval)
