"""Writes the generated parts of `cli.md`, `imports.md` and `rules.md`.

`python migration_guide/reference_pages.py` writes the pages anew; `tests/test_reference_pages.py` fails when they are
out of date. (`settings.md` has a generator of its own: `python -m pyramid_temporal_compat.settings`.)
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from pyramid_temporal_compat import unsupported
from pyramid_temporal_compat.as_celery.name_table import MODULES
from pyramid_temporal_compat.cli import group as program
from pyramid_temporal_compat.cli.app_command import AppCommand, naming_options
from pyramid_temporal_compat.migrate.homes import home
from pyramid_temporal_compat.migrate.rules import TABLE, Fix, Rule

HERE = Path(__file__).parent
BEGIN = "<!-- made by `python migration_guide/reference_pages.py` -->\n"
END = "<!-- end of the generated part -->\n"
WIDTH = 110
NO_BREAK = "\N{NO-BREAK SPACE}"

COMMON: tuple[tuple[str, str], ...] = (
    ("celery", "Celery"),
    ("celery", "shared_task"),
    ("celery", "Task"),
    ("celery", "chain, chord, group, signature"),
    ("celery", "current_app, current_task"),
    ("celery.utils", "uuid"),
    ("celery.utils.log", "get_task_logger"),
    ("celery.result", "AsyncResult"),
    ("celery.result", "GroupResult, ResultSet"),
    ("celery.result", "allow_join_result"),
    ("celery.states", "FAILURE, PENDING, SUCCESS"),
    ("celery.signals", "task_prerun, task_postrun, task_failure"),
    ("celery.signals", "worker_process_init, worker_ready"),
    ("celery.exceptions", "Ignore, Reject, Retry"),
    ("celery.exceptions", "MaxRetriesExceededError"),
    ("celery.exceptions", "SoftTimeLimitExceeded, TimeLimitExceeded"),
    ("celery.exceptions", "OperationalError, TimeoutError, WorkerLostError"),
    ("celery.schedules", "crontab, schedule"),
    ("celery.contrib.abortable", "AbortableAsyncResult, AbortableTask"),
    ("celery.worker.control", "control_command, inspect_command"),
    ("celery.contrib.testing.worker", "start_worker"),
    ("kombu", "Exchange, Queue, binding"),
    ("kombu.exceptions", "EncodeError, OperationalError"),
    ("kombu.serialization", "register"),
    ("kombu.utils.json", "register_type"),
    ("billiard", "Process, cpu_count"),
    ("billiard.exceptions", "SoftTimeLimitExceeded"),
)
"""The names that applications import most, as they import them."""

NAMING = {option.name for option in naming_options()}
"""Options that nearly every command has: the page explains them once."""
VALUES = {"integer": "N", "integer range": "N", "float": "NUMBER", "float range": "NUMBER"}


def refreshed(page: str, part: str) -> str:
    """Return `page` with `part` between its two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for its generated part: it needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{part.strip()}\n\n{END}{after}"


# --- cli.md ------------------------------------------------------------------------------------------


def commands() -> str:
    """Return the sections of all commands, in Markdown."""
    return "\n\n".join(_sections(program, "ptemporal-compat"))


def _sections(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *_words(command, context)])
    title = f"## `{usage}`" if command is not program else "## Options before the command"
    yield "\n\n".join([title, command.help or "", *_options(command)])
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _sections(found, f"{name} {child}")


def _words(command: click.Command, context: click.Context) -> list[str]:
    """Return the words that a command takes beside its options."""
    if isinstance(command, click.Group):
        return []
    options = command.options_metavar or ""
    return [piece for piece in command.collect_usage_pieces(context) if piece != options]


def _options(command: click.Command) -> Iterator[str]:
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    names_the_application = isinstance(command, AppCommand)
    shown = [
        option for option in options if not option.hidden and not (names_the_application and option.name in NAMING)
    ]
    hidden = [option.opts[-1] for option in options if option.hidden]
    if shown:
        rows = [f"| {_names(option)} | {_meaning(option, command)} |" for option in shown]
        yield "\n".join(["| option | meaning |", "| --- | --- |", *rows])
    if names_the_application:
        yield "`-A`, `--ini` and `--ini-var` name the application, as [before it](#options-before-the-command)."
    if hidden:
        names = ", ".join(f"`{name}`" for name in sorted(hidden))
        yield f"Celery's options that have no effect here: {names}. The command says what replaces each."


