"""`ptemporal-compat migrate drain --from URL`: what is left in Celery's broker, and a wait until nothing is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..celery_names.lists import split_names
from ..log_lines.text_safety import one_line
from .broker_options import FROM, TRANSPORT_OPTIONS, UNTESTED, broker_of
from .errors import failing_in_one_line
from .live_line import LiveLine, bar

if TYPE_CHECKING:
    from ..migrate.drain import Left

EXIT_LEFT = 3
"""Exit code if something is left."""


@click.command(
    help="Say what is left in Celery's broker: what waits in its queues, and what Celery's workers hold, with the "
    "farthest ETA. It takes no message. Exits with 0 if nothing is left, and with 3 otherwise. With --watch, it waits "
    "until nothing is left."
)
@FROM
@click.option(
    "-Q",
    "--queues",
    type=split_names,
    default="",
    metavar="NAMES",
    help="Only these queues, separated by commas; default: those that Redis lists, or `celery`.",
)
@click.option("--watch", is_flag=True, help="Wait until nothing is left.")
@UNTESTED
@TRANSPORT_OPTIONS
@click.option("--json", "as_json", is_flag=True, help="Print each change as a line of JSON, for programs.")
@click.pass_context
def drain(
    ctx: click.Context, url: str, queues: list[str], watch: bool, untested: bool, options: str, as_json: bool
) -> None:
    with failing_in_one_line():
        broker = broker_of(url, options, untested)
        from ..migrate.drain import Drain  # exceptions of the client library: 0.4 s, which --help does not need

        found = Drain(broker, queues)
        try:
            left = found.wait(Shown(as_json)) if watch else found.look()
        finally:
            found.close()
        if as_json and not watch:
            click.echo(json.dumps(left.as_dict()))
        elif not as_json:
            click.echo("\n".join(as_lines(left)))
        ctx.exit(EXIT_LEFT if left.total else 0)


class Shown:
    """Shows how a wait goes on."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._line = LiveLine()
        self._most = 0
        self._last = ""

    def __call__(self, left: Left) -> None:
        self._most = max(self._most, left.total)
        if self._as_json:
            text = json.dumps(left.as_dict())
            if text != self._last:
                click.echo(text)
            self._last = text
            return
        self._line.show(f"{bar(self._most - left.total, self._most)} {in_one_line(left)}")
        if not left.total:
            self._line.end()


def in_one_line(left: Left) -> str:
    """Return what is left, in one line."""
    parts = [f"{name} {count}" for name, count in left.waiting.items() if count]
    if left.held:
        until = f" until {left.farthest}" if left.farthest else ""
        parts.append(f"held by workers {left.held}{until}")
    if left.claimed:
        parts.append(f"held by a bridge {left.claimed}")
    return f"{left.total} left: {', '.join(parts)}" if parts else "nothing is left"


def as_lines(left: Left) -> Iterator[str]:
    """Yield what is left, and how to free it."""
    for name, count in left.waiting.items():
        yield one_line(f"queue {name}: {count} {'message waits' if count == 1 else 'messages wait'}")
    if left.claimed:
        yield f"a bridge holds {left.claimed} messages; what a killed one has left comes back when another one runs"
    if left.held:
        yield f"Celery's workers hold {left.held}" + (f"; the farthest ETA is {left.farthest}" if left.farthest else "")
        for name, worker in left.workers.items():
            yield one_line(f"  {name}: {worker.tasks}{f', until {worker.farthest}' if worker.farthest else ''}")
        if left.held > sum(worker.tasks for worker in left.workers.values()):
            yield "  some of them are of workers that do not answer"
        yield "To free them, stop the workers with SIGTERM: each ends what runs, and gives the rest back."
        if left.visibility_timeout is not None:
            yield (
                f"What a killed worker held comes back {left.visibility_timeout:g} s after it was taken "
                "(visibility_timeout), when a Celery worker or the bridge runs."
            )
    if not left.total:
        yield "nothing is left"
