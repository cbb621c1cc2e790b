"""`ptemporal-compat workflow replay app.ini HISTORY.json…`: checks this code against histories of production."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..exceptions import ImproperlyConfigured
from ..log_lines.text_safety import one_line
from .ask_server import JSON
from .common import Common
from .errors import EXIT_FAILED, failing_in_one_line
from .workflow_command import WorkflowCommand, app_and_work

if TYPE_CHECKING:
    from temporalio.client import WorkflowHistory

    from ..interfaces import AppLike
    from ..native.served_work import ServedWork


@click.command(
    cls=WorkflowCommand,
    help="Replay histories with the workflows of this application, and of its tasks. It exits with 1 if one of them "
    "would go another way than it went. A history is a file of the web UI's download, or of `temporal workflow show "
    "--output json`; a directory stands for its *.json files.",
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
        histories = [history_in(path) for path in paths]
        failures = asyncio.run(failures_of(app, work, histories))
        app.close()
        rows = [
            {"file": str(path), "id": history.workflow_id, "events": len(history.events), "error": failure}
            for path, history, failure in zip(paths, histories, failures, strict=True)
        ]
        if as_json:
            click.echo(json.dumps(rows))
        for row in () if as_json else rows:
            click.echo(one_line(f"{'FAILED' if row['error'] else 'ok':6}  {row['file']}  {row['error'] or row['id']}"))
        ctx.exit(EXIT_FAILED if any(failures) else 0)


def histories_at(path: Path) -> list[Path]:
    """Return the files of histories at a path. Raise if it has none."""
    if path.is_dir():
        return sorted(path.glob("*.json"))
    if not path.is_file():
        raise click.UsageError(f"there is no history {str(path)!r}; it is a file, or a directory of *.json files")
    return [path]


def history_in(path: Path) -> WorkflowHistory:
    """Return the history in a file."""
    from temporalio.client import WorkflowHistory

    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        history = WorkflowHistory.from_json(path.stem, content)
        started = history.events[0].workflow_execution_started_event_attributes
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ImproperlyConfigured(f"{path} holds no history of a workflow: {text}") from None
    return WorkflowHistory(started.workflow_id or path.stem, history.events)


async def failures_of(app: AppLike, work: ServedWork, histories: list[WorkflowHistory]) -> list[str | None]:
    """Return the failure of each replay; None for one that went as it had gone."""
    from temporalio.worker import Replayer

    from ..payload.converter import data_converter
    from ..worker.workflows.task_workflow import TaskWorkflow

    workflows, activities = work.definitions.targets("workflow"), work.definitions.targets("activity")
    replayer = Replayer(
        workflows=[TaskWorkflow, *workflows],
        workflow_runner=work.workflow_runner(activities, workflows),
        data_converter=data_converter(app.codecs()),
        namespace=app.temporal.settings.namespace,
    )
    failures: list[str | None] = []
    for history in histories:
        outcome = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        failures.append(None if outcome.replay_failure is None else " ".join(str(outcome.replay_failure).split()))
    return failures
