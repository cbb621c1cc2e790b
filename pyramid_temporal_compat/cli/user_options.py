"""Options that an application adds to the command line: `app.user_options["preload"].add(option)`.

Three kinds are in use: click's options (Celery 5), functions that add arguments to a parser (Celery 4), and
`celery.bin.Option` (Celery 3).
"""

from __future__ import annotations

from typing import Any

import click

FLAGS = {"store_true": True, "store_false": False}
"""The actions of argparse and optparse that take no value, and what they store."""


def Option(*declarations: str, action: str = "store", dest: str | None = None, **attributes: Any) -> click.Option:
    """Return click's option for the arguments of argparse's `add_argument` or optparse's `Option`."""
    known = {name: value for name, value in attributes.items() if name in ("default", "type", "help", "metavar")}
    if action in FLAGS:
        known |= {"is_flag": True, "flag_value": FLAGS[action], "default": attributes.get("default", not FLAGS[action])}
    elif action == "append":
        known["multiple"] = True
    return click.Option([*declarations, *([dest] if dest else [])], **known)


class ArgumentCollector:
    """What a function of Celery 4's kind gets in place of a parser. It collects the options."""

    def __init__(self) -> None:
        self.options: list[click.Parameter] = []

    def add_argument(self, *declarations: str, **attributes: Any) -> None:
        self.options.append(Option(*declarations, **attributes))

    add_option = add_argument

    def add_argument_group(self, *title: Any, **more: Any) -> ArgumentCollector:
        return self


def click_options(added: Any) -> list[click.Parameter]:
    """Return the options that one entry of `app.user_options` adds."""
    if isinstance(added, click.Parameter):
        return [added]
    collector = ArgumentCollector()
    added(collector)
    return collector.options
