"""`ptemporal-compat workflow …`, on a worker that serves tasks, workflows and activities together."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.parts import Desk
from tests.parts import wait_until

REFUND = "tests.native.domains.payments.tasks.refund"


@pytest.fixture(scope="module")
def desk(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(temporal_address, tmp_path_factory.mktemp("desk"))
    with found.worker() as worker:
        worker.is_ready()
        yield found


def new_id() -> str:
    return f"pay-{uuid.uuid4().hex[:8]}"


def test_list_shows_workflows_activities_and_tasks_with_their_queues(desk: Desk) -> None:
    rows = {row["name"]: row for row in desk.json("list", desk.ini)}
    assert (rows["Pay"]["kind"], rows["Pay"]["queue"]) == ("workflow", desk.payments)
    assert rows["Pay"]["place"].startswith("tests.native.domains.payments.temporal_workflows:")
    assert rows["bookings.Book"]["queue"] is None
    assert (rows["charge"]["kind"], rows[REFUND]["kind"], rows[REFUND]["queue"]) == ("activity", "task", desk.payments)
    only = {row["name"] for row in desk.json("list", "--domain", "bookings", "--ini", desk.ini)}
    assert only == {"bookings.Book"}
    lines = desk.run("list", desk.ini).splitlines()
    places = {line.rindex(rows[line.split()[1]]["place"]) for line in lines}
    assert len(places) == 1, "the places are not below each other"


def test_start_reads_arguments_by_the_annotations_and_waits(desk: Desk) -> None:
    payment = json.dumps({"customer": "Ann", "amount": 7})
    found = json.loads(desk.run("start", desk.ini, "Pay", "--args", payment, "--wait"))
    assert (found["customer"], found["receipt"]) == ("Ann", 70)
    assert found["charged"].startswith("7 EUR in ")
    assert desk.run("start", desk.ini, "bookings.Book", "--args", "12", "--kwargs", "guest=Bob", "--wait") == (
        '"room 12 for Bob"'
    )
    assert desk.run("start", "bookings.Book", "--input", "3", "--wait", "--ini", desk.ini) == '"room 3 for nobody"'


def test_start_of_a_task_sends_it(desk: Desk) -> None:
    assert desk.run("start", desk.ini, REFUND, "--args", "5", "--kwargs", "reason=7", "--wait") == '"5 back: 7"'
    told = desk.run("start", desk.ini, REFUND, "--args", "-5", "--wait", code=1)
    assert told.endswith("has no result: Workflow execution failed; ValueError: -5 can not be paid back")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["Pay"], "Pay(payment: Payment, wait: bool = False): missing a required argument: 'payment'"),
        (["bookings.Book", "--args", "first"], "'first' is no value for 'room': Expected value to be int|float"),
        (["bookings.Bok"], "no workflow or task 'bookings.Bok'; the nearest is 'bookings.Book'"),
    ],
)
def test_start_says_what_is_wrong_with_the_arguments(desk: Desk, words: list[str], told: str) -> None:
    assert told in desk.run("start", desk.ini, *words, code=2)


def test_running_workflow_is_shown_told_and_asked(desk: Desk) -> None:
    this = new_id()
    payment = json.dumps({"customer": "Cy", "amount": 1})
    started = desk.json("start", desk.ini, "Pay", "--args", payment, "true", "--id", this)
    assert started["id"] == this
    assert started["queue"] == desk.payments
    assert f"--id {this}: a workflow with this id runs already" in desk.run(
        "start", desk.ini, "Pay", "--args", payment, "--id", this, code=2
    )
    assert desk.run("signal", desk.ini, this, "note", "--args", "42") == "note: sent"
    assert desk.run("query", desk.ini, this, "noted", "--kwargs", "limit=1") == '["42"]'
    assert "has no 'nod' among its queries" in desk.run("query", desk.ini, this, "nod", code=2)
    assert desk.json("show", desk.ini, this)["status"] == "running"
    found = desk.json("find", desk.ini, "--type", "Pay", "--status", "running", "--since", "1h")
    wait_until(lambda: this in {row["id"] for row in desk.json("find", desk.ini, "--type", "Pay", "--since", "1h")})
    assert all(row["type"] == "Pay" for row in found)
    assert desk.json("update", desk.ini, this, "close", "--args", "done")["answer"] == 2
    assert json.loads(desk.run("result", desk.ini, this))["notes"] == ["42", "done"]
    assert "status       completed" in desk.run("show", desk.ini, this)


def test_workflow_is_cancelled_and_terminated(desk: Desk) -> None:
    payment = json.dumps({"customer": "Di", "amount": 1})
    for command, status in (("cancel", "canceled"), ("terminate", "terminated")):
        this = new_id()
        desk.run("start", desk.ini, "Pay", "--args", payment, "true", "--id", this)
        desk.run(command, desk.ini, this)
        assert "has no result: " in desk.run("result", desk.ini, this, code=1)
        assert desk.json("show", desk.ini, this)["status"] == status


def test_workflow_that_does_not_exist_is_an_error(desk: Desk) -> None:
    told = desk.run("show", desk.ini, "there-is-none", code=1)
    assert told.endswith("workflow not found for ID: there-is-none; is the id right? (ptemporal-compat workflow find)")


def test_histories_are_replayed(desk: Desk, tmp_path: Path) -> None:
    """Also of a task. A history of a workflow that went another way fails."""
    from pyramid_temporal_compat import Celery

    ids = [new_id(), new_id()]
    desk.run("start", desk.ini, "Pay", "--args", json.dumps({"customer": "Ed", "amount": 2}), "--wait", "--id", ids[0])
    desk.run("start", desk.ini, REFUND, "--args", "5", "--wait", "--id", ids[1])
    app = Celery("reader", set_as_current=False, ptemporal_address=desk.address)
    try:
        for this in ids:
            history = app.temporal.call(lambda client, this=this: client.get_workflow_handle(this).fetch_history(), 30)
            (tmp_path / f"{this}.json").write_text(history.to_json())
    finally:
        app.close()
    assert [row["error"] for row in desk.json("replay", desk.ini, tmp_path)] == [None, None]
    changed = tmp_path / "changed.json"
    changed.write_text((tmp_path / f"{ids[0]}.json").read_text().replace('"charge"', '"another"'))
    told = desk.run("replay", "--ini", desk.ini, changed, code=1)
    assert told.startswith("FAILED")
    assert "another" in told
    nothing = tmp_path / "nothing.txt"
    nothing.write_text("{}")
    assert "no history of a workflow" in desk.run("replay", desk.ini, nothing, code=2)
