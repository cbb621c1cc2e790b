"""`ptemporal-compat beat app.ini`: makes the server's schedules equal to the declared ones, and ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ..exceptions import ImproperlyConfigured, OperationalError
from ..log import LOG_LEVELS
from ..log_lines.text_safety import one_line
from ..schedules.sources import enabled
from ..worker.task_modules import load_tasks
from .app_command import AppCommand
from .ask_server import WIDEST_NAME
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
    "logfile": "the command prints to standard output",
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


def said_of(name: str) -> str:
    """Return the help of an option of Celery's beat: what becomes of it."""
    return f"Refused: {REFUSED[name]}." if name in REFUSED else f"No effect: {TAKEN[name]}."


@click.command(
    cls=AppCommand,
    help="Make the server's schedules equal to the periodic tasks that an application declares, and end: of the ini "
    "file CONFIG, or of -A. The server then starts the tasks: no process of beat has to stay up.",
)
@click.argument("config", required=False)
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@click.option("--check", is_flag=True, help="Change nothing; exit with 3 if the server differs.")
@click.option(
    "--each",
    is_flag=True,
    help="Look at each schedule, and not only at the server's list: see arguments, queue and overlap that somebody has "
    "edited in the web UI. Takes 36 ms for each schedule.",
)
@click.option(
    "--prune/--no-prune", default=True, help="Delete schedules that are no longer declared (default), or not."
)
@click.option(
    "--wait-server", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait for the server, at most so long."
)
@click.option("--watch", type=click.FloatRange(min=1), metavar="SECONDS", help="Go on, and compare again so often.")
@click.option("-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), help="The level of the log.")
@click.option("-s", "--schedule", help=said_of("schedule"))
@click.option("-S", "--scheduler", help=said_of("scheduler"))
@click.option("--max-interval", type=float, help=said_of("max_interval"))
@click.option("-f", "--logfile", help=said_of("logfile"))
@click.option("--pidfile", help=said_of("pidfile"))
@click.option("--uid", help=said_of("uid"))
@click.option("--gid", help=said_of("gid"))
@click.option("--umask", help=said_of("umask"))
@click.option("--detach", is_flag=True, help=said_of("detach"))
@click.option("-n", "--hostname", help=said_of("hostname"))
@click.option("--executable", help=said_of("executable"))
@click.option("--enable-remote-control/--no-enable-remote-control", default=None, help=said_of("enable_remote_control"))
@click.pass_context
def command(
    ctx: click.Context,
    /,
    config: str | None,
    dry_run: bool,
    check: bool,
    each: bool,
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
        if not found.tasks.own():
            stand_in_for_tasks(found)
        if wait_server is not None:
            wait_for(found, wait_server)
        plan = synchronise_app(found, prune=prune, change=not (dry_run or check), look_at_each=each)
        click.echo("\n".join(lines(plan, done=not (dry_run or check))))
        while watch is not None:
            time.sleep(watch)
            watch_once(found, prune, each)
        found.close()
        ctx.exit(EXIT_DIFFERENCE if check and plan.differences else 0)


def stand_in_for_tasks(app: AppLike) -> None:
    """Give an app that is only beat a task for each name in its entries. The real tasks belong to another app."""
    names = {str(declared["task"]) for _, declared in enabled(app) if declared.get("task")}
    for name in names:
        anything = {"name": name, "run": lambda self, *args, **kwargs: None, "_app": app}
        app.tasks.register(type("NamedTask", (app.Task,), anything))
    if names:
        click.echo("the app has no tasks of its own, so the names of the tasks are not checked", err=True)


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


def watch_once(app: AppLike, prune: bool, each: bool) -> None:
    """Compare again. Report an entry that has become invalid, or an absent server, and go on watching."""
    from ..schedules.sync import FAILURES, synchronise_app  # as above

    try:
        plan = synchronise_app(app, prune=prune, look_at_each=each)
    except FAILURES as error:
        click.echo(f"not synchronised: {error}", err=True)
        return
    if plan.differences:
        click.echo("\n".join(lines(plan, done=True)))


def lines(plan: Plan, *, done: bool) -> list[str]:
    """Return the table of differences, and a line that sums up."""
    from ..schedules.plan import DONE

    width = min(max((len(change.entry) for change in plan.differences), default=0), WIDEST_NAME)
    rows = []
    for change in plan.differences:
        row = f"{DONE[change.kind] if done else change.kind:8} {change.entry:{width}}"
        if change.declared is not None:
            row += f"  {change.declared.entry.task}  {change.declared.entry.schedule!r}"
        rows.append(one_line(row.rstrip()))
    return [*rows, f"schedules: {plan.summary(done=done)}"]
