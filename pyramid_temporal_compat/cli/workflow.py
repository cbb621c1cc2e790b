"""`ptemporal-compat workflow …`: tells running workflows what to do, and shows what became of them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..exceptions import InvalidCall, OperationalError
from ..log_lines.text_safety import one_line
from .ask_server import ANSWER_TIMEOUT, JSON, ask, load, show
from .columns import moment
from .common import Common
from .errors import failing_in_one_line
from .workflow_command import WorkflowCommand, app_and_work, given, reason, result_of, take_words, with_arguments
from .workflow_replay import replay
from .workflow_start import list_definitions, start

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription, WorkflowHandle

    from ..native.definitions import Definitions

R = TypeVar("R")

ONE = click.argument("words", nargs=-1, metavar="[CONFIG] ID")
TWO = click.argument("words", nargs=-1, metavar="[CONFIG] ID NAME")
REASON = click.option("--reason", help="Why; the server keeps it.")
STATUSES = ("running", "completed", "failed", "canceled", "terminated", "continued_as_new", "timed_out")


@click.group(
    help="Start, follow and end workflows. CONFIG is the application's ini file; -A names an app instead. --ini and -A "
    "may also stand before `workflow`."
)
def group() -> None:
    pass


group.add_command(list_definitions)
group.add_command(start)
group.add_command(replay)


def act(common: Common, workflow_id: str, action: Callable[[WorkflowHandle[Any, Any]], Awaitable[R]]) -> R:
    """Return what `action` returns, of the workflow with this id."""
    return ask(load(common), lambda client: action(client.get_workflow_handle(workflow_id)))


@group.command(
    "show",
    cls=WorkflowCommand,
    help="Show a workflow: its type, its state, and what it waits for. For a task of a canvas or bundle, show the "
    "workflow that runs it.",
)
@ONE
@JSON
@click.pass_obj
def show_workflow(common: Common, words: tuple[str, ...], as_json: bool) -> None:
    with failing_in_one_line():
        (workflow_id,) = take_words(common, words, "ID")
        show(details(ask(load(common), lambda client: described(client, workflow_id))), as_json)


async def described(client: Client, workflow_id: str) -> WorkflowExecutionDescription:
    """Return the description of a workflow, or of the workflow that runs the task with this id."""
    from temporalio.service import RPCError  # the client library: 0.4 s

    from ..client.connection import is_absent
    from ..client.members import workflow_with

    try:
        return await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        container = await workflow_with(client, workflow_id) if is_absent(error) else None
        if container is None:
            raise
        return await client.get_workflow_handle(container).describe()


def details(found: WorkflowExecutionDescription) -> dict[str, Any]:
    """Return what `show` prints of a workflow."""
    pending = found.raw_description.pending_activities
    return {
        **row(found),
        "run_id": found.run_id,
        "parent": found.parent_id,
        "events": found.history_length,
        "waits_for": [f"{each.activity_type.name} (attempt {each.attempt})" for each in pending],
        "last_error": next((each.last_failure.message for each in pending if each.last_failure.message), None),
    }


def row(found: WorkflowExecution) -> dict[str, Any]:
    """Return what `find` prints of a workflow."""
    return {
        "id": found.id,
        "type": found.workflow_type,
        "queue": found.task_queue,
        "status": found.status.name.lower() if found.status else None,
        "started": moment(found.start_time),
        "ended": moment(found.close_time),
    }


@group.command("result", cls=WorkflowCommand, help="Wait for the end of a workflow, and print its result as JSON.")
@ONE
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait; default: without limit.")
@JSON
@click.pass_obj
def result(common: Common, words: tuple[str, ...], timeout: float | None, as_json: bool) -> None:
    with failing_in_one_line():
        (workflow_id,) = take_words(common, words, "ID")
        value = ask(load(common), lambda client: result_of(client, workflow_id), timeout)
        if as_json:
            show({"id": workflow_id, "result": value}, as_json)
        else:
            click.echo(json.dumps(value, default=str))


@group.command("signal", cls=WorkflowCommand, help="Send the signal NAME to a workflow.")
@TWO
@with_arguments
@JSON
@click.pass_obj
def signal(common: Common, /, words: tuple[str, ...], as_json: bool, **options: Any) -> None:
    async def send(handle: WorkflowHandle[Any, Any], name: str, values: list[Any]) -> str:
        await handle.signal(name, args=values)
        return "sent"

    tell_workflow(common, words, "signals", options, as_json, send)


@group.command("query", cls=WorkflowCommand, help="Ask a workflow the query NAME, and print the answer as JSON.")
@TWO
@with_arguments
@JSON
@click.pass_obj
def query(common: Common, /, words: tuple[str, ...], as_json: bool, **options: Any) -> None:
    tell_workflow(
        common, words, "queries", options, as_json, lambda handle, name, values: handle.query(name, args=values)
    )


@group.command("update", cls=WorkflowCommand, help="Make the update NAME, and print its result as JSON.")
@TWO
@with_arguments
@JSON
@click.pass_obj
def update(common: Common, /, words: tuple[str, ...], as_json: bool, **options: Any) -> None:
    tell_workflow(
        common,
        words,
        "updates",
        options,
        as_json,
        lambda handle, name, values: handle.execute_update(name, args=values),
    )


def tell_workflow(
    common: Common,
    words: tuple[str, ...],
    kind: str,
    options: dict[str, Any],
    as_json: bool,
    tell: Callable[[WorkflowHandle[Any, Any], str, list[Any]], Awaitable[Any]],
) -> None:
    """Send a signal, query or update, and print the answer. Its arguments are read as the workflow annotates them.

    :param tell: sends it, with these arguments.
    """
    from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateFailedError

    from ..native.arguments import Callee, in_order, of_unknown

    with failing_in_one_line():
        workflow_id, name = take_words(common, words, "ID", "NAME")
        app, work = app_and_work(common)

        async def action(client: Client) -> Any:
            handle = client.get_workflow_handle(workflow_id)
            handler = handler_of(work.definitions, (await handle.describe()).workflow_type, kind, name)
            values = (
                of_unknown(name, given(options))
                if handler is None
                else in_order(Callee.method(name, handler), given(options))
            )
            try:
                return await tell(handle, name, values)
            except (WorkflowQueryFailedError, WorkflowUpdateFailedError) as error:
                raise OperationalError(f"{workflow_id}, {name}: {reason(error)}") from None

        answer = ask(app, action)
        if as_json:
            show({"id": workflow_id, "name": name, "answer": answer}, as_json)
        else:
            click.echo(f"{name}: sent" if kind == "signals" else json.dumps(answer, default=str))


def handler_of(definitions: Definitions, workflow_type: str, kind: str, name: str) -> Any:
    """Return the function behind a signal, query or update; None if the workflow is not defined here, or is dynamic."""
    from temporalio import workflow

    known = definitions.get("workflow", workflow_type)
    if known is None:
        return None
    handlers = getattr(workflow._Definition.must_from_class(known.target), kind)
    if name not in handlers and None not in handlers:
        names = ", ".join(sorted(handlers)) or "none"
        raise InvalidCall(f"workflow {workflow_type} has no {name!r} among its {kind}: {names}")
    return getattr(handlers.get(name), "fn", None)


@group.command("cancel", cls=WorkflowCommand, help="Ask a workflow to end. It may clean up first.")
@ONE
@JSON
@click.pass_obj
def cancel(common: Common, words: tuple[str, ...], as_json: bool) -> None:
    end_workflow(common, words, as_json, lambda handle: handle.cancel(), "asked to cancel")


@group.command("terminate", cls=WorkflowCommand, help="End a workflow at once. Its code learns nothing of it.")
@ONE
@REASON
@JSON
@click.pass_obj
def terminate(common: Common, words: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    end_workflow(common, words, as_json, lambda handle: handle.terminate(reason=reason), "terminated")


def end_workflow(
    common: Common,
    words: tuple[str, ...],
    as_json: bool,
    action: Callable[[WorkflowHandle[Any, Any]], Awaitable[None]],
    done: str,
) -> None:
    """Do something that ends a workflow, and print what was done."""
    with failing_in_one_line():
        (workflow_id,) = take_words(common, words, "ID")
        act(common, workflow_id, action)
        if as_json:
            show({"id": workflow_id, "done": done}, as_json)
        else:
            click.echo(one_line(f"{workflow_id}: {done}"))


@group.command("find", cls=WorkflowCommand, help="List workflows that run or have run, the latest first.")
@click.argument("words", nargs=-1, metavar="[CONFIG]")
@click.option("--type", "workflow_type", help="The workflow type: a workflow's name, or a task's.")
@click.option("--status", type=click.Choice(STATUSES, case_sensitive=False))
@click.option("--since", help="Started since: a duration such as 2h or 7d, or a moment in UTC such as 2026-01-31.")
@click.option("--query", "more", metavar="QUERY", help="A condition in Temporal's list filter language, in addition.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@JSON
@click.pass_obj
def find(
    common: Common,
    words: tuple[str, ...],
    workflow_type: str | None,
    status: str | None,
    since: str | None,
    more: str | None,
    limit: int,
    as_json: bool,
) -> None:
    with failing_in_one_line():
        take_words(common, words)
        conditions = list_filter(workflow_type, status, since, more)

        async def question(client: Client) -> list[dict[str, Any]]:
            return [row(each) async for each in client.list_workflows(conditions, limit=limit)]

        rows = ask(load(common), question, ANSWER_TIMEOUT)
        if as_json:
            click.echo(json.dumps(rows))
            return
        for each in rows:
            click.echo(one_line(f"{each['started']}  {each['status']:10}  {each['type']}  {each['id']}"))


def list_filter(workflow_type: str | None, status: str | None, since: str | None, more: str | None) -> str:
    """Return a query of Temporal's list filter language."""
    conditions = []
    if workflow_type is not None:
        conditions.append(f"WorkflowType = {json.dumps(workflow_type, ensure_ascii=False)}")
    if status is not None:
        conditions.append(f"ExecutionStatus = '{''.join(part.title() for part in status.lower().split('_'))}'")
    if since is not None:
        conditions.append(f"StartTime >= '{moment_of(since).isoformat()}'")
    if more is not None:
        conditions.append(f"({more})")
    return " AND ".join(conditions)


def moment_of(since: str) -> dt.datetime:
    """Return the moment that `--since` names."""
    from ..settings.values import seconds

    try:
        return dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=seconds.parse(since))
    except ValueError:
        pass
    try:
        found = dt.datetime.fromisoformat(since)
    except ValueError:
        raise click.BadParameter(
            f"--since {since!r}: it takes a duration such as 2h or 7d, or a moment such as 2026-01-31T08:00"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)
