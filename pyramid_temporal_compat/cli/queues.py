"""`ptemporal-compat queues`: the backlog, the rates and the pollers of each queue."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..celery_names.lists import split_names
from ..log_lines.text_safety import one_line
from .app_command import CeleryCommand
from .ask_server import JSON, ask, load
from .columns import in_columns
from .common import Common
from .completion import completing_list, queue_names
from .errors import failing_in_one_line

if TYPE_CHECKING:
    from ..observe.queues import QueueReport

HEADINGS = ("queue", "backlog", "oldest", "in/s", "out/s", "delayed", "paused", "pollers")


@click.command(
    cls=CeleryCommand,
    help="Show for each queue how many tasks wait for a worker and for how long, how many come and go in "
    "a second, how many are delayed or paused, and which workers poll it.",
)
@click.option(
    "-Q",
    "--queues",
    type=split_names,
    metavar="NAMES",
    help="These queues; with commas. Default: those that the application declares.",
    shell_complete=completing_list(queue_names),
)
@JSON
@click.pass_obj
def command(common: Common, queues: list[str] | None, as_json: bool) -> None:
    from ..observe.queues import queues_of, report_queues  # the client library: 0.4 s, which `--help` does not need

    with failing_in_one_line():
        app = load(common)
        names = queues or queues_of(app)
        reports = ask(app, lambda client: report_queues(client, names))
        if as_json:
            click.echo(json.dumps([dataclasses.asdict(report) for report in reports]))
            return
        click.echo(in_columns([HEADINGS, *map(_row, reports)]))


def _row(report: QueueReport) -> Sequence[str]:
    return (
        one_line(report.name),
        str(report.backlog),
        f"{report.oldest:.0f} s" if report.backlog else "-",
        f"{report.rate_in:g}",
        f"{report.rate_out:g}",
        str(report.delayed),
        str(report.paused),
        one_line(", ".join(report.pollers)) or "none",
    )
