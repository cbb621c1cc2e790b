"""Lists of tasks, from the real server."""

from __future__ import annotations

import datetime

from pyramid_temporal_compat.observe.failures import failures_since
from pyramid_temporal_compat.observe.queues import report_queue
from pyramid_temporal_compat.observe.task_details import read_task
from pyramid_temporal_compat.observe.task_filter import TaskFilter
from pyramid_temporal_compat.observe.workers import WorkerReport, report_workers
from tests.observe.office import Office
from tests.parts import wait_until

FAILURE = frozenset({"FAILURE"})


def test_a_canvas_has_one_row_and_its_members_have_rows_when_they_are_asked_for(office: Office) -> None:
    rows = office.listed(5)
    assert {row.name.removeprefix(office.prefix) for row in rows} == {".add", ".fails", "group", "chain"}
    assert [row.is_tree for row in rows].count(True) == 2
    assert len(office.listed(10, members=True)) == 10


def test_failed_members_are_found_although_their_canvas_may_have_succeeded(office: Office) -> None:
    rows = office.listed(4, states=FAILURE)
    errors = {row.error for row in rows if row.name == office.fails.name}
    assert errors == {"LookupError: no <b>bread</b>", "LookupError: no milk", "LookupError: no 11"}
    (never_ran,) = (row for row in rows if row.name == office.add.name)
    assert never_ran.within == never_ran.id, "the last step has the id of its chain"
    assert [row.error for row in office.rows(error="*MILK")] == ["LookupError: no milk"]


def test_names_arguments_and_times_select_tasks(office: Office) -> None:
    assert len(office.listed(7, name=f"{office.prefix}.ad?")) == 7
    (found,) = office.rows(arguments="22")
    assert found.arguments == "(22, **{'y': 5})"
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    assert office.rows(since=later) == []


def test_secrets_in_arguments_are_masked(office: Office) -> None:
    for row in office.rows(members=True):
        assert "sesame" not in row.arguments
        details = office.ask(lambda client, row=row: read_task(client, office.app, row.id))
        assert "sesame" not in repr(details)


def test_pages_together_have_each_task_once(office: Office) -> None:
    office.listed(10, members=True)
    asked, cursor, ids = TaskFilter(queue=office.queue, members=True), "", []
    for _ in range(20):
        page = office.ask(lambda client: office.lister.page(client, asked, cursor, 3))  # noqa: B023  called at once
        assert len(page.rows) <= 3
        ids += [row.id for row in page.rows]
        if page.following is None:
            break
        cursor = page.following
    assert len(ids) == len(set(ids)) == 10


def test_details_have_attempts_error_and_canvas(office: Office) -> None:
    (failed,) = office.rows(error="*no 11", name=office.fails.name)
    found = office.ask(lambda client: read_task(client, office.app, failed.id))
    assert found is not None
    assert found.error == "LookupError: no 11"
    assert 'raise LookupError(f"no {what}")' in found.traceback
    assert [(each.number, each.outcome) for each in found.attempts] == [(1, "LookupError: no 11")]
    assert [line.state for line in found.canvas] == ["", "SUCCESS", "FAILURE", "FAILURE"]
    assert found.workflow_id != found.id
    assert office.ask(lambda client: read_task(client, office.app, "nobody-has-this")) is None


def test_failures_are_counted_by_task_and_error(office: Office) -> None:
    office.listed(4, states=FAILURE)
    hour = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    found = office.ask(lambda client: failures_since(client, office.lister, hour))
    counts = {(group.name, group.error): group.count for group in found.groups}
    assert counts[(office.fails.name, "LookupError")] >= 3


def answering(office: Office) -> WorkerReport | None:
    """Return the report of the office's worker; None if it was too busy to answer."""
    reports = report_workers(office.app, 3.0)
    return next((each for each in reports if each.answered and each.name.startswith(office.prefix)), None)


def test_queues_and_workers_are_reported(office: Office) -> None:
    queue = office.ask(lambda client: report_queue(client, office.queue))
    assert (queue.backlog, queue.delayed, queue.paused) == (0, 0, 0)
    assert any(name.startswith(office.prefix) for name in queue.pollers)
    worker = wait_until(lambda: answering(office), 60, "the worker's answer")
    assert (worker.pool, worker.size, list(worker.queues)) == ("threads", 4, [office.queue])
    assert worker.done >= 9
