"""`ptemporal-compat beat app.ini`: makes the server's schedules equal to the declared ones, and ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ..exceptions import ImproperlyConfigured, OperationalError
from ..log import LOG_LEVELS
from ..log_lines.text_safety import one_line
from ..worker.task_modules import load_tasks
from .app_command import AppCommand
from .bootstrap import application
from .common import Common
from .errors import failing_in_one_line, loading
from .option_notes import say_of_options

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from ..schedules.plan import Plan

EXIT_DIFFERENCE = 3
"""Exit code of `--check` if the server differs from the declaration."""
LEVELS = [name for name in LOG_LEVELS if isinstance(name, str)]
NEXT_ATTEMPT = 1.0
"""Seconds between two attempts of `--wait-server`."""

TAKEN = {
    "schedule": "no file is written: the server remembers the last runs",
    "max_interval": "nothing sleeps: the server starts each run when it is due",
    "logfile": "the command prints to standard output and ends",
    "pidfile": "the command ends, so no file with its process id is written",
    "uid": "start the command as that user",
    "gid": "start the command as that group",
    "umask": "the command writes no file",
    "hostname": "no scheduler runs that would need a name",
    "executable": "the command starts no other process",
    "enable_remote_control": "the server fires the schedules, and takes orders by `ptemporal-compat schedule`",
}
"""Options of Celery's beat that need nothing done here, each with the reason."""
REFUSED = {
    "scheduler": "the server keeps the schedules; for entries from a database set ptemporal.schedules to a callable",
    "detach": "the command ends by itself, because the server starts the tasks; nothing runs in the background",
}


@click.command(
    cls=AppCommand,
    help="Make the server's schedules equal to the periodic tasks that an application declares, and end: of the ini "
    "file CONFIG, or of -A. The server then starts the tasks: no process of beat has to stay up.",
)
@click.argument("config", required=False)
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@click.option("--check", is_flag=True, help="Change nothing; exit with 3 if the server differs.")
@click.option(
    "--prune/--no-prune", default=True, help="Delete schedules that are no longer declared (default), or not."
)
@click.option(
    "--wait-server", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait for the server, at most so long."
)
@click.option("--watch", type=click.FloatRange(min=1), metavar="SECONDS", help="Go on, and compare again so often.")
@click.option("-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), help="The level of the log.")
@click.option("-s", "--schedule", hidden=True)
@click.option("-S", "--scheduler", hidden=True)
@click.option("--max-interval", type=float, hidden=True)
@click.option("-f", "--logfile", hidden=True)
@click.option("--pidfile", hidden=True)
@click.option("--uid", hidden=True)
@click.option("--gid", hidden=True)
@click.option("--umask", hidden=True)
@click.option("--detach", is_flag=True, hidden=True)
@click.option("-n", "--hostname", hidden=True)
@click.option("--executable", hidden=True)
@click.option("--enable-remote-control/--no-enable-remote-control", default=None, hidden=True)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    config: str | None,
    dry_run: bool,
    check: bool,
    prune: bool,
    wait_server: float | None,
    watch: float | None,
    loglevel: str | None,
    **celerys: Any,
) -> None:
    from ..schedules.sync import synchronise_app  # the client library: 0.4 s, and not for `--help`

    common = ctx.ensure_object(Common)
    with failing_in_one_line():
        say_of_options(celerys, TAKEN, REFUSED)
        if watch is not None and (dry_run or check):
            raise ImproperlyConfigured("--watch changes schedules; it does not go with --dry-run or --check")
        with loading(config or common.named, debug=(loglevel or "").upper() == "DEBUG"):
            found = application(common, config)
            found.log.setup(loglevel or "WARNING")
            load_tasks(found)
        if wait_server is not None:
            wait_for(found, wait_server)
        plan = synchronise_app(found, prune=prune, change=not (dry_run or check))
        click.echo("\n".join(lines(plan, done=not (dry_run or check))))
        while watch is not None:
            time.sleep(watch)
            watch_once(found, prune)
        found.close()
        ctx.exit(EXIT_DIFFERENCE if check and plan.differences else 0)


def wait_for(app: AppLike, patience: float) -> None:
    """Return when the server answers. Raise `OperationalError` after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            app.temporal.call(lambda client: client.service_client.check_health(), max(1.0, patience))
            return
        except OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(NEXT_ATTEMPT)


def watch_once(app: AppLike, prune: bool) -> None:
    """Compare again. Report an entry that has become invalid, or an absent server, and go on watching."""
    from ..schedules.sync import FAILURES, synchronise_app  # as above

    try:
        plan = synchronise_app(app, prune=prune, by_list=True)
    except FAILURES as error:
        click.echo(f"not synchronised: {error}", err=True)
        return
    if plan.differences:
        click.echo("\n".join(lines(plan, done=True)))


def lines(plan: Plan, *, done: bool) -> list[str]:
    """Return the table of differences, and a line that sums up."""
    from ..schedules.plan import DONE

    width = max((len(change.entry) for change in plan.differences), default=0)
    rows = []
    for change in plan.differences:
        row = f"{DONE[change.kind] if done else change.kind:8} {change.entry:{width}}"
        if change.declared is not None:
            row += f"  {change.declared.entry.task}  {change.declared.entry.schedule!r}"
        rows.append(one_line(row.rstrip()))
    return [*rows, f"schedules: {plan.summary(done=done)}"]
