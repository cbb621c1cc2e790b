"""`ptemporal-compat server`: runs an embedded Temporal server with its web UI, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from pyramid_temporal_compat import file_safety
from pyramid_temporal_compat.exceptions import CeleryError
from pyramid_temporal_compat.server.embedded import EmbeddedServer

DEFAULT_DATABASE = Path(".ptemporal", "server.db")


@click.command()
@click.option("--port", default=7233, show_default=True, help="Port of the server; 0 takes any free port.")
@click.option("--ui-port", type=int, help="Port of the web UI; 0 takes any free port.  [default: port + 1000 if free]")
@click.option("--headless", is_flag=True, help="No web UI.")
@click.option(
    "--db", type=click.Path(path_type=Path), help=f"File that keeps the state.  [default: {DEFAULT_DATABASE}]"
)
@click.option("--memory", is_flag=True, help="Keep the state in memory: it is gone when the server ends.")
@click.option(
    "--namespace", "namespaces", multiple=True, help="Also create this namespace, beside `default`. May be repeated."
)
@click.option("--ip", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--temporal", "binary", metavar="PATH", help="The `temporal` binary to run.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warn", "error", "never"]),
    default="error",
    show_default=True,
    help="Print lines of the server's own log from this level on.",
)
def server(
    port: int,
    ui_port: int | None,
    headless: bool,
    db: Path | None,
    memory: bool,
    namespaces: tuple[str, ...],
    ip: str,
    binary: str | None,
    log_level: str,
) -> None:
    """Run an embedded Temporal server with its web UI, for development, tests and small installs."""
    if memory and db is not None:
        raise click.UsageError("--memory and --db exclude each other")
    if headless and ui_port is not None:
        raise click.UsageError("--headless and --ui-port exclude each other")
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        embedded = EmbeddedServer(
            port=port,
            ui_port=ui_port,
            headless=headless,
            database=None if memory else db or _default_database(),
            namespaces=namespaces,
            binary=binary,
            ip=ip,
            log_level=log_level,
            on_log=lambda line: click.echo(line, err=True),
        )
        with embedded:
            _announce(embedded)
            code = embedded.wait()
            last_words = embedded.last_words()
    except CeleryError as error:
        raise click.ClickException(str(error)) from error
    raise click.ClickException(f"the Temporal server ended by itself, exit code {code}: {last_words}")


def _end(*_: object) -> NoReturn:
    # The `with` block around the server stops it.
    raise SystemExit(0)


def _default_database() -> Path:
    """Return the path of the default state file. Create its directory, with a .gitignore that excludes everything.

    Only the user who runs the server may enter the directory, because the state holds arguments of tasks.
    """
    directory = DEFAULT_DATABASE.parent
    try:
        file_safety.private_directory(directory)
        file_safety.create_private(directory / ".gitignore", "*\n")
    except OSError as error:
        raise click.ClickException(
            f"can't write {directory.absolute()}: {error.strerror}; name a state file with --db, or use --memory"
        ) from error
    return DEFAULT_DATABASE


def _announce(embedded: EmbeddedServer) -> None:
    rows = [
        ("address", embedded.address),
        ("web UI", embedded.ui_address or "none (--headless)"),
        ("namespaces", ", ".join(embedded.namespaces)),
        ("state", str(embedded.database or "in memory, until the server ends")),
    ]
    click.echo("Temporal is ready; Ctrl-C stops it")
    for name, value in rows:
        click.echo(f"  {name:<11} {value}")
    # A script may wait for these lines on a pipe.
    sys.stdout.flush()
