"""`ptemporal-compat workflow list` and `start`: what an application defines, and how to start it."""

from __future__ import annotations

import difflib
import json
import uuid
from typing import TYPE_CHECKING, Any

import click

from ..exceptions import InvalidCall
from ..log_lines.text_safety import one_line
from .ask_server import ANSWER_TIMEOUT, JSON, ask, show
from .columns import in_columns
from .common import Common
from .errors import failing_in_one_line
from .workflow_command import WorkflowCommand, app_and_work, given, result_of, take_words, with_arguments

if TYPE_CHECKING:
    from temporalio.client import Client

    from ..interfaces import AppLike
    from ..native.served_work import ServedWork


@click.command(
    "list", cls=WorkflowCommand, help="List the workflows, activities and tasks that an application defines."
)
@click.argument("words", nargs=-1, metavar="[CONFIG]")
@click.option("--domain", "domains", multiple=True, help="List only this domain; may be repeated.")
@JSON
@click.pass_obj
def list_definitions(common: Common, words: tuple[str, ...], domains: tuple[str, ...], as_json: bool) -> None:
    with failing_in_one_line():
        take_words(common, words)
        app, work = app_and_work(common, domains or None)
        rows = rows_of(app, work)
        app.close()
        if as_json:
            click.echo(json.dumps(rows))
        elif rows:
            lines = [(row["kind"], row["name"], row["queue"] or "every queue", row["place"]) for row in rows]
            click.echo(in_columns([tuple(map(one_line, line)) for line in lines]))


def rows_of(app: AppLike, work: ServedWork) -> list[dict[str, Any]]:
    """Return what `list` prints, with one dict for each definition and each task."""
    from ..native.served_work import queue_of_task

    definitions = [
        {"kind": each.kind, "name": each.name, "queue": each.queue, "domain": each.domain, "place": each.place}
        for each in work.definitions
    ]
    tasks = [
        {
            "kind": "task",
            "name": name,
            "queue": queue_of_task(app, name),
            "domain": work.domain_of_task(name),
            "place": app.tasks[name].__module__,
        }
        for name in work.tasks()
    ]
    return definitions + tasks


@click.command(
    cls=WorkflowCommand,
    help="Start the workflow NAME, or the task NAME. Values are read as its parameters are annotated.",
)
@click.argument("words", nargs=-1, metavar="[CONFIG] NAME")
@with_arguments
@click.option("--id", "workflow_id", help="The workflow's id; default: the name and a random part.")
@click.option("-Q", "--queue", help="The queue; default: the definition's, or the application's default queue.")
@click.option("--wait", is_flag=True, help="Wait for the end, and print the result as JSON.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most; default: without limit.")
@JSON
@click.pass_obj
def start(
    common: Common,
    /,
    words: tuple[str, ...],
    workflow_id: str | None,
    queue: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    with failing_in_one_line():
        (name,) = take_words(common, words, "NAME")
        app, work = app_and_work(common)
        started = started_as(app, work, name, options, workflow_id, queue)
        if not wait:
            app.close()
            show(started, as_json)
            return
        value = ask(app, lambda client: result_of(client, started["id"]), timeout)
        if as_json:
            show({**started, "result": value}, as_json)
        else:
            click.echo(json.dumps(value, default=str))


def started_as(
    app: AppLike, work: ServedWork, name: str, options: dict[str, Any], workflow_id: str | None, queue: str | None
) -> dict[str, Any]:
    """Start a task or a workflow, and return its id, type and queue."""
    from ..native.arguments import Callee, read
    from ..native.served_work import queue_of_task

    if work.definitions.get("workflow", name) is None and name in app.tasks:
        task = app.tasks[name]
        args, kwargs = read(Callee.task(task), given(options))
        sent = {"task_id": workflow_id, "queue": queue}
        found = task.apply_async(args, kwargs, **{key: value for key, value in sent.items() if value is not None})
        return {"id": found.id, "type": name, "queue": queue or queue_of_task(app, name)}
    return started_workflow(app, work, name, options, workflow_id, queue)


def started_workflow(
    app: AppLike, work: ServedWork, name: str, options: dict[str, Any], workflow_id: str | None, queue: str | None
) -> dict[str, Any]:
    """Start a workflow, and return its ids, type and queue."""
    from temporalio import workflow
    from temporalio.exceptions import WorkflowAlreadyStartedError

    from ..native.arguments import Callee, in_order, of_unknown

    definition = work.definitions.get("workflow", name)
    if definition is None:
        if queue is None:
            raise InvalidCall(unknown_name(app, work, name))
        values = of_unknown(name, given(options))
    else:
        run = workflow._Definition.must_from_class(definition.target).run_fn
        values = in_order(Callee.method(name, run), given(options))
    queue = queue or (definition and definition.queue) or app.conf["task_default_queue"]
    workflow_id = workflow_id or f"{name}-{uuid.uuid4()}"

    async def begin(client: Client) -> str | None:
        try:
            return (await client.start_workflow(name, args=values, id=workflow_id, task_queue=queue)).result_run_id
        except WorkflowAlreadyStartedError:
            raise InvalidCall(f"--id {workflow_id}: a workflow with this id runs already") from None

    run_id = app.temporal.call(begin, ANSWER_TIMEOUT)
    return {"id": workflow_id, "run_id": run_id, "type": name, "queue": queue}


def unknown_name(app: AppLike, work: ServedWork, name: str) -> str:
    names = [each.name for each in work.definitions if each.kind == "workflow"] + work.tasks()
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return (
        f"this application has no workflow or task {name!r}"
        + (f"; the nearest is {near[0]!r}" if near else "")
        + " (ptemporal-compat workflow list shows all); to start a workflow of another application, name its --queue"
    )
