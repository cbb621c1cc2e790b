"""`ptemporal-compat migrate audit|rewrite|ini`: what a move from Celery takes, and most of it done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..exceptions import ImproperlyConfigured
from ..log_lines.text_safety import one_line
from .common import Common
from .errors import failing_in_one_line

if TYPE_CHECKING:
    from ..migrate.findings import SourceFile

EXIT_FOUND = 3
"""Exit code of `audit` if a finding is as severe as `--fail-on` says."""
SEVERITIES = ["blocks", "changes", "advice", "never"]
PATHS = click.argument("paths", nargs=-1, metavar="[PATH]...")


@click.group(help="Move an application from Celery: see what a move takes, and let most of it be done.")
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
@click.option("--backend", "backend_url", metavar="URL", help="Also count the results in this Redis of Celery's.")
@click.option("-Q", "--queues", multiple=True, help="Queues of the broker to look into, besides those of the code.")
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
    from ..migrate import report
    from ..migrate.audit import audit as read_sources
    from ..migrate.source_files import source_files

    with failing_in_one_line():
        result = read_sources(source_files(paths or (".",)))
        if ini or app:
            from .migrate_loaded import add_application

            add_application(ctx.ensure_object(Common), ini, app, result)
        if broker_url:
            from ..migrate.broker import look_into

            result.add(look_into(broker_url, queues, known={each.name for each in result.tasks}))
        if backend_url:
            from ..migrate.result_backend import count_results

            result.add(count_results(backend_url))
        click.echo(report.as_json(result) if as_json else "\n".join(report.as_text(result, everything=everything)))
        ctx.exit(EXIT_FOUND if _is_severe(result.findings, fail_on) else 0)


def _is_severe(findings: list, fail_on: str) -> bool:  # type: ignore[type-arg]
    from ..migrate.rules import ORDER, Severity

    least = {"blocks": Severity.BLOCKS, "changes": Severity.CHANGES, "advice": Severity.ADVICE}.get(fail_on)
    return least is not None and any(ORDER[each.severity] <= ORDER[least] for each in findings)


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
    from ..migrate.rewrite import counted, known_codes, rewrite_all
    from ..migrate.source_files import source_files

    with failing_in_one_line():
        codes = [code.strip().upper() for code in (select or "").split(",") if code.strip()]
        if unknown := known_codes(codes):
            raise ImproperlyConfigured(f"--select {', '.join(unknown)}: no rule has this code; an example is PTC101")
        results = rewrite_all(list(source_files(paths or (".",))), unsafe=unsafe, select=codes, mode=mode)
        for result in results:
            if action == "write":
                write(result.after)
            else:
                click.echo(result.diff(), nl=False)
        for line in counted(results):
            click.echo(line, err=action == "diff")
        done = "changed" if action == "write" else "would change; --write does it"
        click.echo(f"{len(results)} files {done}", err=action == "diff")


@group.command(
    help="Write Celery's settings of the ini file FILE as keys of the application's section: from [celery], "
    "[celerybeat:NAME] and the other sections, from old names, and with --from-module from a module. The other way: "
    "--to sections. Values and comments stay. What has no meaning here is left out, and named."
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
    from ..migrate.findings import Kind, SourceFile
    from ..migrate.ini_convert import to_keys, to_sections
    from ..migrate.rewrite import Rewritten
    from ..migrate.settings_modules import ModuleSettings, settings_of

    with failing_in_one_line():
        more = settings_of(read(module), module) if module else ModuleSettings([], [])
        for name in files:
            text = read(name)
            done = (
                to_sections(text, names=names)
                if to == "sections"
                else to_keys(text, address=address, names=names, more=more.pairs)
            )
            result = Rewritten(SourceFile(name, text, Kind.INI), SourceFile(name, done.text, Kind.INI))
            if action == "write":
                write(result.after)
            else:
                click.echo(result.diff(), nl=False)
            for note in (*done.notes, *more.notes):
                click.echo(one_line(f"{name}: {note}"), err=True)


def read(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{path!r} can't be read: {getattr(error, 'strerror', None) or error}") from None


def write(file: SourceFile) -> None:
    """Write a file with the line ends that it had."""
    with Path(file.path).open("w", encoding="utf-8", newline="") as stream:
        stream.write(file.text)
