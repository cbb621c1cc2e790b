"""A command that also takes the options that the app of `-A` adds in `app.user_options`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import click

from .. import signals
from ..celery_names.user_options import own_options
from ..interfaces import AppLike
from .bootstrap import app_by_name
from .common import Common
from .errors import failing_in_one_line


class AppCommand(click.Command):
    """Takes the app's `preload` options, and tells them to the application before the command runs.

    An option of the app takes the place of the command's own option of the same name. So `--ini` is the application's
    where the application has one, and it loads the ini itself, as pyramid_celery does.
    """

    kinds: tuple[str, ...] = ("preload",)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        app = loaded(ctx)
        added = [option for kind in self.kinds for option in own_options(app, kind)]
        names = {option.name for option in added}
        return [parameter for parameter in super().get_params(ctx) if parameter.name not in names] + added

    def invoke(self, ctx: click.Context) -> Any:
        app = loaded(ctx)
        names = {option.name for option in own_options(app, "preload")}
        if app is not None and names:
            given = {name: ctx.params.pop(str(name)) for name in names}
            for parameter in self.params:
                if parameter.name in names:
                    ctx.params[parameter.name] = None if not parameter.multiple else ()
            signals.user_preload_options.send(sender=self, app=app, options=given)
        return super().invoke(ctx)


class IniCommand(AppCommand):
    """Takes the application as its first argument, CONFIG, or before the command: from `--ini`, or from `-A`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        common = ctx.ensure_object(Common)
        names_an_ini = any(word.partition("#")[0].endswith(".ini") for word in args)
        if common.config is not None:
            args = [common.config, *args]
        elif common.app is not None and not names_an_ini:
            args = ["", *args]
        return super().parse_args(ctx, args)


class WorkerCommand(AppCommand):
    """Takes the app's `worker` options too, and `-A` behind the command, as Celery 4 did."""

    kinds = ("worker", "preload")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # The app says which other options there are, so it has to be known before they are read.
        common = ctx.ensure_object(Common)
        common.name_app(value_of(args, "-A", "--app"))
        common.debug = (value_of(args, "-l", "--loglevel") or "").upper() == "DEBUG"
        return super().parse_args(ctx, args)


def loaded(ctx: click.Context) -> AppLike | None:
    """Return the app of `-A`. The app that an ini names is not known before the command runs."""
    with failing_in_one_line():
        return app_by_name(ctx.ensure_object(Common))


def value_of(args: Sequence[str], short: str, long: str) -> str | None:
    """Return the value of an option in a command line that is not parsed yet."""
    for word, following in zip_longest(args, args[1:]):
        if word in (short, long):
            return following
        if word.startswith(f"{long}="):
            return word[len(long) + 1 :]
        if word.startswith(short) and not word.startswith("--"):
            return word[len(short) :]
    return None
