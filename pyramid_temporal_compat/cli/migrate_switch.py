"""`ptemporal-compat migrate switch show|set|unset|back app.ini`: which calls go to Temporal, and which to Celery."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..log_lines.text_safety import one_line
from .app_command import IniCommand
from .ask_server import JSON, load
from .common import Common
from .errors import failing_in_one_line

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from ..switch.kept import KeptRules
    from ..switch.rules import Rules

CONFIG = click.argument("config")
EVERYTHING = "*"


@click.group(
    help="Say which calls of the application in CONFIG (an ini file), or of --ini or -A, go to Temporal and which to "
    "Celery. Each process follows within seconds. ptemporal.switch says where the rules are kept."
)
def switch() -> None:
    pass


@contextlib.contextmanager
def opened(common: Common, config: str) -> Iterator[tuple[AppLike, KeptRules]]:
    from ..switch.kept import kept_rules  # the database only for these commands

    with failing_in_one_line():
        app = load(common, config)
        try:
            yield app, kept_rules(app)
        finally:
            app.close()


@switch.command("show", cls=IniCommand, help="Show the rules, in the order in which they are asked.")
@CONFIG
@JSON
@click.pass_obj
def show(common: Common, config: str, as_json: bool) -> None:
    with opened(common, config) as (_, kept):
        rules = kept.read()
        if as_json:
            click.echo(json.dumps({"where": kept.where, **rules.plain()}))
        else:
            say(kept, rules)


@switch.command(
    "set",
    cls=IniCommand,
    help="Give the calls of the tasks that match PATTERN to one side, such as 'reports.*'. A pattern queue:NAME "
    "matches the calls on queues.",
)
@CONFIG
@click.argument("pattern")
@click.option("--to", "side", required=True, type=click.Choice(["temporal", "celery"]), help="The side.")
@click.option(
    "--percent",
    type=click.FloatRange(0, 100),
    default=100,
    show_default=True,
    help="Give the side only this share of the calls, and the others to the other side.",
)
@click.pass_obj
def set_rule(common: Common, config: str, pattern: str, side: str, percent: float) -> None:
    from ..switch.rules import Rule

    with opened(common, config) as (app, kept):
        rule = Rule(pattern, percent if side == "temporal" else 100 - percent)
        store(app, kept, kept.read().with_rule(rule))


@switch.command("unset", cls=IniCommand, help="Remove the rule of PATTERN.")
@CONFIG
@click.argument("pattern")
@click.pass_obj
def unset(common: Common, config: str, pattern: str) -> None:
    with opened(common, config) as (app, kept):
        before = kept.read()
        if pattern not in [rule.pattern for rule in before.ordered]:
            known = ", ".join(rule.pattern for rule in before.ordered) or "there are none"
            raise click.UsageError(f"no rule has the pattern {pattern!r}; the rules' patterns: {known}")
        store(app, kept, before.without(pattern))


@switch.command(
    "back",
    cls=IniCommand,
    help="Give the calls of PATTERN back to Celery. Without PATTERN: all calls, by one rule in the place of all rules.",
)
@CONFIG
@click.argument("pattern", required=False)
@click.pass_obj
def back(common: Common, config: str, pattern: str | None) -> None:
    from ..switch.rules import NO_RULES, Rule

    with opened(common, config) as (app, kept):
        before = NO_RULES if pattern is None else kept.read()
        store(app, kept, before.with_rule(Rule(EVERYTHING if pattern is None else pattern, 0)))


def store(app: AppLike, kept: KeptRules, rules: Rules) -> None:
    """Write the rules and print them. If they give a call to Celery, its broker has to be known."""
    from ..switch.route import broker_of

    if any(rule.temporal < 100 for rule in rules.ordered):
        broker_of(app)
    kept.write(rules)
    say(kept, rules)


def say(kept: KeptRules, rules: Rules) -> None:
    for rule in rules.ordered:
        click.echo(one_line(rule))
    click.echo("all other calls go to Temporal")
    click.echo(f"kept in {kept.where}", err=True)
