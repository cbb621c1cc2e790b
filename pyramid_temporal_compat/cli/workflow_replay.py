"""`ptemporal-compat workflow replay app.ini HISTORY.json…`: checks this code against histories of production."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..log_lines.text_safety import one_line
from .ask_server import JSON
from .common import Common
from .errors import EXIT_FAILED, failing_in_one_line
from .workflow_command import WorkflowCommand, app_and_work

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from ..native.served_work import ServedWork


@click.command(
    cls=WorkflowCommand,
    help="Replay histories with the code of this application's workflows and tasks. The command exits with 1 if the "
    "code no longer makes the steps that a history records. A history is a file that the web UI downloads, or that "
    "`temporal workflow show --output json` prints. A directory stands for its *.json files.",
)
@click.argument("words", nargs=-1, metavar="[CONFIG] HISTORY...")
@JSON
@click.pass_context
def replay(ctx: click.Context, /, words: tuple[str, ...], as_json: bool) -> None:
    common = ctx.ensure_object(Common)
    with failing_in_one_line():
        files = list(words)
        if common.config is None and not common.name and common.app is None and files:
            common.config = files.pop(0)
        paths = [path for file in files for path in histories_at(Path(file))]
        if not paths:
            raise click.UsageError("it takes [CONFIG] HISTORY...: files of histories, or directories with such files")
        app, work = app_and_work(common)
        rows = asyncio.run(replayed(app, work, paths))
        app.close()
        if as_json:
            click.echo(json.dumps(rows))
        for row in () if as_json else rows:
            click.echo(
                one_line(f"{'FAILED' if row['error'] else 'ok':6}  {row['file']}  {row['error'] or ''}".rstrip())
            )
        ctx.exit(EXIT_FAILED if any(row["error"] for row in rows) else 0)


async def replayed(app: AppLike, work: ServedWork, paths: list[Path]) -> list[dict[str, Any]]:
    """Replay histories. Return a dict for each, with the error; None for a history that went as it had gone."""
    from ..client.forwarded_log import forward_default_runtime
    from ..native.replay import replay as replay_histories  # imports temporalio's workers

    forward_default_runtime()  # else the client library writes its own lines to the terminal
    definitions = work.definitions
    failures = await replay_histories(
        paths,
        definitions.targets("workflow"),
        definitions.targets("activity"),
        app.registry,
        app.client_options(),
    )
    errors = {failure.file: " ".join(str(failure.error).split()) for failure in failures}
    return [{"file": str(path), "error": errors.get(path)} for path in paths]


def histories_at(path: Path) -> list[Path]:
    """Return the files of histories at a path. Raise if it has none."""
    if path.is_dir():
        return sorted(path.glob("*.json"))
    if not path.is_file():
        raise click.UsageError(f"there is no history {str(path)!r}; it is a file, or a directory of *.json files")
    return [path]
