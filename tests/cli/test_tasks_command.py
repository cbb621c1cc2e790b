"""`ptemporal-compat tasks …` and `queues`, in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from pyramid_temporal_compat.cli import group
from pyramid_temporal_compat.cli.common import Common
from pyramid_temporal_compat.control import process_state
from tests.observe.office import Office
from tests.parts import wait_until


@pytest.fixture(scope="module")
def office(temporal_address: str) -> Iterator[Office]:
    found = Office(temporal_address, "commands")
    worker = found.worker()
    found.ended(found.add.delay(1), found.fails.delay("bread"), found.fails.delay("milk"))
    found.listed(3, states=frozenset({"SUCCESS", "FAILURE"}))
    yield found
    worker.stop()
    process_state.paused_types.clear()
    found.app.close()


def run(office: Office, *words: str, answer: str = "", code: int = 0) -> Any:
    """Run a command line. Return what it printed to standard output, and all that it printed."""
    found = CliRunner().invoke(group, list(words), obj=Common(office.app), input=answer)
    assert found.exit_code == code, found.output
    return found.stdout, found.output


def run_json(office: Office, *words: str) -> Any:
    return json.loads(run(office, *words, "--json")[0])


def test_list_shows_the_chosen_tasks_and_names_the_next_page(office: Office) -> None:
    first = run_json(office, "tasks", "list", "--failed", "-Q", office.queue, "--limit", "1")
    second = run_json(office, "tasks", "list", "--failed", "-Q", office.queue, "--page", first["next"])
    errors = [task["error"] for task in first["tasks"] + second["tasks"]]
    assert sorted(errors) == ["LookupError: no bread", "LookupError: no milk"]
    text, _ = run(office, "tasks", "list", "--name", office.add.name, "--since", "1h", "--state", "success")
    assert text.split()[1:3] == ["SUCCESS", office.add.name]
    assert "no task matches" in run(office, "tasks", "list", "--name", f"{office.prefix}.nothing")[1]


def test_show_prints_call_error_and_traceback(office: Office) -> None:
    (failed,) = office.rows(error="*bread")
    text, _ = run(office, "tasks", "show", failed.id)
    assert "arguments    ('bread',)" in text
    assert "error        LookupError: no bread" in text
    assert 'raise LookupError(f"no {what}")' in text
    assert run_json(office, "tasks", "show", failed.id)["attempts"][0]["number"] == 1


def test_retry_in_bulk_counts_first_and_then_leaves_out_what_ran_anew(office: Office) -> None:
    chosen = ("--failed", "--name", office.fails.name, "--error", "*bread")
    _, asked = run(office, "tasks", "retry", *chosen, answer="n\n", code=1)
    assert f"1  {office.fails.name}" in asked
    assert "Run 1 task anew?" in asked
    assert office.ran.count(("fails", "bread")) == 1
    (outcome,) = run_json(office, "tasks", "retry", *chosen, "--yes", "--rate", "10/s")
    office.ended(office.app.AsyncResult(outcome["new_id"]))
    assert office.ran.count(("fails", "bread")) == 2
    _, again = run(office, "tasks", "retry", outcome["id"], code=1)
    assert "it was run anew before" in again


def test_cancel_and_queues_know_delayed_tasks(office: Office) -> None:
    delayed = [office.add.apply_async((number,), countdown=3600) for number in (1, 2)]
    wait_until(lambda: run_json(office, "queues", "-Q", office.queue)[0]["delayed"] == 2, 60, "two delayed tasks")
    text, _ = run(office, "queues", "-Q", office.queue)
    assert text.split("\n")[0].split() == [
        "queue",
        "backlog",
        "oldest",
        "in/s",
        "out/s",
        "delayed",
        "paused",
        "pollers",
    ]
    assert len(run_json(office, "tasks", "cancel", "--name", office.add.name, "--yes")["revoked"]) == 2
    office.ended(*delayed)
    assert {result.state for result in delayed} == {"REVOKED"}


def test_pause_names_what_it_paused_until_resume(office: Office) -> None:
    assert run_json(office, "tasks", "pause", office.add.name, "--reason", "lunch")["done"] == "paused"
    wait_until(lambda: any(each["reason"] == "lunch" for each in run_json(office, "tasks", "paused")), 60, "the record")
    assert "was paused already" in run(office, "tasks", "pause", office.add.name)[0]
    assert run_json(office, "tasks", "resume", office.add.name)["done"] == "resumed; workflows that waited: 0"
    assert "was not paused" in run(office, "tasks", "resume", office.add.name)[0]
    assert "no task of that name" in run(office, "tasks", "resume", "nobody.has.this")[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["retry"], "say which tasks: by ids, or by options such as --failed"),
        (["cancel", "some-id", "--failed"], "say which tasks: by ids, or by options such as --failed"),
        (["retry", "some-id", "--rate", "fast"], "'fast' is not a rate limit"),
        (["list", "--since", "yesterday"], "it takes a duration such as 2h"),
        (["list", "--page", "seven"], "begin with the first page"),
        (["pause", "shop.*"], "it takes the name of one task, and no glob"),
    ],
)
def test_tasks_says_what_is_wrong(office: Office, words: list[str], told: str) -> None:
    assert told in " ".join(run(office, "tasks", *words, code=2)[1].split())
