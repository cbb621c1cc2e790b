"""`ptemporal-compat tasks list|show|retry|cancel|pause|resume|paused`: the tasks of an application, day to day."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from .. import states
from ..exceptions import ImproperlyConfigured, OperationalError
from ..log_lines.text_safety import one_line, record_text
from .app_command import CeleryCommand
from .ask_server import ANSWER_TIMEOUT, JSON, ask, load
from .columns import as_plain, in_columns, moment
from .common import Common
from .completion import completing, task_names
from .errors import EXIT_FAILED, failing_in_one_line
from .task_choice import UNENDED, chooses_any, choosing_tasks, chosen

if TYPE_CHECKING:
    from temporalio.client import Client

    from ..interfaces import AppLike
    from ..observe.retries import Retried
    from ..observe.task_details import TaskDetails
    from ..observe.task_filter import TaskFilter
    from ..observe.task_rows import TaskRow

YES = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
IDS = click.argument("ids", nargs=-1, metavar="[ID]...")
NAME = click.argument("name", shell_complete=completing(task_names))
AT_ONCE = 5_000
"""How many tasks are revoked by one order to the workers."""
MOST_NAMES = 10
"""Names of tasks that a question about many tasks lists."""


@click.group(
    help="Find, show, retry, cancel and pause tasks. CONFIG is the application's ini file; -A names an app instead."
)
def group() -> None:
    pass


# --- list and show -----------------------------------------------------------------------------------


@group.command(
    "list",
    cls=CeleryCommand,
    help="List tasks, the newest first. A canvas or bundle has one line. With --members, or an option that chooses by "
    "name, state, error or arguments, each of its tasks has a line.",
)
@choosing_tasks
@click.option("--members", is_flag=True, help="A line for each task of a canvas or bundle.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="Tasks of one page.")
@click.option("--page", metavar="PAGE", default="", help="The page that the last line of the page before names.")
@JSON
@click.pass_obj
def list_tasks(common: Common, /, members: bool, limit: int, page: str, as_json: bool, **options: Any) -> None:
    from ..observe.task_list import TaskLister  # the client library: 0.4 s, which `--help` does not need

    with failing_in_one_line():
        asked = chosen(options, members=members)
        found = ask(load(common), lambda client: TaskLister().full_page(client, asked, page, limit), timeout=None)
        if as_json:
            click.echo(json.dumps({"tasks": [as_plain(row) for row in found.rows], "next": found.following}))
            return
        if found.rows:
            click.echo(in_columns([line_of(row) for row in found.rows]))
        else:
            click.echo("no task matches", err=True)
        if found.following is not None:
            click.echo(f"for more: --page {found.following}", err=True)


def line_of(row: TaskRow) -> Sequence[str]:
    """Return the columns of a task."""
    state = f"{row.state} (paused)" if row.paused else row.state
    said = row.error or row.arguments
    return moment(row.ended or row.began) or "-", state, one_line(row.name), row.id, said


@group.command("show", cls=CeleryCommand, help="Show the task ID: its arguments, attempts, error, children and canvas.")
@click.argument("task_id", metavar="ID")
@JSON
@click.pass_context
def show_task(ctx: click.Context, /, task_id: str, as_json: bool) -> None:
    from ..observe.task_details import read_task  # as above

    with failing_in_one_line():
        app = load(ctx.ensure_object(Common))
        found = ask(app, lambda client: read_task(client, app, task_id))
        if found is None:
            raise OperationalError(
                f"{app.temporal} has no task {task_id!r}; it may have been deleted when its retention ended, or it was "
                "never sent. `ptemporal-compat workflow show` shows other workflows"
            )
        if as_json:
            click.echo(json.dumps(as_plain(found), default=str))
            return
        for line in lines_of(found):
            click.echo(line)


def lines_of(task: TaskDetails) -> Iterable[str]:
    """Yield what `show` prints of a task."""
    facts: dict[str, Any] = {
        "id": task.id,
        "name": task.name,
        "state": f"{task.state} (paused)" if task.paused else task.state,
        "queue": task.queue,
        "arguments": task.args,
        "keywords": "" if task.kwargs == "{}" else task.kwargs,
        "result": task.result,
        "error": task.error,
        "retries": task.retries or None,
        "priority": task.priority,
        "began": moment(task.began),
        "eta": moment(task.eta),
        "expires": moment(task.expires),
        "ended": moment(task.ended),
        "worker": task.worker,
        "workflow": task.workflow_id if task.workflow_id != task.id else None,
        "parent": task.parent_id,
        "root": task.root_id if task.root_id != task.id else None,
        "group": task.group,
        "schedule": task.scheduled,
        "retry of": task.retry_of,
        "retried as": task.retried_as,
        "trace": task.trace_id,
    }
    for name, value in facts.items():
        if value not in (None, ""):
            yield one_line(f"{name:12} {value}")
    for name, value in task.headers.items():
        yield one_line(f"{'header':12} {name}: {value}")
    for attempt in task.attempts:
        times = f"{moment(attempt.began) or '-'} to {moment(attempt.ended) or 'now'}"
        yield one_line(f"{'attempt':12} {attempt.number}: {times}, {attempt.worker or '-'}: {attempt.outcome or '-'}")
    for child in task.children:
        yield one_line(f"{'child':12} {child}")
    for line in task.canvas:
        yield one_line(f"{'canvas':12} {'  ' * line.depth}{line.text}  {line.state}  {line.id}").rstrip()
    if task.traceback:
        yield record_text(task.traceback.rstrip())


# --- in bulk -----------------------------------------------------------------------------------------


@group.command(
    "retry",
    cls=CeleryCommand,
    help="Run ended tasks anew: those with these ids, or all that the options choose, by default the failed ones. Each "
    "gets its first arguments and a new id, and its header retry_of names the old one. No task is run anew twice: to "
    "repeat the new run, choose the new run.",
)
@IDS
@choosing_tasks
@click.option("--rate", metavar="RATE", help="Start so many: 10/s, 30/m. Default: as fast as the server takes them.")
@YES
@JSON
@click.pass_context
def retry_tasks(
    ctx: click.Context, /, ids: tuple[str, ...], rate: str | None, yes: bool, as_json: bool, **options: Any
) -> None:
    from ..control.limits import interval_of
    from ..observe.retries import not_retried, retry_each  # as above

    with failing_in_one_line():
        try:
            interval = interval_of(rate)
        except ValueError as error:
            raise click.BadParameter(f"--rate {error}") from None
        app = load(ctx.ensure_object(Common))
        found = confirmed(app, ids, options, (states.FAILURE,), "Run {} anew", yes, leave_out=not_retried)
        done: list[Retried] = []

        async def work(client: Client) -> None:
            async for outcome in retry_each(client, found, interval):
                done.append(outcome)
                if not as_json:
                    click.echo(
                        one_line(f"{outcome.id}: {outcome.why_not or 'runs anew'}  {outcome.new_id or ''}".rstrip())
                    )

        ask(app, work, timeout=None)
        started = sum(not outcome.why_not for outcome in done)
        if as_json:
            click.echo(json.dumps([as_plain(outcome) for outcome in done]))
        elif len(done) > 1:
            click.echo(f"{started} of {len(done)} tasks run anew", err=True)
        ctx.exit(0 if started or not done else EXIT_FAILED)


@group.command(
    "cancel",
    cls=CeleryCommand,
    help="Revoke tasks that have not ended: those with these ids, or all that the options choose. A waiting task never "
    "starts. A running task runs to its end, unless --terminate is given.",
)
@IDS
@choosing_tasks
@click.option("--terminate", is_flag=True, help="Stop running tasks, too.")
@YES
@JSON
@click.pass_obj
def cancel_tasks(
    common: Common, /, ids: tuple[str, ...], terminate: bool, yes: bool, as_json: bool, **options: Any
) -> None:
    with failing_in_one_line():
        app = load(common)
        found = confirmed(app, ids, options, UNENDED, "Revoke {}", yes)
        try:
            for place in range(0, len(found), AT_ONCE):
                app.control.revoke(found[place : place + AT_ONCE], terminate=terminate)
        finally:
            app.close()
        if as_json:
            click.echo(json.dumps({"revoked": found}))
        elif found:
            click.echo(f"{counted(len(found))} revoked")


def confirmed(
    app: AppLike,
    ids: Sequence[str],
    options: dict[str, Any],
    otherwise: Sequence[str],
    question: str,
    yes: bool,
    leave_out: Callable[[Client, Sequence[str]], Awaitable[list[str]]] | None = None,
) -> list[str]:
    """Return the ids of the chosen tasks, after the user has said yes to their number.

    :param otherwise: the states of the tasks that are chosen if no option names a state.
    :param leave_out: returns the ids of the tasks on which the command can act.
    """
    if bool(ids) == chooses_any(options):
        raise click.UsageError("say which tasks: by ids, or by options such as --failed, --name, --queue or --since")
    if ids:
        return list(dict.fromkeys(ids))
    names = {row.id: row.name for row in app.temporal.call(matching(chosen(options, otherwise)), None)}
    found = list(names)
    if leave_out is not None:
        found = app.temporal.call(lambda client: leave_out(client, found), None)
    if not found:
        click.echo("no task matches" if not names else f"{counted(len(names))} matched, and ran anew before", err=True)
    elif not yes:
        for name, count in Counter(names[task_id] for task_id in found).most_common(MOST_NAMES):
            click.echo(one_line(f"{count:7}  {name}"), err=True)
        click.confirm(question.format(counted(len(found))) + "?", abort=True, err=True)
    return found


def matching(asked: TaskFilter) -> Callable[[Client], Awaitable[list[TaskRow]]]:
    """Return the question which tasks there are."""
    from ..observe.task_list import TaskLister  # as above

    async def question(client: Client) -> list[TaskRow]:
        lister = TaskLister(shows_arguments=bool(asked.arguments))
        return [row async for row in lister.every(client, asked) if not row.is_tree]

    return question


def counted(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


# --- types -------------------------------------------------------------------------------------------


@group.command(
    "pause",
    cls=CeleryCommand,
    help="Keep the tasks NAME from starting, until they are resumed. They wait on the server, also through restarts. "
    "Running tasks run to their end.",
)
@NAME
@click.option("--reason", default="", help="Why; `tasks paused` and the board show it.")
@JSON
@click.pass_obj
def pause_tasks(common: Common, /, name: str, reason: str, as_json: bool) -> None:
    from ..control.paused_types import pause  # as above

    act_on_type(common, name, lambda app: "paused" if pause(app, name, reason) else "was paused already", as_json)


@group.command("resume", cls=CeleryCommand, help="Let the tasks NAME start again.")
@NAME
@JSON
@click.pass_obj
def resume_tasks(common: Common, /, name: str, as_json: bool) -> None:
    from ..control.paused_types import resume  # as above

    def deed(app: AppLike) -> str:
        waited = resume(app, name)
        return "was not paused" if waited is None else f"resumed; workflows that waited: {waited}"

    act_on_type(common, name, deed, as_json)


def act_on_type(common: Common, name: str, deed: Callable[[AppLike], str], as_json: bool) -> None:
    """Do something with all tasks of one name, and print what was done."""
    with failing_in_one_line():
        app = load(common)
        if not name.strip() or any(character in name for character in "*?["):
            raise ImproperlyConfigured(f"NAME is {name!r:.80}; it takes the name of one task, and no glob")
        try:
            done = deed(app)
        finally:
            app.close()
        if as_json:
            click.echo(json.dumps({"name": name, "done": done}))
            return
        click.echo(one_line(f"{name}: {done}"))
        if name not in task_names(app):
            click.echo("this application has no task of that name; it may be another application's", err=True)


@group.command("paused", cls=CeleryCommand, help="List the names of tasks that are paused.")
@JSON
@click.pass_obj
def list_paused(common: Common, as_json: bool) -> None:
    from ..control.paused_types import paused_types  # as above

    with failing_in_one_line():
        found = ask(load(common), paused_types, ANSWER_TIMEOUT)
        if as_json:
            click.echo(json.dumps([as_plain(each) for each in found]))
        elif found:
            click.echo(
                in_columns(
                    [
                        (
                            one_line(each.name),
                            f"since {moment(each.since)}",
                            f"{each.waiting} waiting",
                            one_line(each.reason),
                        )
                        for each in found
                    ]
                )
            )
        else:
            click.echo("no task is paused", err=True)
