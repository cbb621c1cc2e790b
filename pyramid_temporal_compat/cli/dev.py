"""`ptemporal-compat dev app.ini`: runs a server, the site and a worker together, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import click
from pyramid.scripts.common import get_config_loader

from ..exceptions import ImproperlyConfigured
from ..server.embedded import port_is_free
from ..settings import Settings, celery_sections, connection, from_pyramid
from ..settings.values import host_and_port
from .common import Common
from .errors import failing_in_one_line

OURSELVES = (sys.executable, "-m", "pyramid_temporal_compat.cli")
SERVER_IS_READY = "Temporal is ready"
PATIENCE = 60.0
"""Seconds until the server is ready."""
LOOK_EVERY = 0.2
LAST_MOMENT = 5.0
"""Seconds between telling a part to end at once and killing it."""
HERE = ("localhost", "127.0.0.1", "::1")
GUARD = Path(__file__).with_name("dev_guard.py")
COLOURS = {"server": "magenta", "web": "cyan", "worker": "green"}


class Part:
    """One of the processes. Its lines are printed with its name in front."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.name = name
        self.is_ready = threading.Event()
        # A session of its own: Ctrl-C comes to this process alone, which ends the parts in their order.
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._print_lines, daemon=True)
        self._reader.start()

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def tell(self, number: int) -> None:
        """Send a signal to the process, which passes it on to its children as it needs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def end(self) -> None:
        """Kill what is left of the process and its children, and print its last lines."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(LAST_MOMENT)

    def _print_lines(self) -> None:
        assert self.process.stdout is not None
        prefix = click.style(f"{self.name:6} |", fg=COLOURS[self.name])
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            if text.startswith(SERVER_IS_READY):
                self.is_ready.set()
            with contextlib.suppress(OSError):  # nobody reads any more
                click.echo(f"{prefix} {text}")
        self.is_ready.set()  # it has ended


class Parts:
    """The processes that run together."""

    def __init__(self) -> None:
        self.running: list[Part] = []
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD)], stdin=subprocess.PIPE, start_new_session=True
        )
        self._interrupted = threading.Event()
        self._interruptions = 0

    def start(self, name: str, *command: str, **environ: str) -> Part:
        part = Part(name, command, environ)
        self.running.append(part)
        assert self._guard.stdin is not None
        self._guard.stdin.write(b"%d\n" % part.process.pid)
        self._guard.stdin.flush()
        return part

    @property
    def is_interrupted(self) -> bool:
        return self._interrupted.is_set()

    def until_the_end(self) -> int:
        """Wait for Ctrl-C, or for the first part that ends by itself. Return the exit code."""
        while not self._interrupted.wait(LOOK_EVERY):
            for part in self.running:
                if not part.runs:
                    click.echo(f"{part.name} has ended by itself, with exit code {part.process.returncode}", err=True)
                    return 1
        return 0

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Take a Ctrl-C: the first ends everything in order, the second at once."""
        self._interruptions += 1
        self._interrupted.set()
        if self._interruptions == 1:
            click.echo("ending: running tasks may finish; Ctrl-C again ends them at once", err=True)

    def end(self) -> None:
        """End the site and the worker, and then the server that both use."""
        first = [part for part in self.running if part.name != "server"]
        for part in first:
            part.tell(signal.SIGTERM)
        while any(part.runs for part in first) and self._interruptions < 2:
            with contextlib.suppress(subprocess.TimeoutExpired):
                next(part for part in first if part.runs).process.wait(LOOK_EVERY)
        for part in first:
            part.end()
        for part in self.running:
            if part not in first:
                part.tell(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    part.process.wait(LAST_MOMENT)
                part.end()
        self._guard.communicate()  # it sees that nothing is left, and ends


@click.command(
    help="Run a Temporal server, the site of CONFIG (an ini file) and a worker together, for development. The site and "
    "the worker start anew when a file changes. One Ctrl-C ends all of them."
)
@click.argument("config", required=False)
@click.option("--no-server", is_flag=True, help="Start no Temporal server.")
@click.option("--no-web", is_flag=True, help="Start no site.")
@click.option("--no-worker", is_flag=True, help="Start no worker.")
@click.option("-l", "--loglevel", default="info", show_default=True, help="Of the worker.")
@click.pass_context
def command(
    ctx: click.Context, config: str | None, no_server: bool, no_web: bool, no_worker: bool, loglevel: str
) -> None:
    common = ctx.ensure_object(Common)
    config = config or common.config
    if config is None or not Path(config.partition("#")[0]).is_file():
        raise click.UsageError(f"there is no file {config!r}; name the application's ini file")
    with failing_in_one_line():
        address = address_in(config, common.ini_variables)
        if not no_web:
            refuse_without_a_site(config)
    variables = [f"{key}={value}" for key, value in common.ini_variables.items()]
    with ending() as parts:
        if not no_server:
            start_server(parts, address)
        if not no_web and not parts.is_interrupted:
            parts.start("web", sys.executable, "-m", "pyramid.scripts.pserve", "--reload", config, *variables)
        if not no_worker and not parts.is_interrupted:
            ours = [word for each in variables for word in ("--ini-var", each)]
            parts.start("worker", *OURSELVES, *ours, "worker", config, "--reload", "-l", loglevel)
        code = parts.until_the_end()
    ctx.exit(code)


@contextlib.contextmanager
def ending() -> Iterator[Parts]:
    """End every part at the end of the block, whatever happens."""
    parts = Parts()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, parts.interrupt)
    try:
        yield parts
    finally:
        parts.end()


def start_server(parts: Parts, address: str) -> None:
    """Start a server at the address of the ini, unless it is another machine's, or one runs there already."""
    host, port = host_and_port(address)
    if host not in HERE:
        click.echo(f"the server at {address} is on another machine: it is used as it is")
    elif not port_is_free("127.0.0.1" if host == "localhost" else host, port):
        click.echo(f"something listens at {address} already: it is used as the server")
    else:
        server = parts.start("server", *OURSELVES, "server", "--port", str(port))
        until = time.monotonic() + PATIENCE
        while not (server.is_ready.wait(LOOK_EVERY) or parts.is_interrupted or time.monotonic() > until):
            pass
        if not parts.is_interrupted and not (server.is_ready.is_set() and server.runs):
            raise click.ClickException("the Temporal server did not start; its lines above say why")


def address_in(config: str, variables: Mapping[str, str]) -> str:
    """Return the server's address in the settings of an ini.

    The application is not loaded: while it can't be, its site and its worker wait for the file that mends it.
    """
    loader = get_config_loader(config)
    sections = [name for name in loader.get_sections() if name.startswith("app:")]
    settings = {key: value for name in sections for key, value in loader.get_settings(name, variables).items()}
    conf = Settings()
    conf.add_ini(from_pyramid(settings, celery_sections(config.partition("#")[0], variables)))
    return connection(conf).address


def refuse_without_a_site(config: str) -> None:
    """Raise if pserve could not serve the ini."""
    if not any(name.startswith("server:") for name in get_config_loader(config).get_sections()):
        raise ImproperlyConfigured(f"{config} has no [server:main], so there is no site to start; add it, or --no-web")
