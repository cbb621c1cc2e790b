"""The options that choose tasks: `--failed --name 'shop.*' --since 2h`, or ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from .. import states
from .completion import completing, queue_names, task_names
from .workflow import moment_of

if TYPE_CHECKING:
    from ..observe.task_filter import TaskFilter

STATES = sorted([states.PENDING, states.STARTED, states.RETRY, states.SUCCESS, states.FAILURE, states.REVOKED])
UNENDED = (states.PENDING, states.STARTED, states.RETRY)

OPTIONS = (
    click.option("--failed", is_flag=True, help="Failed tasks: the same as --state FAILURE."),
    click.option(
        "--state",
        "chosen_states",
        multiple=True,
        type=click.Choice(STATES, case_sensitive=False),
        help="Tasks in this state; may be repeated.",
    ),
    click.option(
        "--name",
        metavar="GLOB",
        default="",
        help="Tasks with this name, such as 'shop.mails.*'.",
        shell_complete=completing(task_names),
    ),
    click.option(
        "-Q", "--queue", metavar="NAME", default="", help="Tasks of this queue.", shell_complete=completing(queue_names)
    ),
    click.option("--since", help="Tasks that began or ended since: a duration such as 2h, or a moment in UTC."),
    click.option(
        "--error",
        metavar="GLOB",
        default="",
        help="Tasks whose error matches, as `Type: text`; the rest of the text may be anything.",
    ),
    click.option("--arguments", metavar="TEXT", default="", help="Tasks with this text in their arguments."),
)


def choosing_tasks(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose tasks."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def chosen(options: Mapping[str, Any], otherwise: Sequence[str] = (), *, members: bool = False) -> TaskFilter:
    """Return the filter for the values of the options.

    :param otherwise: the states of the tasks if no option names a state.
    """
    from ..observe.task_filter import TaskFilter  # the client library: 0.4 s, which `--help` does not need

    named = {*options["chosen_states"], *((states.FAILURE,) if options["failed"] else ())}
    return TaskFilter(
        name=options["name"],
        states=frozenset(named or otherwise),
        queue=options["queue"],
        since=None if options["since"] is None else moment_of(options["since"]),
        error=options["error"],
        arguments=options["arguments"],
        members=members,
    )


def chooses_any(options: Mapping[str, Any]) -> bool:
    """Return whether an option chooses tasks at all. Without one, a command in bulk would act on every task."""
    return any(options.values())
