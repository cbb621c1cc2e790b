"""`ptemporal-compat status`, `inspect` and `control`: ask running workers, and give them orders.

The worker's own table of commands, `control.command_registry.Panel`, says which commands there are and what arguments
each takes. So a command that an application adds for its workers is a command here, too.
"""

from __future__ import annotations

import inspect as signatures
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from ..celery_names.lists import split_names
from ..control import flatten_reply
from ..control.call_arguments import TIMEOUT
from ..control.control import DONE_BY_SERVER
from ..control.refused_calls import sentence_of
from ..control.worker_commands import Panel
from ..worker.task_modules import load_tasks
from .app_command import CeleryCommand
from .ask_server import load
from .common import Common
from .completion import completing, completing_list, queue_names, task_names, worker_names
from .errors import EXIT_UNAVAILABLE, failing_in_one_line, loading
from .refused import Refused
from .terminal import Terminal

if TYPE_CHECKING:
    from ..control.command_registry import CommandInfo
    from ..interfaces import AppLike

Reply = dict[str, Any]
COMPLETED_BY = {"task_name": completing(task_names), "queue": completing(queue_names)}
"""What completes an argument of a worker's command, by the argument's name."""
OPTIONS = (
    click.option(
        "-t",
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=TIMEOUT,
        show_default=True,
        help="Seconds that workers have to answer.",
    ),
    click.option(
        "-d",
        "--destination",
        type=split_names,
        metavar="NAMES",
        help="Only these workers; names with commas between them.",
        shell_complete=completing_list(worker_names),
    ),
    click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON, for programs."),
)


class NoReply(click.ClickException):
    """No worker answered in time."""

    exit_code = EXIT_UNAVAILABLE


class Order(NamedTuple):
    """A command for workers, as the command line gives it."""

    command: str
    arguments: dict[str, Any]
    timeout: float
    destination: list[str] | None

    def send(self, app: AppLike, terminal: Terminal | None, *, with_body: bool = True) -> list[Reply]:
        """Return the replies. Print each as it comes, unless there is no terminal. Raise if no worker answers."""

        def show(reply: Reply) -> None:
            if terminal is not None:
                terminal.show_reply(reply, with_body=with_body)

        replies: list[Reply] = app.control.broadcast(
            self.command,
            self.arguments,
            destination=self.destination,
            timeout=self.timeout,
            reply=True,
            callback=show,
        )
        app.close()
        if not replies and self.command not in DONE_BY_SERVER:
            asked = f"; no worker is named {', '.join(self.destination)}, or it is busy" if self.destination else ""
            raise NoReply(f"No nodes replied within time constraint ({self.timeout:g} s; -t sets another){asked}")
        return replies


def with_options(command: Any) -> Any:
    """Give a command the options of every question and order to workers."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def print_count(terminal: Terminal, replies: Sequence[Reply]) -> None:
    """Print how many workers answered, unless the terminal is quiet."""
    if not terminal.quiet:
        terminal.echo(f"\n{len(replies)} {'node' if len(replies) == 1 else 'nodes'} online.")


@click.command(cls=CeleryCommand, help="List the workers that answer. Exits with 69 if none does.")
@with_options
@click.pass_obj
def status(common: Common, timeout: float, destination: list[str] | None, as_json: bool) -> None:
    with failing_in_one_line(EXIT_UNAVAILABLE):
        terminal = Terminal(common.no_color, common.quiet)
        order = Order("ping", {}, timeout, destination)
        replies = order.send(load(common), None if as_json else terminal, with_body=False)
        if as_json:
            click.echo(json.dumps(flatten_reply(replies)))
        else:
            print_count(terminal, replies)


def completed_commands(kind: str) -> Any:
    """Return what completes the name of a command. It knows the commands of every worker, and loads no application."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [
            CompletionItem(name, help=info.help)
            for name, info in commands_of(kind).items()
            if name.startswith(incomplete)
        ]

    return complete


