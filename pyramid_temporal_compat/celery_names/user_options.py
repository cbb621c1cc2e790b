"""The options that an application adds to the commands, in `app.user_options`.

Each version of Celery has its own form of an option. Celery 5 has `click.Option`. Celery 4 has a function that adds
arguments to a parser of argparse. Celery 3 has `celery.bin.Option`, with the arguments of optparse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    import argparse

OPTPARSE_TYPES = {"string": str, "int": int, "long": int, "float": float}


class HasUserOptions(Protocol):
    """An app, as far as this module needs it."""

    user_options: dict[str, set[Any]]


class Option(click.Option):
    """`celery.bin.Option`: an option with optparse's arguments, such as `Option("--ini", default="app.ini")`."""

    def __init__(self, *names: Any, **attributes: Any) -> None:
        if names and isinstance(names[0], str):
            attributes["type"] = OPTPARSE_TYPES.get(attributes.get("type", "string"))
            if "action" in attributes:
                del attributes["type"]  # a flag has none
            names, attributes = (), _as_click(_parser().add_argument(*names, **attributes))
        super().__init__(*names, **attributes)


def own_options(app: HasUserOptions | None, kind: str) -> list[click.Parameter]:
    """Return the options of one kind (`preload` or `worker`) that the app adds."""
    added = app.user_options[kind] if app is not None else ()
    return [option for entry in added for option in _options(entry)]


def _options(entry: Any) -> Iterator[click.Parameter]:
    if isinstance(entry, click.Parameter):
        yield entry
        return
    parser = _parser()
    entry(parser)
    for action in parser._actions:
        yield click.Option(**_as_click(action))


def _parser() -> argparse.ArgumentParser:
    """Return a parser that has no options yet."""
    import argparse  # 0.3 MB, which only an application with options of its own needs

    return argparse.ArgumentParser(add_help=False)


def _as_click(action: argparse.Action) -> dict[str, Any]:
    """Return click's arguments for an option of argparse."""
    import argparse  # as in `_parser`, which the caller has called

    arguments: dict[str, Any] = {
        "param_decls": [*action.option_strings, action.dest],
        "default": action.default,
        "help": action.help,
    }
    if action.nargs == 0:
        return arguments | {"is_flag": True, "flag_value": action.const}
    kind: Any = click.Choice([str(choice) for choice in action.choices]) if action.choices else action.type
    return arguments | {"type": kind, "multiple": isinstance(action, argparse._AppendAction)}
