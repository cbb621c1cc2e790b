"""The commands of Celery that are refused here. Each says in one sentence what to use."""

from __future__ import annotations

from typing import NoReturn

import click

from ..celery_names.refused_commands import REFUSED_COMMANDS
from .errors import EXIT_USAGE


def refused_command(name: str) -> click.Command:
    """Return a command that takes any words and any options, and refuses them with the sentence of its name."""

    @click.command(
        name,
        help=f"Refused. {REFUSED_COMMANDS[name]}",
        hidden=True,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def command() -> None:
        refuse(name)

    return command


class Refused(click.ClickException):
    """A command of Celery's has no meaning here. The message says what to use."""

    exit_code = EXIT_USAGE


def refuse(name: str) -> NoReturn:
    """End the command with the sentence that refuses it."""
    raise Refused(f"{name} is refused here. {REFUSED_COMMANDS[name]}")
