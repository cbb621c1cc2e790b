"""`ptemporal-compat worker app.ini`: runs a worker, with Celery's options under their names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..celery_names.lists import split_names
from ..interfaces import AppLike
from ..log import LOG_LEVELS, Logging, mlevel
from ..settings.command_line import from_words
from ..worker.daemon import set_umask
from ..worker.pools.pool_choice import POOLS, accepted_names
from ..worker.task_modules import load_tasks
from .app_command import WorkerCommand
from .bootstrap import application
from .common import Common, importing
from .errors import failing_in_one_line, loading
from .find_app import hint_at_ini
from .ports import listening

if TYPE_CHECKING:
    from ..worker.program import Program

LEVELS = [name for name in LOG_LEVELS if isinstance(name, str)]
LONGEST_TASK = 86400.0
"""Seconds that `--reload` waits for running tasks, at most."""
OUR_LOG = "pyramid_temporal_compat"


def names(value: str) -> list[str]:
    """Read one or more names, separated by commas."""
    found = split_names(value)
    if value and not found:
        raise click.BadParameter(f"{value!r} holds no name")
    return found


def pool_size(value: str) -> int | str:
    """Read a whole number, or `auto`."""
    return value if value == "auto" else int(click.IntRange(min=1)(value))


def bounds(value: str) -> tuple[int, int]:
    """Read `max,min`, in either order."""
    try:
        numbers = [int(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 2 or max(numbers) < 1 or min(numbers) < 0:
        raise click.BadParameter(f"{value!r} is not two numbers separated by a comma, such as 10,3")
    return max(numbers), min(numbers) if len(numbers) == 2 else 1


@click.command(
    cls=WorkerCommand,
    help="Run the tasks of an application: of the ini file CONFIG (`app.ini#name` for another section), or of -A. "
    "KEY=VALUE sets a worker_* setting.",
)
@click.argument("words", nargs=-1, metavar="[CONFIG] [KEY=VALUE]...")
@click.option("-n", "--hostname", help="The worker's name; %h is the host's name. Default: celery@%h.")
@click.option("-Q", "--queues", type=names, help="Queues to serve, separated by commas; default: task_queues.")
@click.option(
    "--domains", type=names, help="Serve only these domains of ptemporal.domains, on their queues; separated by commas."
)
@click.option("--factory", metavar="MODULE:NAME", help="Run the Temporal worker or workers that this function returns.")
@click.option("-X", "--exclude-queues", type=names, help="Queues of task_queues not to serve.")
@click.option(
    "-c", "--concurrency", type=pool_size, metavar="NUMBER", help="Tasks at a time, or auto; default: one for each CPU."
)
@click.option("-P", "--pool", type=click.Choice(accepted_names()), metavar="|".join(POOLS))
@click.option(
    "--autoscale", type=bounds, metavar="MAX,MIN", help="Tasks at a time, at most and at least; in place of -c."
)
@click.option("--max-tasks-per-child", type=click.IntRange(min=1), help="Replace a process after this number of tasks.")
@click.option("--max-memory-per-child", type=click.IntRange(min=1), help="Replace a process that uses more KiB.")
@click.option("--time-limit", type=click.FloatRange(min=0), help="Seconds until a task that sets no limit is stopped.")
@click.option("--soft-time-limit", type=click.FloatRange(min=0), help="Seconds until SoftTimeLimitExceeded.")
@click.option("--graceful-timeout", type=click.FloatRange(min=0), help="Seconds that running tasks get on SIGTERM.")
@click.option("--health-port", type=listening, metavar="[HOST:]PORT", help="Answer probes there: /live and /ready.")
@click.option("--metrics-port", type=listening, metavar="[HOST:]PORT", help="Serve /metrics for Prometheus there.")
@click.option(
    "--to-celery",
    metavar="URL",
    help="Publish the tasks to this broker of Celery's and wait for their results, for queues that have not moved.",
)
@click.option("-I", "--include", type=names, help="More task modules, separated by commas.")
@click.option(
    "-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), help="Default: WARNING, or the ini's."
)
@click.option("-f", "--logfile", help="The file to log to; %n, %h and %d as in the worker's name.")
@click.option("--pidfile", help="A file that holds the process's id while it runs.")
@click.option("--uid", help="The user to run as.")
@click.option("--gid", help="The group to run as.")
@click.option("--umask", help="The mask of new files, in octal digits.")
@click.option("--purge", "--discard", is_flag=True, help="First end every task that waits in these queues.")
@click.option("--reload", "reloads", is_flag=True, help="Start anew when a file changes; running tasks end first.")
@click.option("-C", "--no-color", is_flag=True, default=None, help="No colours.")
@click.option("-q", "--quiet", is_flag=True, help="No banner.")
@click.option("-D", "--detach", is_flag=True, help="Refused: use a service manager.")
@click.option("-B", "--beat", is_flag=True, help="First make the server's schedules equal to the declared ones.")
@click.option("-s", "--schedule", "--schedule-filename", "schedule_filename", hidden=True)
@click.option("--scheduler", hidden=True)
@click.option("-S", "--statedb", hidden=True)
@click.option("-O", "--optimization", type=click.Choice(["default", "fair"]), hidden=True)
@click.option("-E", "--task-events", "--events", "task_events", is_flag=True, hidden=True)
@click.option("--prefetch-multiplier", type=int, hidden=True)
@click.option("--disable-prefetch", is_flag=True, hidden=True)
@click.option("--pool-start-method", type=click.Choice(["fork", "spawn"]), hidden=True)
@click.option("--without-gossip", is_flag=True, hidden=True)
@click.option("--without-mingle", is_flag=True, hidden=True)
@click.option("--without-heartbeat", is_flag=True, hidden=True)
@click.option("--heartbeat-interval", type=float, hidden=True)
@click.option("--executable", hidden=True)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    loglevel: str | None,
    quiet: bool,
    no_color: bool | None,
    domains: list[str] | None,
    factory: str | None,
    reloads: bool,
    **options: Any,
) -> None:
    common = ctx.ensure_object(Common)
    if reloads:
        reload_on_changes([*words, *([common.config] if common.config else [])])
    common.quiet = quiet or common.quiet
    common.no_color = no_color or common.no_color
    with failing_in_one_line():
        set_umask(options["umask"])  # before the ini's logging opens its files
        files = [word for word in words if "=" not in word]
        if len(files) > 1:
            raise click.UsageError(f"one application at a time, not {', '.join(files)}")
        found = application(common, files[0] if files else None)
        if found.registry is None and not common.quiet and (hint := hint_at_ini(common.name)):
            click.echo(hint, err=True)
        found.conf.update(from_words([word for word in words if "=" in word], "worker"))
        if factory is not None:
            given = {name: value for name, value in options.items() if value} | {"domains": domains}
            run_factory(found, factory, loglevel, given)
            return
        if domains is not None or found.native is None:
            from ..native.served_work import ServedWork  # imports the client library, which `--help` does not need

            found.native = ServedWork(found, domains)
        worker = made_worker(found, common, loglevel=loglevel, **options)
        if Logging.already_setup and loglevel:
            set_level(loglevel)
        worker.start()
        ctx.exit(worker.exitcode)


def reload_on_changes(files: list[str]) -> None:
    """Run this command in a child process that starts anew when a file changes. Return in that child alone."""
    import hupper  # it comes with Pyramid, whose `pserve --reload` uses it

    if not hupper.is_active():
        hupper.start_reloader("pyramid_temporal_compat.cli.main", shutdown_interval=LONGEST_TASK)
    inis = [Path(word.partition("#")[0]).absolute() for word in files if ".ini" in word]
    hupper.get_reloader().watch_files([str(path) for path in inis])


def run_factory(app: AppLike, factory: str, loglevel: str | None, given: dict[str, Any]) -> None:
    """Run the workers of `--factory`. Refuse options that only our own worker knows."""
    from ..native.factory import FactoryWorkers  # imports temporalio's workers

    if unused := [name for name, value in given.items() if value and name not in ("hostname", "include")]:
        written = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise click.UsageError(f"{written}: does not go with --factory, which makes its workers itself")
    with loading(f"--factory {factory}"):
        load_tasks(app, given.get("include", ()))
        workers = FactoryWorkers(app, factory, given.get("hostname"))
    app.log.setup(loglevel or "INFO")
    if Logging.already_setup and loglevel:
        set_level(loglevel)
    workers.run()


def made_worker(app: AppLike, common: Common, **options: Any) -> Program:
    with importing(), loading(common.named, debug=common.debug):
        worker: Program = app.Worker(quiet=common.quiet, no_color=common.no_color, **options)
        return worker


def set_level(name: str) -> None:
    """Set the log level, in place of the level in the ini."""
    for logger in (logging.getLogger(), logging.getLogger(OUR_LOG), logging.getLogger("celery")):
        logger.setLevel(mlevel(name))
