"""What the shell completes: names of tasks, queues and workers of the application that the command line names.

`eval "$(_PTEMPORAL_COMPAT_COMPLETE=bash_source ptemporal-compat)"` switches it on; zsh and fish have a `…_source` too.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ..worker.task_modules import load_tasks
from .ask_server import ask, load
from .common import Common, ini_variables

if TYPE_CHECKING:
    from ..interfaces import AppLike

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
ANSWER_TIMEOUT = 3.0
"""Seconds that a person waits for the names after the tab key."""


def completing(names: Callable[[AppLike], Iterable[str]]) -> Complete:
    """Return what click calls to complete a word with the names that `names` returns for the application."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the shell reads stdout; the application may print there
                found = sorted(names(load(named_so_far(ctx))))
        except (Exception, SystemExit):  # the shell would show a traceback in the middle of the line
            return []
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]

    return complete


def completing_list(names: Callable[[AppLike], Iterable[str]]) -> Complete:
    """Return the same as `completing`, for names with commas between them."""
    complete_one = completing(names)

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        done, comma, begun = incomplete.rpartition(",")
        return [CompletionItem(f"{done}{comma}{item.value}") for item in complete_one(ctx, parameter, begun)]

    return complete


def named_so_far(ctx: click.Context) -> Common:
    """Return how the command line names the application, before and behind the command. click runs no command then."""
    common = ctx.ensure_object(Common)
    level: click.Context | None = ctx
    while level is not None:
        given: dict[str, Any] = level.params
        common.name_app(None if common.app else given.get("app"))
        common.config = common.config or given.get("config") or given.get("ini")
        common.ini_variables |= ini_variables(given.get("ini_var") or ())
        level = level.parent
    return common


def task_names(app: AppLike) -> list[str]:
    """Return the names of the application's tasks."""
    load_tasks(app)
    found: list[str] = app.tasks.own()
    return found


def queue_names(app: AppLike) -> list[str]:
    """Return the queues that the application declares."""
    return list(app.amqp.queues)


def worker_names(app: AppLike) -> list[str]:
    """Return the workers that the server lists. No worker is asked, because a dead one would take the whole timeout."""
    from ..control.channel import directory  # imports the client library

    return list({address.node for address in ask(app, directory, ANSWER_TIMEOUT)})
