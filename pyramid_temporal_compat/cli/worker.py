"""`ptemporal-compat worker app.ini`."""

from __future__ import annotations

import logging
import os
import platform
from typing import Any

import click

from .. import __version__
from ..app import Celery
from ..settings import connection
from ..worker.discovery import load_tasks
from ..worker.worker import POOLS, Worker
from .bootstrap import bootstrapped, failing_in_one_line, loading

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@click.command(help="Run the tasks of the application in CONFIG (an ini file, `app.ini#name` for another section).")
@click.argument("config")
@click.option("-Q", "--queues", default="", help="Queues to serve, with commas between; default: task_default_queue.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Tasks at a time; default: one for each CPU.")
@click.option("-P", "--pool", type=click.Choice(sorted(POOLS)), default="threads", show_default=True)
@click.option("-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), help="Default: what the ini says.")
@click.option("-n", "--hostname", help="The worker's name; %h is the host's name. Default: celery@%h.")
@click.option("--graceful-timeout", type=click.FloatRange(min=0), help="Seconds that running tasks get on SIGTERM.")
@click.option("-q", "--quiet", is_flag=True, help="No banner.")
def command(
    config: str,
    queues: str,
    concurrency: int | None,
    pool: str,
    loglevel: str | None,
    hostname: str | None,
    graceful_timeout: float | None,
    quiet: bool,
) -> None:
    with failing_in_one_line():
        with loading(config, debug=loglevel == "DEBUG"):
            app = bootstrapped(config)
            load_tasks(app)
        set_level(loglevel)
        worker = Worker(
            app,
            queues=[name for queue in queues.split(",") if (name := queue.strip())],
            concurrency=concurrency,
            pool=pool,
            hostname=expand(hostname) if hostname else None,
            graceful_timeout=app.conf.ptemporal_graceful_timeout if graceful_timeout is None else graceful_timeout,
        )
        if not quiet:
            worker.on_ready = lambda: click.echo(banner(worker))
        worker.run()


def expand(hostname: str) -> str:
    """Celery's `%h` (host), `%n` (its first part) and `%d` (its domain)."""
    host = platform.node()
    short, _, domain = host.partition(".")
    named = hostname.replace("%h", host).replace("%n", short).replace("%d", domain).replace("%%", "%")
    return named if "@" in named else f"{named}@{host}"


def set_level(name: str | None) -> None:
    if name is None:
        return
    logging.getLogger().setLevel(name.upper())
    logging.getLogger("pyramid_temporal_compat").setLevel(name.upper())


def banner(worker: Worker) -> str:
    app: Celery = worker.app
    settings = connection(app.conf)
    lines: list[tuple[str, Any]] = [
        ("server", f"{settings.address} (namespace {settings.namespace})"),
        ("app", app.main or "-"),
        ("concurrency", f"{worker.concurrency} ({worker.pool_name})"),
        ("queues", ", ".join(worker.queues)),
        ("pid", os.getpid()),
    ]
    tasks = "\n".join(f"  . {name}" for name in sorted(app.tasks)) or "  (none: set ptemporal.include)"
    table = "\n".join(f"  {key + ':':<13}{value}" for key, value in lines)
    return f"\n{worker.hostname} - pyramid-temporal-compat {__version__}\n\n{table}\n\n[tasks]\n{tasks}\n"
