"""`ptemporal-compat migrate audit|rewrite|ini`: what a move from Celery takes, and most of it done."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

import click

from ..celery_names.lists import split_names
from ..exceptions import ImproperlyConfigured
from ..log_lines.text_safety import one_line
from ..migrate import report
from ..migrate.audit import audit as read_sources
from ..migrate.broker import look_into
from ..migrate.findings import Kind, SourceFile
from ..migrate.ini_convert import to_keys, to_sections
from ..migrate.result_backend import count_results
from ..migrate.rewrite import Rewritten, counted, rewrite_all, unknown_codes
from ..migrate.rules import Severity
from ..migrate.settings_modules import ModuleSettings, settings_of
from ..migrate.source_files import source_files
from .common import Common
from .errors import failing_in_one_line
from .refused import refuse

EXIT_FOUND = 3
"""Exit code of `audit` if a finding is as severe as `--fail-on` says."""
SEVERITIES = ["blocks", "changes", "advice", "never"]
"""Values of `--fail-on`: names of `Severity`, and `never`."""
PATHS = click.argument("paths", nargs=-1, metavar="[PATH]...")


class MigrateGroup(click.Group):
    """Imports the commands that load the application only when they run. Refuses `migrate SOURCE DESTINATION`,
    which is Celery's command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = self.list_commands(ctx)
        if any("://" in word for word in args) and not any(word in known for word in args):
            refuse("migrate")
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *LOADED_LATE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in LOADED_LATE:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(importlib.import_module(LOADED_LATE[cmd_name], __package__), cmd_name)
        return found


LOADED_LATE = {"bridge": ".migrate_bridge", "drain": ".migrate_drain", "switch": ".migrate_switch"}
"""Commands, each with its module, in which the command has its own name."""


@click.group(
    cls=MigrateGroup,
    help="Move an application from Celery: see what a move takes, let most of it be done, and run both sides at once.",
)
def group() -> None:
    pass


@group.command(
    help="Say what a move of the application in PATH (default: the current folder) takes. The code is read, and not "
    "imported. With --ini or -A, the application is loaded, too; with --broker, the messages of the live broker are "
    "counted, and left there. Exits with 3 if something blocks the move."
)
@PATHS
@click.option("--ini", metavar="INI", help="Also load the Pyramid application of this ini file.")
@click.option("-A", "--app", help="Also load this app, as module or module:name.")
@click.option("--broker", "broker_url", metavar="URL", help="Also look into this broker of Celery's.")
@click.option(
    "--backend", "backend_url", metavar="URL", help="Also count the results in this Redis or database of Celery's."
)
@click.option(
    "-Q",
    "--queues",
    multiple=True,
    help="Queues of the broker to look into, separated by commas. `celery` and the queues that Redis lists come by "
    "themselves.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of findings as JSON, for programs.")
@click.option("--all", "everything", is_flag=True, help="Show findings with nothing to do, too.")
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES),
    default="blocks",
    show_default=True,
    help="The least severity that makes the command exit with 3.",
)
@click.pass_context
def audit(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    ini: str | None,
    app: str | None,
    broker_url: str | None,
    backend_url: str | None,
    queues: tuple[str, ...],
    as_json: bool,
    everything: bool,
    fail_on: str,
) -> None:
    with failing_in_one_line():
        sources = source_files(paths or (".",))
        result = read_sources(sources.files)
        result.unreadable += sources.unreadable
        if ini or app:
            # It imports Pyramid and the worker, which a look at files does not need.
            from .migrate_loaded import add_application

            add_application(ctx.ensure_object(Common), ini, app, result)
        if broker_url:
            named = split_names(",".join(queues))
            result.add(look_into(broker_url, named, known={each.name for each in result.tasks}))
        if backend_url:
            result.add(count_results(backend_url))
        if as_json:
            click.echo(report.as_json(result))
            _say_on_stderr(report.not_read(result.unreadable))
        else:
            click.echo("\n".join(report.as_text(result, everything=everything)))
        severe = fail_on != "never" and result.has(Severity[fail_on.upper()])
        ctx.exit(EXIT_FOUND if severe else 0)