def _names(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names if option.is_flag else f"{names} {_value(option)}"


def _value(option: click.Option) -> str:
    kind = VALUES.get(option.type.name, option.type.name.upper())
    return f"*{option.metavar if option.metavar and not _choices(option) else kind}*"


def _meaning(option: click.Option, command: click.Command) -> str:
    parts = [_cell(option.help or "")]
    if choices := _choices(option):
        parts.append("One of " + ", ".join(f"`{choice}`" for choice in choices) + ".")
    show = option.show_default if option.show_default is not None else command.context_settings.get("show_default")
    if isinstance(show, str):
        parts.append(f"Default: {show}.")
    elif show and not option.is_flag and isinstance(option.default, (int, float, str)):
        parts.append(f"Default: `{option.default}`.")
    return " ".join(part for part in parts if part)


def _choices(option: click.Option) -> list[str]:
    if option.metavar and "|" in option.metavar:
        return option.metavar.split("|")
    return [str(choice) for choice in option.type.choices] if isinstance(option.type, click.Choice) else []


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("__", "\\_\\_")


# --- imports.md --------------------------------------------------------------------------------------


def imports() -> str:
    """Return the tables of names, in Markdown."""
    parts = ["## The names that applications use most\n", "| Celery | here |", "| --- | --- |"]
    for module, names in COMMON:
        parts.append(f"| `from {module} import {names}` | {_ours(module, names.split(', '))} |")
    parts += ["\n## All names, by Celery's module", *_modules(), "\n## Names that are refused\n", *_refused()]
    return "\n".join(parts)


def _ours(module: str, names: list[str]) -> str:
    return "<br>".join(f"`from {ours} import {', '.join(found)}`" for ours, found in _homes(module, names).items())


def _homes(module: str, names: list[str]) -> dict[str, list[str]]:
    """Group these names of Celery's `module` by the module to import them from here."""
    homes: dict[str, list[str]] = {}
    for theirs in names:
        place = home(module, theirs)
        if place is not None:
            homes.setdefault(place.module, []).append(theirs if place.name == theirs else f"{place.name} as {theirs}")
    return homes


def _modules() -> Iterator[str]:
    for module, names in MODULES.items():
        if names:
            lines = [_statement(place, found) for place, found in _homes(module, sorted(names)).items()]
            yield "\n".join([f"\n### `{module}`\n", "```python", *lines, "```"])


def _statement(place: str, names: list[str]) -> str:
    """Return one import line, or several if it would be too long."""
    start = f"from {place} import "
    parts = textwrap.wrap(
        ", ".join(name.replace(" ", NO_BREAK) for name in names), WIDTH - len(start), break_long_words=False
    )
    return "\n".join(start + part.rstrip(",").replace(NO_BREAK, " ") for part in parts)


def _refused() -> Iterator[str]:
    """One row for each sentence, with the names that it holds for."""
    by_sentence: dict[str, list[str]] = {}
    for name, sentence in unsupported().items():
        if not name.startswith("conf."):
            by_sentence.setdefault(sentence, []).append(f"`{name}`")
    yield "| names | why, and what to use instead |\n| --- | --- |"
    for sentence, names in by_sentence.items():
        yield f"| {', '.join(names)} | {_cell(sentence)} |"


# --- rules.md ----------------------------------------------------------------------------------------

SUBJECTS = {
    "1": "Imports",
    "2": "Glue",
    "3": "Task classes and result backends",
    "4": "Apps and settings",
    "5": "Periodic tasks",
    "6": "Commands",
    "7": "Packages and tests",
    "8": "Calls and runs",
    "9": "The live broker",
}
FIXES = {
    Fix.SAFE: "`migrate rewrite` does it.",
    Fix.UNSAFE: "`migrate rewrite --unsafe` does it where it can.",
    Fix.NONE: "By hand.",
}


def rules() -> str:
    """Return one section for each rule, in Markdown."""
    return "\n\n".join(
        "\n\n".join([f"## {subject}", *(_rule(rule) for rule in TABLE if rule.code[len("PTC")] == digit)])
        for digit, subject in SUBJECTS.items()
    )


def _rule(rule: Rule) -> str:
    """Return the section of a rule. Its heading is the code alone, so that `#ptc101` is its anchor."""
    parts = [
        f"### {rule.code}",
        f"**{rule.title}.** Severity: {rule.severity.value}.",
        f"- *Finds:* {rule.finds}\n- *What happens here:* {rule.here}\n- *What to do:* {rule.todo} {FIXES[rule.fix]}",
    ]
    if rule.example:
        parts.append(f"```text\n{rule.example}\n```")
    return "\n\n".join(parts)


PAGES = {"cli.md": commands, "imports.md": imports, "rules.md": rules}


def main() -> None:
    for name, part in PAGES.items():
        page = HERE / name
        page.write_text(refreshed(page.read_text(encoding="utf-8"), part()), encoding="utf-8")


if __name__ == "__main__":
    main()
