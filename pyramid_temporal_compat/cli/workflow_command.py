"""The shape of the commands below `ptemporal-compat workflow`: how they name the application, and take arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..exceptions import OperationalError
from ..log_lines.text_safety import one_line
from ..worker.task_modules import load_tasks
from .app_command import AppCommand
from .ask_server import load
from .common import Common
from .errors import loading

if TYPE_CHECKING:
    from temporalio.client import Client

    from ..interfaces import AppLike
    from ..native.arguments import Given
    from ..native.served_work import ServedWork


class WorkflowCommand(AppCommand):
    """Takes lists of words for `--args` and `--kwargs`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(one_word_each(args)))


LISTS = ("--args", "--kwargs")


def one_word_each(args: Sequence[str]) -> Iterable[str]:
    """Yield a command line in which `--args 1 2` is `--args=1 --args=2`. A list ends at the next option.

    A negative number is a word of the list.
    """
    option: str | None = None
    for word in args:
        if word in LISTS:
            option = word
        elif word.startswith("-") and not word[1:2].isdigit():
            option = None
            yield word
        else:
            yield word if option is None else f"{option}={word}"


ARGUMENTS = (
    click.option("--args", multiple=True, metavar="VALUE...", help="The arguments, in their order."),
    click.option(
        "--kwargs", multiple=True, metavar="NAME=VALUE...", help="Arguments by the names of their parameters."
    ),
    click.option(
        "--input", "inputs", multiple=True, metavar="JSON", help="An argument as JSON; may be repeated, in their order."
    ),
)


def with_arguments(command: Any) -> Any:
    """Give a command the options `--args`, `--kwargs` and `--input`."""
    for option in reversed(ARGUMENTS):
        command = option(command)
    return command


def given(options: dict[str, Any]) -> Given:
    """Return the arguments of the command line."""
    from ..native.arguments import Given

    return Given(options["args"], options["kwargs"], options["inputs"])


def take_words(common: Common, words: Sequence[str], *names: str) -> Sequence[str]:
    """Return the words for `names`. One word more, in front of them, is the ini file."""
    if len(words) == len(names) + 1:
        common.config, *words = words
    if len(words) != len(names):
        raise click.UsageError(f"it takes [CONFIG] {' '.join(names)}, not {' '.join(words) or 'nothing'}")
    return words


def app_and_work(common: Common, domains: Iterable[str] | None = None) -> tuple[AppLike, ServedWork]:
    """Load the application, with its tasks, workflows and activities, as a worker does."""
    from ..native.served_work import ServedWork

    app = load(common)
    with loading(common.named, debug=False):
        load_tasks(app)
        work = ServedWork(app, domains)
        work.load()
    return app, work


async def result_of(client: Client, workflow_id: str) -> Any:
    """Return the result of a workflow, once it has ended. Raise `OperationalError` if it has failed."""
    from temporalio.client import WorkflowFailureError

    try:
        return await client.get_workflow_handle(workflow_id).result()
    except WorkflowFailureError as error:
        raise OperationalError(f"{workflow_id} has no result: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """Return what a failure says, with the failures that caused it."""
    from temporalio.exceptions import ApplicationError

    texts = [str(error)]
    while (cause := getattr(error, "cause", None) or error.__cause__) is not None:
        error = cause
        kind = error.type if isinstance(error, ApplicationError) else None
        texts.append(f"{kind or type(error).__name__}: {getattr(error, 'message', error)}")
    return one_line("; ".join(texts))