@group.command(
    help="Make the edits that the findings of `migrate audit` name, in the files of PATH (default: the current "
    "folder): the safe ones, or with --unsafe all of them. Formatting and comments stay."
)
@PATHS
@click.option("--diff", "action", flag_value="diff", default="diff", help="Print what would change (default).")
@click.option("--write", "action", flag_value="write", help="Change the files.")
@click.option("--unsafe", is_flag=True, help="Also make the edits that a person has to look at.")
@click.option("--select", metavar="CODES", help="Only these rules, separated by commas; PTC1 means all that begin so.")
@click.option(
    "--mode",
    type=click.Choice(["swap", "alias"]),
    default="swap",
    show_default=True,
    help="swap: change the imports. alias: call install_as_celery() instead, and change no import.",
)
def rewrite(paths: tuple[str, ...], action: str, unsafe: bool, select: str | None, mode: str) -> None:
    with failing_in_one_line():
        codes = split_names((select or "").upper())
        if unknown := unknown_codes(codes):
            raise ImproperlyConfigured(f"--select {', '.join(unknown)}: no rule has this code; an example is PTC101")
        sources = source_files(paths or (".",))
        results = rewrite_all(sources.files, unsafe=unsafe, select=codes, mode=mode)
        for result in results:
            _show_or_write(result, action)
        for line in counted(results):
            click.echo(line, err=action == "diff")
        done = "changed" if action == "write" else "would change; --write does it"
        click.echo(f"{len(results)} files {done}", err=action == "diff")
        _say_on_stderr(report.not_read(sources.unreadable))


@group.command(
    help="Write Celery's settings of the ini file FILE as keys of the application's section. The command reads "
    "[celery], [celerybeat:NAME] and Celery's other sections, and old names of settings. --from-module adds the "
    "settings of a Python module. --to sections goes the other way. Values and comments stay. Settings without a "
    "meaning here are left out, and the command names them."
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--to", type=click.Choice(["keys", "sections"]), default="keys", show_default=True, help="What to write.")
@click.option(
    "--names",
    type=click.Choice(["new", "old"]),
    default="new",
    show_default=True,
    help="Names to write.",
)
@click.option("--from-module", "module", metavar="MODULE.PY", help="Also take the settings that this file assigns.")
@click.option(
    "--address",
    default="localhost:7233",
    show_default=True,
    help="The Temporal server that takes the place of the broker, as host:port.",
)
@click.option("--diff", "action", flag_value="diff", default="diff", help="Print what would change (default).")
@click.option("--write", "action", flag_value="write", help="Change the files.")
def ini(files: tuple[str, ...], to: str, names: str, module: str | None, address: str, action: str) -> None:
    with failing_in_one_line():
        more = settings_of(_text_of(module), module) if module else ModuleSettings([], [])
        for name in files:
            text = _text_of(name)
            done = (
                to_sections(text, names=names)
                if to == "sections"
                else to_keys(text, address=address, names=names, more=more.pairs)
            )
            result = Rewritten(SourceFile(name, text, Kind.INI), SourceFile(name, done.text, Kind.INI))
            _show_or_write(result, action)
            _say_on_stderr(one_line(f"{name}: {note}") for note in (*done.notes, *more.notes))


def _say_on_stderr(lines: Iterable[str]) -> None:
    """Print lines for people. The standard output holds a diff or JSON, for programs."""
    for line in lines:
        click.echo(line, err=True)


def _show_or_write(result: Rewritten, action: str) -> None:
    """Print the diff of a file, or change the file. It keeps its line ends."""
    if action == "write":
        with Path(result.after.path).open("w", encoding="utf-8", newline="") as stream:
            stream.write(result.after.text)
    else:
        click.echo(result.diff(), nl=False)


def _text_of(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{path!r} can't be read: {getattr(error, 'strerror', None) or error}") from None
