"""`ptemporal-compat outbox init|status|retry|purge app.ini`: manages the outbox of an application."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..exceptions import OperationalError
from ..log_lines.text_safety import one_line
from .app_command import IniCommand
from .bootstrap import application
from .common import Common
from .errors import failing_in_one_line, loading

if TYPE_CHECKING:
    from ..outbox.store import Store, Summary

IDS = click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))
CONFIG = click.argument("config")
ERROR_WIDTH = 160
"""How many characters of an error `status` shows. `--json` shows all."""


@contextlib.contextmanager
def store_of(common: Common, config: str) -> Iterator[Store]:
    from sqlalchemy.exc import SQLAlchemyError  # `--help` does not need it

    from ..outbox.sessions import app_engine
    from ..outbox.store import Store

    with failing_in_one_line():
        app = application(common, config)
        with loading(common.named):
            store = Store(app_engine(app), app.temporal.settings.namespace)
        try:
            yield store
        except SQLAlchemyError as error:
            url = store.location
            raise OperationalError(f"the outbox at {url}: {' '.join(str(error).split())}") from error
        finally:
            store.engine.dispose()
            app.close()


@click.group(
    help="Manage the outbox of the application in CONFIG (an ini file), or of --ini: messages "
    "between commit and dispatch."
)
def group() -> None:
    pass


@group.command("init", cls=IniCommand, help="Create the missing tables. Alembic can do this too: see the guide.")
@CONFIG
@click.pass_obj
def init(common: Common, config: str) -> None:
    with store_of(common, config) as store:
        created = store.create()
        url = store.location
        click.echo(f"{url}: created {', '.join(created)}" if created else f"{url}: all tables exist")


@group.command(
    "status", cls=IniCommand, help="Show how many rows wait, for how long, and which rows were parked with which error."
)
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_obj
def status(common: Common, config: str, as_json: bool) -> None:
    with store_of(common, config) as store:
        summary = store.summary()
        if as_json:
            click.echo(json.dumps({"namespace": store.namespace, **dataclasses.asdict(summary)}, default=str))
        else:
            click.echo("\n".join(lines(summary, store.namespace)))


def lines(summary: Summary, namespace: str) -> Iterator[str]:
    """Yield the lines that `status` prints."""
    yield f"namespace    {namespace}"
    yield f"in the table {summary.rows} rows, {summary.messages} messages" + (
        f", the oldest for {summary.oldest:.0f} s" if summary.rows else ""
    )
    yield f"waiting      {summary.waiting} rows for a relay; the others are on the fast path"
    yield f"taken        {summary.claimed} rows by relays, now"
    if summary.newer:
        yield f"newer        {summary.newer} rows that a newer release wrote: they wait for a relay of that release"
    for queue, count in summary.queues:
        yield f"  {one_line(queue)}: {count}"
    yield f"parked       {summary.parked} rows"
    for row in summary.last_parked:
        error = row.error if len(row.error) <= ERROR_WIDTH else f"{row.error[:ERROR_WIDTH]}…"
        carries = f"queue {one_line(row.queue)}, {row.messages} messages"
        yield f"  {row.id}: {carries}, since {_in_utc(row.since)}: {one_line(error)}"


def _in_utc(moment: datetime.datetime) -> str:
    if moment.tzinfo is not None:  # moments from SQLite and MySQL have no time zone, and are UTC
        moment = moment.astimezone(datetime.timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


@group.command(
    "retry", cls=IniCommand, help="Have relays try parked rows again: the rows with these ids, or all of them."
)
@CONFIG
@IDS
@click.option("--all", "all_of_them", is_flag=True, help="All parked rows.")
@click.pass_obj
def retry(common: Common, config: str, ids: tuple[int, ...], all_of_them: bool) -> None:
    if bool(ids) == all_of_them:
        raise click.UsageError("name the parked rows by their ids (outbox status shows them), or give --all")
    with store_of(common, config) as store:
        found = store.retry(ids or None)
        click.echo(f"{found} rows will be tried again" if found else "no parked row matches")


@group.command(
    "purge", cls=IniCommand, help="Delete parked rows, or all rows, before they are sent. Their tasks will never start."
)
@CONFIG
@IDS
@click.option("--parked", is_flag=True, help="All parked rows.")
@click.option("--all", "all_of_them", is_flag=True, help="All rows, also the rows that wait for a relay.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def purge(common: Common, config: str, ids: tuple[int, ...], parked: bool, all_of_them: bool, yes: bool) -> None:
    if [bool(ids), parked, all_of_them].count(True) != 1:
        raise click.UsageError("say which: ids of rows (outbox status shows them), --parked or --all")
    with store_of(common, config) as store:
        rows, messages = store.count(ids or None, parked_only=parked)
        if not rows:
            click.echo("no row matches")
            return
        if not yes:
            click.confirm(f"Delete {rows} rows with {messages} messages? Their tasks will never run", abort=True)
        click.echo(f"{store.purge(ids or None, parked_only=parked)} rows deleted")
