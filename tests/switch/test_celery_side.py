"""A worker of real Celery runs what this package publishes, and its results come back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyramid_temporal_compat import Celery, chain, group, send_to_celery, signals
from pyramid_temporal_compat.celery_side.publisher import NotPublished, publish
from pyramid_temporal_compat.enlist.enlistment import find_enlistment
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.outbox.relay import Relay
from pyramid_temporal_compat.results.old_results import OldResults
from pyramid_temporal_compat.switch.kept import kept_rules
from pyramid_temporal_compat.switch.rules import Rule, Rules
from tests.outbox.parts import OutboxSite, outbox_site, running, unique, without_dispatch
from tests.parts import ROOT, fresh_database, wait_until
from tests.switch.conftest import CelerySide

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shared_site(postgres: str, temporal_address: str, celery_side: CelerySide) -> Iterator[OutboxSite]:
    settings = {
        "ptemporal.switch": "outbox",
        "ptemporal.celery_broker": celery_side.broker,
        "ptemporal.old_result_backend": celery_side.backend,
        "celery.task_default_queue": celery_side.queue,
    }
    with fresh_database(postgres) as url, outbox_site(url, temporal_address, **settings) as site:
        kept_rules(site.app).write(Rules.of([Rule("switch.*", 0)]))
        yield site


@pytest.fixture
def site(shared_site: OutboxSite) -> OutboxSite:
    return shared_site.as_new()


def task(site: OutboxSite, name: str) -> Any:
    return site.app.tasks[name] if name in site.app.tasks else site.app.task(name=name)(lambda *args, **kwargs: None)


def queued(side: CelerySide, queue: str) -> int:
    found: int = side.redis.llen(queue)
    return found


def test_a_committed_call_runs_on_celery_and_an_aborted_one_does_not(site: OutboxSite, celery_side: CelerySide) -> None:
    note = task(site, "switch.note")

    def view(request: Any) -> Any:
        return note.apply_async((1,), {"x": b"2"}, headers={"tenant": "t"}, expires=100, time_limit=50)

    def failing(request: Any) -> None:
        aborted.append(view(request))
        request.tm.doom()

    aborted: list[Any] = []
    published: list[str] = []

    def was_published(sender: str, headers: Any, **_: Any) -> None:
        published.append(headers["id"])

    signals.after_task_publish.connect(was_published)
    try:
        result = site.visit(view)
        site.visit(failing)
    finally:
        signals.after_task_publish.disconnect(was_published)
    told = result.get(timeout=60)
    assert told["args"] == "(1,)"
    assert told["kwargs"] == "{'x': b'2'}"
    assert told["header"] == "t"
    assert told["root"] == result.id
    assert told["limits"] == [50, None]
    assert told["expires"]
    assert published == [result.id]
    assert result.state == "SUCCESS"
    assert not site.has_started(result)
    assert aborted[0].state == "PENDING"
    site.is_empty()
    assert f"note {aborted[0].id}" not in celery_side.effects()


def test_chains_groups_and_links_end_as_on_celery(site: OutboxSite, celery_side: CelerySide) -> None:
    add, note = task(site, "switch.add"), task(site, "switch.note")

    def view(request: Any) -> Any:
        last = note.si("linked").set(task_id=unique())
        linked = add.apply_async((20, 1), link=[add.s(5), last])
        steps = chain(add.s(1, 2), add.s(3).set(queue="switched2"), add.s(4)).delay()
        return linked, last.options["task_id"], steps, group(add.s(n, n) for n in range(3)).delay()

    linked, note_id, steps, members = site.visit(view)
    assert steps.get(timeout=60) == 10
    assert steps.parent.get(timeout=60) == 6
    assert members.get(timeout=60) == [0, 2, 4]
    assert members.ready()
    assert linked.get(timeout=60) == 21
    assert site.app.AsyncResult(note_id).get(timeout=60)["args"] == "('linked',)"
    wait_until(lambda: "add 21 5" in celery_side.effects())


def test_an_error_comes_back_as_its_own_class(site: OutboxSite) -> None:
    result = task(site, "switch.fail").delay("gone")  # outside any transaction: it leaves at once
    with pytest.raises(KeyError, match="gone") as raised:
        result.get(timeout=60)
    assert str(raised.value) == "'gone'"
    assert "celery_shop.py" in str(result.traceback)
    assert result.failed()


def test_a_call_of_a_killed_process_is_published_once_by_a_relay(site: OutboxSite, celery_side: CelerySide) -> None:
    note = task(site, "switch.note")
    queue = unique()  # nobody reads it, so its length counts what was published
    held: list[Any] = []

    def view(request: Any) -> Any:
        result = note.apply_async(queue=queue)
        found = find_enlistment(request.tm.get(), site.app)
        held.extend(found.messages if found is not None else ())
        return result

    with without_dispatch():
        result = site.visit(view)
    assert queued(celery_side, queue) == 0
    (row,) = site.rows()
    assert row.messages == 1
    site.hurry()
    with running(Relay(site.app)):
        site.is_empty()
    assert queued(celery_side, queue) == 1
    publish(held[0])  # as a process does that has published, and died before it could delete the row
    assert queued(celery_side, queue) == 1
    assert held[0].id == result.id


def test_a_transaction_may_send_to_both_sides(site: OutboxSite, celery_side: CelerySide) -> None:
    note, here = task(site, "switch.note"), task(site, "here.note")
    queue = unique()

    def view(request: Any) -> Any:
        other = send_to_celery(celery_side.broker, "other.task", (1,), queue=queue)
        return note.delay(), here.apply_async(queue=queue), (note.s() | here.s()).delay(), other

    on_celery, on_server, mixed, other = site.visit(view)
    assert on_celery.get(timeout=60)
    assert site.has_started(on_server, mixed.id.partition("/")[0])  # a canvas is on one side, and here on the server
    assert not site.has_started(other)
    assert queued(celery_side, queue) == 1
    site.is_empty()


def test_calls_for_celery_leave_while_the_server_is_away(postgres: str, celery_side: CelerySide) -> None:
    queue = unique()
    settings = {"ptemporal.dispatch_timeout": "0.5", "ptemporal.connect_timeout": "0.5"}
    with fresh_database(postgres) as url, outbox_site(url, "127.0.0.1:1", **settings) as site:
        here = task(site, "here.note")

        def view(request: Any) -> None:
            here.delay()
            send_to_celery(celery_side.broker, "other.task", queue=queue)

        site.visit(view)
        wait_until(lambda: queued(celery_side, queue) == 1)
        wait_until(lambda: site.count() == 1)
        assert site.app.dispatcher.absence.lasts
        site.visit(view)
        wait_until(lambda: queued(celery_side, queue) == 2)
        wait_until(lambda: site.count() == 2)
        assert {row.messages for row in site.rows()} == {1}


def test_a_change_of_the_rules_is_seen_within_seconds(site: OutboxSite) -> None:
    other = task(site, "later.note")
    assert site.app.switch is not None

    def on_celery() -> bool:
        return not site.which_started([other.apply_async(queue=unique())])[0]

    assert not on_celery()
    kept = kept_rules(site.app)
    before = kept.read()
    kept.write(before.with_rule(Rule("later.*", 0)))
    try:
        wait_until(on_celery, timeout=20)
    finally:
        kept.write(before)


def test_the_call_fails_if_its_broker_is_unknown_or_away(site: OutboxSite, tmp_path: Path) -> None:
    app = Celery("nowhere", set_as_current=False)
    app.conf.update({"ptemporal.address": "127.0.0.1:1", "ptemporal.switch": str(tmp_path / "switch.json")})
    app.conf.update({"ptemporal.dispatch_timeout": 0.2})
    kept_rules(app).write(Rules.of([Rule("*", 0)]))
    nowhere = app.task(name="nowhere.task")(lambda: None)
    with app:
        with pytest.raises(ImproperlyConfigured, match=r"ptemporal\.celery_broker is not set"):
            nowhere.delay()
        app.conf.update({"ptemporal.celery_broker": "redis://127.0.0.1:1/0"})
        with pytest.raises(NotPublished, match=r"the broker at redis://127\.0\.0\.1:1/0 can't take nowhere\.task"):
            nowhere.delay()


DATABASE_RESULTS = """
import sys
from celery import Celery, states
app = Celery("old", backend=sys.argv[1])
app.conf.result_extended = sys.argv[2] == "extended"
app.backend.store_result("done", {"n": 1}, states.SUCCESS)
try:
    raise ValueError("bad", 3)
