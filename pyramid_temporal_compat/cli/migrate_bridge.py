"""`ptemporal-compat migrate bridge app.ini --from URL`: carries what waits in Celery's broker into Temporal."""

from __future__ import annotations

import json
import logging
import signal
from typing import TYPE_CHECKING

import click

from ..celery_names.lists import split_names
from ..log_lines.text_safety import one_line
from .app_command import IniCommand
from .ask_server import load
from .broker_options import FROM, TRANSPORT_OPTIONS, UNTESTED, broker_of
from .common import Common
from .errors import failing_in_one_line
from .live_line import LiveLine

if TYPE_CHECKING:
    from ..migrate.bridge import Carried

EXIT_KEPT = 3
"""Exit code if messages stay on Celery's side."""


@click.command(
    cls=IniCommand,
    help="Take the messages of Celery's broker and start them in Temporal, under their own ids, for the application in "
    "CONFIG (an ini file), or of --ini or -A before the command. A message leaves the broker when the server has it. "
    "What can't be carried goes back where it was. Ends with 3 if there is any.",
)
@click.argument("config")
@FROM
@click.option(
    "-Q", "--queues", type=split_names, metavar="NAMES", help="Queues, separated by commas; default: the workers' own."
)
@click.option("--to-queue", "renames", multiple=True, metavar="OLD=NEW", help="Start OLD's tasks on queue NEW.")
@click.option("--until-empty", is_flag=True, help="End when nothing waits in these queues.")
@click.option("--unknown", is_flag=True, help="Also carry tasks that the application does not know.")
@UNTESTED
@TRANSPORT_OPTIONS
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON, for programs.")
@click.pass_context
def bridge(
    ctx: click.Context,
    config: str,
    url: str,
    queues: list[str] | None,
    renames: tuple[str, ...],
    until_empty: bool,
    unknown: bool,
    untested: bool,
    options: str,
    as_json: bool,
) -> None:
    common = ctx.ensure_object(Common)
    with failing_in_one_line():
        new_names = dict(pair(each) for each in renames)
        app = load(common, config)
        conf = app.conf
        broker = broker_of(url, options, untested, conf["broker_transport_options"], conf["broker_use_ssl"])
        from ..migrate.bridge import Bridge  # the client library: 0.4 s
        from ..migrate.carried import Rules

        app.finalize()
        app.log.setup(logging.INFO)
        shown = Progress(f"carrying from {broker}; Ctrl-C ends it")
        found = Bridge(
            app,
            broker,
            queues,
            until_empty=until_empty,
            rules=Rules(unknown, new_names),
            on_change=(lambda carried: None) if as_json else shown.show,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: found.stop())
        try:
            carried = found.run()
        finally:
            shown.end()
            app.close()
        tell(carried, as_json)
        ctx.exit(EXIT_KEPT if carried.kept else 0)


def pair(text: str) -> tuple[str, str]:
    """Read OLD=NEW."""
    old, _, new = text.partition("=")
    if not old or not new:
        raise click.UsageError(f"--to-queue {text}: it takes OLD=NEW, the names of two queues")
    return old, new


class Progress:
    """Shows what was carried and what still waits, below a first line that says what the bridge does."""

    def __init__(self, first: str) -> None:
        self._first = first
        self._line = LiveLine()

    def show(self, carried: Carried) -> None:
        """Show how far the bridge is. The first call means that the broker is open."""
        if self._first:
            click.echo(self._first, err=True)
            self._first = ""
        parts = [f"{name} {count}" for name, count in carried.waiting.items() if count]
        kept = f"; kept: {len(carried.kept)}" if carried.kept else ""
        self._line.show(f"{carried.started.total()} started; waiting: {', '.join(parts) or 'nothing'}{kept}")

    def end(self) -> None:
        self._line.end()


def tell(carried: Carried, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        found = {
            "started": dict(carried.started),
            "kept": [{"message": message, "reason": reason} for message, reason in carried.kept.items()],
            "waiting": dict(carried.waiting),
            "held_by_workers": carried.unacked,
        }
        click.echo(json.dumps(found))
        return
    count = carried.started.total()
    click.echo("1 message was started in Temporal" if count == 1 else f"{count} messages were started in Temporal")
    for message, reason in carried.kept.items():
        click.echo(one_line(f"stays on Celery's side: {message}: {reason}"))
    if carried.unacked:
        click.echo(f"Celery's workers hold {carried.unacked} messages: `migrate drain` says how to free them")
