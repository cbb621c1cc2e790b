"""The shape of commands that load an application: how a command line names it, and the options that it adds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import click

from .. import signals
from ..celery_names.user_options import own_options
from ..interfaces import AppLike
from .bootstrap import app_by_name
from .common import Common, ini_variables
from .errors import failing_in_one_line


def naming_options() -> list[click.Parameter]:
    """Return the options that name the application behind a command."""
    return [
        click.Option(["-A", "--app"], help="The app, as module or module:name."),
        click.Option(["--ini"], metavar="INI", help="The ini file of the Pyramid application."),
        click.Option(
            ["--ini-var"], metavar="KEY=VALUE", multiple=True, help="The value of %(KEY)s in the ini; may be repeated."
        ),
    ]


class AppCommand(click.Command):
    """Takes `-A`, `--ini` and `--ini-var` before and behind the command, and the app's `preload` options.

    The command tells the preload options to the application before it runs. An option of the app takes the place of the
    command's own option of the same name. So `--ini` is the application's where the application has one, and it loads
    the ini itself, as pyramid_celery does.
    """

    kinds: tuple[str, ...] = ("preload",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += naming_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # The app says which other options there are, so it has to be known before they are read.
        ctx.ensure_object(Common).name_app(value_of(args, "-A", "--app"))
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        added = [option for kind in self.kinds for option in own_options(loaded(ctx), kind)]
        names = {option.name for option in added}
        return [parameter for parameter in super().get_params(ctx) if parameter.name not in names] + added

    def invoke(self, ctx: click.Context) -> Any:
        app = loaded(ctx)
        names = {option.name for option in own_options(app, "preload")}
        if app is not None and names:
            given = {name: ctx.params.pop(str(name)) for name in names}
            for parameter in self.params:
                if parameter.name in names:
                    ctx.params[str(parameter.name)] = None if not parameter.multiple else ()
            signals.user_preload_options.send(sender=self, app=app, options=given)
        common = ctx.ensure_object(Common)
        del ctx.params["app"]  # `parse_args` has read it
        common.config = ctx.params.pop("ini") or common.config
        common.ini_variables |= ini_variables(ctx.params.pop("ini_var"))
        return super().invoke(ctx)


class CeleryCommand(AppCommand):
    """A command of Celery's. One of its words may be the application's ini file: `inspect app.ini active`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = next((at for at, word in self._words(args) if word.partition("#")[0].endswith(".ini")), None)
        if at is not None:
            ctx.ensure_object(Common).config = args[at]
            args = args[:at] + args[at + 1 :]
        return super().parse_args(ctx, args)

    def _words(self, args: Sequence[str]) -> Iterator[tuple[int, str]]:
        """Yield the words of a command line that are no option and no option's value, each with its place."""
        with_value = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag
            for name in option.opts
        }
        for at, word in enumerate(args):
            if not word.startswith("-") and (at == 0 or args[at - 1] not in with_value):
                yield at, word

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        options, *words = super().collect_usage_pieces(ctx)
        return [options, "[CONFIG]", *words]


class IniCommand(AppCommand):
    """Takes the application as its first argument, CONFIG, or by `--ini` or `-A`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        common = ctx.ensure_object(Common)
        common.name_app(value_of(args, "-A", "--app"))
        named = value_of(args, "--ini") or common.config
        names_an_ini = any(word.partition("#")[0].endswith(".ini") for word in args)
        if named is not None:
            args = [named, *args]
        elif common.app is not None and not names_an_ini:
            args = ["", *args]
        return super().parse_args(ctx, args)


class WorkerCommand(AppCommand):
    """Takes the app's `worker` options too."""

    kinds = ("worker", "preload")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.ensure_object(Common).debug = (value_of(args, "-l", "--loglevel") or "").upper() == "DEBUG"
        return super().parse_args(ctx, args)


def loaded(ctx: click.Context) -> AppLike | None:
    """Return the app of `-A`. The app that an ini names is not known before the command runs.

    Return None while the shell completes a word, which must not wait for an import for each key.
    """
    if ctx.resilient_parsing:
        return None
    with failing_in_one_line():
        return app_by_name(ctx.ensure_object(Common))


def value_of(args: Sequence[str], *names: str) -> str | None:
    """Return the value of an option in a command line that is not parsed yet."""
    short = tuple(name for name in names if not name.startswith("--"))
    for word, following in zip_longest(args, args[1:]):
        if word in names:
            return following
        name, equals, value = word.partition("=")
        if equals and name in names:
            return value
        if short and word.startswith(short) and not word.startswith("--"):
            return word[len(short[0]) :]
    return None
