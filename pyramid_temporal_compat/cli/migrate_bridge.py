"""`ptemporal-compat migrate bridge app.ini --from URL`: carries what waits in Celery's broker into Temporal."""

from __future__ import annotations

import json
import logging
import signal
import sys
from typing import TYPE_CHECKING

import click

from ..celery_names.lists import split_names
from ..celery_names.urls import sanitize_url
from ..log_lines.text_safety import one_line
from .app_command import IniCommand
from .ask_server import load
from .common import Common
from .errors import failing_in_one_line

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
@click.option("--from", "url", required=True, metavar="URL", help="Celery's broker, as redis://… or amqp://…")
@click.option("-Q", "--queues", type=split_names, help="Queues to empty, separated by commas; default: task_queues.")
@click.option("--to-queue", "to_queues", multiple=True, metavar="OLD=NEW", help="Start OLD's tasks on queue NEW.")
@click.option("--until-empty", is_flag=True, help="End when nothing waits in these queues.")
@click.option("--untested", is_flag=True, help="Also carry from a broker that nobody has tried the bridge with.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON, for programs.")
@click.pass_context
def bridge(
    ctx: click.Context,
    config: str,
    url: str,
    queues: list[str] | None,
    to_queues: tuple[str, ...],
    until_empty: bool,
    untested: bool,
    as_json: bool,
) -> None:
    common = ctx.ensure_object(Common)
    with failing_in_one_line():
        renamed = dict(pair(each) for each in to_queues)
        app = load(common, config)
        from ..migrate.bridge import Bridge  # the client library: 0.4 s

        app.finalize()
        app.log.setup(logging.INFO)
        found = Bridge(
            app,
            url,
            queues or list(app.amqp.queues.consume_from),
            until_empty=until_empty,
            untested=untested,
            to_queue=lambda name: renamed.get(name, name),
            on_change=(lambda carried: None) if as_json else Progress(),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: found.stop())
        if not as_json:
            click.echo(f"carrying from {sanitize_url(url)}; Ctrl-C ends it", err=True)
        try:
            carried = found.run()
        finally:
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
    """Writes one line again and again on a terminal, and each change as a line elsewhere."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, carried: Carried) -> None:
        line = progress_line(carried)
        if line == self._last:
            return
        self._last = line
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
        else:
            click.echo(line, err=True)


def progress_line(carried: Carried) -> str:
    """Return what was carried and what still waits, in one line."""
    waiting = ", ".join(f"{name} {count}" for name, count in carried.waiting.items() if count) or "nothing"
    kept = f"; {len(carried.kept)} stay on Celery's side" if carried.kept else ""
    return one_line(f"{carried.started.total()} started; waiting: {waiting}{kept}")


def tell(carried: Carried, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        found = {
            "started": dict(carried.started),
            "kept": [{"message": message, "reason": reason} for message, reason in carried.kept.items()],
            "waiting": dict(carried.waiting),
        }
        click.echo(json.dumps(found))
        return
    if sys.stderr.isatty():
        click.echo(err=True)
    click.echo(f"{carried.started.total()} messages were started in Temporal")
    for message, reason in carried.kept.items():
        click.echo(f"stays on Celery's side: {message}: {reason}")
