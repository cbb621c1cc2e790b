"""Commands that other packages add: through the entry point group `celery.commands`, as for Celery."""

from __future__ import annotations

import functools
from collections.abc import Container
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from ..log_lines.text_safety import one_line
from .common import Common, importing

GROUP = "celery.commands"


@functools.cache
def plugin_commands() -> dict[str, EntryPoint]:
    """Return where each command is defined, by its name. Nothing is imported."""
    return {found.name: found for found in entry_points(group=GROUP)}


def plugin_command(name: str) -> click.Command | None:
    """Return the command of this name. Warn in one line, and return None, if it can't be imported."""
    found = plugin_commands().get(name)
    if found is None:
        return None
    from ..as_celery import install_as_celery  # most of the package, which `--help` does not need

    try:
        with importing():
            install_as_celery()  # the command was written for Celery
            command = found.load()
        if not isinstance(command, click.Command):
            raise TypeError(f"{found.value} is no command of click")
    except Exception as error:
        reason = one_line(" ".join(f"{type(error).__name__}: {error}".split()))
        click.echo(f"warning: the command {name!r} of {found.value} can't be loaded: {reason}", err=True)
        return None
    return with_celerys_context(command)


def plugin_lines(taken: Container[str]) -> list[tuple[str, str]]:
    """Return the name and one line of help of each command that other packages add under a name of its own."""
    found = {name: plugin_command(name) for name in sorted(plugin_commands()) if name not in taken}
    return [(name, command.get_short_help_str()) for name, command in found.items() if command is not None]


def with_celerys_context(command: click.Command) -> click.Command:
    """Have the command run with what Celery gives as `ctx.obj`."""
    from .plugin_context import PluginContext  # imports Pyramid, which `--help` does not need

    invoke = command.invoke

    def run(ctx: click.Context) -> Any:
        ctx.obj = PluginContext(ctx.ensure_object(Common))
        return invoke(ctx)

    command.invoke = run  # type: ignore[method-assign]
    return command
