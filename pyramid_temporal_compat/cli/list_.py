"""`ptemporal-compat list tasks|queues|bindings|schedules app.ini`: lists what an application has."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from ..log_lines.text_safety import one_line
from ..worker.task_modules import load_tasks
from .app_command import CeleryCommand
from .ask_server import JSON, load
from .common import Common
from .errors import failing_in_one_line, loading
from .schedule import list_schedules

HEADINGS = ("Queue", "Exchange", "Routing Key")


@click.group(help="List what an application has. CONFIG is its ini file; -A names an app instead.")
def group() -> None:
    pass


@group.command("tasks", cls=CeleryCommand, help="List the tasks that a worker would know.")
@JSON
@click.pass_obj
def tasks(common: Common, as_json: bool) -> None:
    with failing_in_one_line():
        app = load(common)
        with loading(common.named):
            load_tasks(app)
            names = list(app.tasks.own())
        show_names(names, as_json)


@group.command(
    "queues", cls=CeleryCommand, help="List the queues that a worker would serve. `queues` shows what waits."
)
@JSON
@click.pass_obj
def queues(common: Common, as_json: bool) -> None:
    with failing_in_one_line():
        show_names(list(load(common).amqp.queues), as_json)


@group.command(
    "bindings",
    cls=CeleryCommand,
    help="List the queues with their exchanges and routing keys. A call that names these finds its queue by them; "
    "they have no other effect.",
)
@JSON
@click.pass_obj
def bindings(common: Common, as_json: bool) -> None:
    with failing_in_one_line():
        rows = [binding_of(name, queue) for name, queue in load(common).amqp.queues.items()]
        if as_json:
            click.echo(json.dumps([dict(zip(("queue", "exchange", "routing_key"), row, strict=True)) for row in rows]))
            return
        for row in [HEADINGS, ("-" * 16,) * 3, *rows]:
            click.echo(one_line(" ".join(f"{cell:<28}" for cell in row).rstrip()))


def binding_of(name: str, queue: object) -> tuple[str, str, str]:
    """Return the name of a queue, of its exchange, and its routing key."""
    exchange = getattr(getattr(queue, "exchange", None), "name", None)
    return name, exchange or name, getattr(queue, "routing_key", None) or name


def show_names(names: Sequence[str], as_json: bool) -> None:
    click.echo(json.dumps(names) if as_json else "\n".join(map(one_line, names)))


group.add_command(list_schedules, "schedules")