def complete_argument(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the next argument of a worker's command, as the command's table names it."""
    info = Panel.meta.get(ctx.params.get("command") or "")
    given = len(ctx.params.get("arguments") or ())
    names = [name for name, _ in (info.args or ())] if info else []
    complete = COMPLETED_BY.get(names[given]) if given < len(names) else None
    return complete(ctx, parameter, incomplete) if complete else []


def commands_of(kind: str) -> dict[str, CommandInfo]:
    """Return the commands of a kind, `inspect` or `control`, that workers answer."""
    return {name: info for name, info in sorted(Panel.meta.items()) if info.type == kind and info.visible}


def known_command(kind: str, name: str, app: AppLike) -> CommandInfo:
    """Return a command's entry in the table. Only if it is not there are the application's modules imported."""
    if sentence := sentence_of(kind, name):
        raise Refused(f"{kind} {name} is refused here. {sentence}")
    if name not in commands_of(kind):
        load_tasks(app)
    found = commands_of(kind)
    if name not in found:
        raise click.UsageError(f"Command {name} not recognized. Available {kind} commands: {', '.join(found)}")
    return found[name]


def arguments_of(name: str, info: CommandInfo, words: Sequence[str]) -> dict[str, Any]:
    """Return the words of a command line as the arguments that a worker's command takes."""
    declared = info.args or ()
    arguments: dict[str, Any] = {}
    for (argument, kind), word in zip(declared, words, strict=False):
        try:
            arguments[argument] = kind(word)
        except ValueError:
            raise click.UsageError(f"{word!r} is no value of {argument!r}; {usage_of(name, info)}") from None
    rest = list(words[len(declared) :])
    if info.variadic and rest:
        arguments[info.variadic] = rest
    elif rest:
        raise click.UsageError(f"{usage_of(name, info)}, not {' '.join(words)}")
    # The first parameter is the worker's state.
    needed = list(signatures.signature(Panel.data[name]).parameters.values())[1:]
    if any(
        each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
        for each in needed
        if each.name not in arguments
    ):
        raise click.UsageError(usage_of(name, info))
    return arguments


def usage_of(name: str, info: CommandInfo) -> str:
    """Return what a worker's command takes."""
    return f"Command {name!r} takes arguments: {info.signature or 'none'}"


def print_commands(kind: str) -> None:
    """Print the commands of a kind, as `--list` does."""
    formatter = click.HelpFormatter()
    with formatter.section(f"{kind.capitalize()} Commands"):
        formatter.write_dl(
            [(f"{name} {info.signature or ''}".rstrip(), info.help) for name, info in commands_of(kind).items()]
        )
    click.echo(formatter.getvalue(), nl=False)


def remote_command(kind: str, help: str) -> click.Command:
    """Return the command `inspect` or `control`."""

    @click.command(kind, cls=CeleryCommand, help=help)
    @click.argument("command", required=False, shell_complete=completed_commands(kind))
    @click.argument("arguments", nargs=-1, metavar="[ARGUMENT]...", shell_complete=complete_argument)
    @with_options
    @click.option("--list", "only_list", is_flag=True, help=f"List the {kind} commands, and end.")
    @click.pass_obj
    def run(
        common: Common,
        command: str | None,
        arguments: tuple[str, ...],
        timeout: float,
        destination: list[str] | None,
        as_json: bool,
        only_list: bool,
    ) -> None:
        with failing_in_one_line(EXIT_UNAVAILABLE):
            if only_list:
                if common.config or common.app:
                    load_tasks(load(common))
                print_commands(kind)
                return
            if command is None:
                raise click.UsageError(f"Missing argument 'COMMAND'; {kind} --list shows the commands")
            app = load(common)
            with loading(common.named):
                info = known_command(kind, command, app)
            order = Order(command, arguments_of(command, info, arguments), timeout, destination)
            terminal = Terminal(common.no_color, common.quiet)
            try:
                replies = order.send(app, None if as_json else terminal)
            except ValueError as error:  # no signal of that name
                raise click.UsageError(str(error)) from None
            if as_json:
                click.echo(json.dumps(flatten_reply(replies) if kind == "inspect" else replies, default=str))
            elif not replies:
                terminal.echo("no worker answered; the server carries the order out, and workers learn of it")
            elif kind == "inspect":
                print_count(terminal, replies)

    return run


inspect = remote_command(
    "inspect", "Ask workers a question, such as `active`; `--list` shows all. Exits with 69 if no worker answers."
)
control = remote_command(
    "control", "Give workers an order, such as `rate_limit`; `--list` shows all. Exits with 69 if no worker answers."
)