except ValueError as error:
    app.backend.store_result("failed", error, states.FAILURE, traceback="its traceback")
app.backend.store_result("under way", {"percent": 5}, "PROGRESS")
"""


@pytest.mark.parametrize("form", ["plain", "extended"])
def test_results_in_celerys_database_are_read(tmp_path: Path, form: str) -> None:
    url = f"db+sqlite:///{tmp_path}/results.sqlite"
    subprocess.run([sys.executable, "-c", DATABASE_RESULTS, url, form], check=True, cwd=ROOT, timeout=60)
    old = OldResults(url, ["json"])
    done, failed, under_way = map(old.status, ("done", "failed", "under way"))
    assert done is not None
    assert done.state == "SUCCESS"
    assert done.result is not None
    assert done.result.data == b'{"n":1}'
    assert done.ended_at is not None
    assert abs(done.ended_at.timestamp() - time.time()) < 3600
    assert failed is not None
    assert failed.error == {
        "module": "builtins",
        "type": "ValueError",
        "text": "('bad', 3)",
        "args": [{"value": "bad"}, {"value": 3}],
        "traceback": "its traceback",
    }
    assert under_way is not None
    assert (under_way.state, under_way.meta, under_way.ready) == ("PROGRESS", {"percent": 5}, False)
    assert old.status("unknown") is None
