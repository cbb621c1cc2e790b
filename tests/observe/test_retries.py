"""Tasks that are run anew by an operator."""

from __future__ import annotations

import datetime

import pytest

from pyramid_temporal_compat.message.ids import retry_id, workflow_of
from pyramid_temporal_compat.observe.retries import Retried, not_retried, retry, retry_each
from pyramid_temporal_compat.observe.task_details import read_task
from tests.observe.office import Office


@pytest.mark.parametrize(
    ("task_id", "anew"),
    [
        ("abc", "abc-retry-1"),
        ("abc-retry-1", "abc-retry-2"),
        ("abc/b1/7", "abc.b1.7-retry-1"),
        ("abc-retry-x", "abc-retry-x-retry-1"),
        ("abc-retry-" + "9" * 50, "abc-retry-" + "9" * 50 + "-retry-1"),
    ],
)
def test_the_id_of_a_run_anew_names_the_old_one_and_no_canvas(task_id: str, anew: str) -> None:
    assert retry_id(task_id) == anew
    assert workflow_of(anew) == ""


def test_a_failed_task_runs_anew_once_under_a_new_id(office: Office) -> None:
    failed = office.fails.delay("salt")
    office.ended(failed)
    outcome = office.ask(lambda client: retry(client, failed.id))
    assert outcome == Retried(failed.id, f"{failed.id}-retry-1")
    anew = office.app.AsyncResult(str(outcome.new_id))
    office.ended(anew)
    assert office.ran.count(("fails", "salt")) == 2
    assert office.seen_headers[anew.id]["retry_of"] == failed.id
    again = office.ask(lambda client: retry(client, failed.id))
    assert (again.new_id, again.why_not) == (anew.id, "it was run anew before")
    assert office.ask(lambda client: not_retried(client, [failed.id, anew.id])) == [anew.id]


def test_a_step_of_a_chain_runs_anew_with_the_result_that_it_had(office: Office) -> None:
    (failed,) = office.listed(1, error="*no 11", name=office.fails.name)
    outcome = office.ask(lambda client: retry(client, failed.id))
    anew = office.app.AsyncResult(str(outcome.new_id))
    office.ended(anew)
    assert office.ran.count(("fails", 11)) == 2
    never_ran = office.ask(lambda client: retry(client, str(failed.within)))
    assert never_ran.new_id is None
    assert "its last one never began" in never_ran.why_not


def test_a_standalone_activity_is_shown_and_runs_anew_as_a_workflow(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office.fails, "lane", "activity")
    failed = office.fails.delay("pepper")
    office.ended(failed)
    found = office.ask(lambda client: read_task(client, office.app, failed.id))
    assert found is not None
    assert (found.state, found.args, found.error) == ("FAILURE", "('pepper',)", "LookupError: no pepper")
    hour = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    (row,) = office.listed(1, arguments="pepper", states=frozenset({"FAILURE"}), since=hour, name="*.fails")
    assert (row.id, row.error) == (failed.id, "LookupError: no pepper")
    outcome = office.ask(lambda client: retry(client, failed.id))
    office.ended(office.app.AsyncResult(str(outcome.new_id)))
    assert office.ran.count(("fails", "pepper")) == 2
    again = office.ask(lambda client: read_task(client, office.app, failed.id))
    assert again is not None
    assert again.retried_as == outcome.new_id


def test_unended_and_unknown_tasks_are_not_run_anew(office: Office) -> None:
    later = office.add.apply_async((5,), countdown=3600)

    async def each(client: object) -> list[Retried]:
        return [outcome async for outcome in retry_each(client, [later.id, "unknown-id"], 0.01)]  # type: ignore[arg-type]

    waiting, unknown = office.ask(each)
    assert "it has not ended: its state is PENDING" in waiting.why_not
    assert unknown.why_not == "the server does not have it"
    later.revoke()
