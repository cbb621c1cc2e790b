"""`ptemporal-compat purge`: ends every task that waits in the application's queues."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ..celery_names.lists import split_names
from .app_command import CeleryCommand
from .ask_server import JSON, ask, load
from .common import Common
from .completion import completing_list, queue_names
from .errors import failing_in_one_line
from .terminal import Terminal

if TYPE_CHECKING:
    from temporalio.client import Client

QUEUES = completing_list(queue_names)


@click.command(
    cls=CeleryCommand,
    help="End every task that waits in the application's queues, also tasks with an eta. Running tasks go on. There is "
    "no undo.",
)
@click.option("-f", "--force", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "-Q", "--queues", type=split_names, metavar="NAMES", help="Only these queues; with commas.", shell_complete=QUEUES
)
@click.option(
    "-X",
    "--exclude-queues",
    type=split_names,
    metavar="NAMES",
    help="All queues but these; with commas.",
    shell_complete=QUEUES,
)
@JSON
@click.pass_obj
def command(
    common: Common, force: bool, queues: list[str] | None, exclude_queues: list[str] | None, as_json: bool
) -> None:
    with failing_in_one_line():
        app = load(common)
        names = sorted(set(queues or app.amqp.queues) - set(exclude_queues or ()))
        if names and not force:
            warning = Terminal(common.no_color).style("WARNING", fg="red")
            click.echo(f"{warning}: this ends every task that waits in {', '.join(names)}. There is no undo.", err=True)
            click.confirm("(-f skips this question) Are you sure?", abort=True, err=True)

        async def end_waiting_tasks(client: Client) -> int:
            from ..control.waiting_tasks import purge  # the client library: 0.4 s, which `--help` does not need

            return await purge(client, names)

        count = ask(app, end_waiting_tasks, timeout=None) if names else 0
        places = f"{len(names)} {'queue' if len(names) == 1 else 'queues'}"
        if as_json:
            click.echo(json.dumps({"purged": count, "queues": names}))
        elif count:
            click.echo(f"Purged {count} {'message' if count == 1 else 'messages'} from {places}.")
        else:
            click.echo(f"No messages purged from {places}.")
