"""The outbox with real processes: killed web processes, killed relays, workers and forks."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from pyramid_temporal_compat import temporal
from pyramid_temporal_compat.outbox import metadata, outbox
from pyramid_temporal_compat.outbox.relay import LAPSES, Relay
from pyramid_temporal_compat.outbox.store import Store
from pyramid_temporal_compat.transactions.pyramid_request import attempt
from tests.cli.parts import WorkerProcess, environment, write_ini
from tests.client.client_parts import silent_server
from tests.outbox.parts import running, without_dispatch
from tests.outbox.tasks import asks_for_notes, notes_threads
from tests.parts import ROOT, wait_until
from tests.worker.shop import Shop, WorkerThread, note

INCLUDE = {"ptemporal.include": "tests.worker.shop tests.outbox.tasks"}


class KeptShop(Shop):
    def __init__(self, address: str, database_url: str, **settings: str) -> None:
        super().__init__(address, database_url, **{"ptemporal.outbox": "dbsession", **settings})
        metadata.create_all(self.engine)

    @property
    def store(self) -> Store:
        return Store(self.engine, "default")

    def rows(self) -> Sequence[Any]:
        with self.engine.connect() as connection:
            return connection.execute(select(outbox).order_by(outbox.c.id)).all()

    def count(self) -> int:
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(outbox)) or 0

    def claimed(self) -> int:
        with self.engine.connect() as connection:
            of_relays = select(func.count()).select_from(outbox).where(outbox.c.claimed_by.is_not(None))
            return connection.scalar(of_relays) or 0

    def ini(self, path: Path, **settings: str) -> Path:
        own = {key: value for key, value in self.settings.items() if not key.startswith(("pyramid.", "tm."))}
        return write_ini(path, {**own, **INCLUDE, **settings})


@pytest.fixture(scope="module")
def one_shop(temporal_address: str, processes_database: str) -> Iterator[KeptShop]:
    shop = KeptShop(temporal_address, processes_database)
    yield shop
    shop.close()


@pytest.fixture
def shop(one_shop: KeptShop) -> Iterator[KeptShop]:
    one_shop.app.set_current()
    yield one_shop
    wait_until(lambda: one_shop.count() == 0, message="rows are left")
    one_shop.clear()


def start(case: str, ini: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.outbox.dying", case, str(ini)]
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)


def run(case: str, ini: Path) -> tuple[int, list[str]]:
    with start(case, ini) as process:
        said, _ = process.communicate(timeout=60)
        return process.returncode, said.split()


def test_a_process_killed_right_after_its_commit_loses_nothing(shop: KeptShop, tmp_path: Path) -> None:
    ended, (task_id,) = run("after_the_commit", shop.ini(tmp_path / "app.ini", **{"ptemporal.dispatch_timeout": "0.5"}))
    assert ended == -signal.SIGKILL
    assert shop.count() == 1
    with WorkerThread(shop.app, shop.queue):  # the worker's relay sends the row
        assert shop.app.AsyncResult(task_id).get(timeout=30) is None
        wait_until(lambda: shop.count() == 0)
    assert shop.lines() == ["kept was asked for", "kept"]


def test_a_process_killed_right_after_its_commit_loses_no_workflow(shop: KeptShop, tmp_path: Path) -> None:
    ini = shop.ini(tmp_path / "app.ini", **{"ptemporal.dispatch_timeout": "0.5"})
    ended, (workflow_id,) = run("after_the_commit_of_a_workflow", ini)
    assert ended == -signal.SIGKILL
    assert shop.count() == 1
    with WorkerThread(shop.app, shop.queue):  # the worker's relay sends the row
        wait_until(lambda: shop.count() == 0)
    handle = temporal(shop.registry).get_workflow_handle(workflow_id)
    assert handle.describe().workflow_type == "Unserved"
    handle.terminate()


def test_a_process_killed_before_its_commit_starts_nothing(shop: KeptShop, tmp_path: Path) -> None:
    ended, (task_id,) = run("before_the_commit", shop.ini(tmp_path / "app.ini"))
    assert ended == -signal.SIGKILL
    assert shop.count() == 0
    assert shop.lines() == []
    assert shop.app.AsyncResult(task_id).state == "PENDING"


def put(shop: KeptShop, *texts: str) -> None:
    """Write due rows, as if a web process had not dispatched them."""
    assert shop.app.outbox is not None
    with pytest.MonkeyPatch.context() as patch, without_dispatch():
        patch.setattr(shop.app.outbox, "grace", 0)
        for text in texts:
            with requested(shop):
                note.delay(text)


@contextlib.contextmanager
def requested(shop: KeptShop) -> Iterator[None]:
    with attempt(shop.registry) as run:
        yield
        run.commit()


def test_rows_of_a_killed_relay_are_sent_by_another_relay(shop: KeptShop, tmp_path: Path) -> None:
    put(shop, "one", "two")
    with silent_server() as nowhere:
        ini = shop.ini(tmp_path / "app.ini", **{"ptemporal.address": nowhere, "ptemporal.dispatch_timeout": "60"})
        with start("relays_for_a_second_at_a_time", ini) as relay:
            wait_until(lambda: shop.claimed() == 2)
            relay.kill()
    with running(Relay(shop.app, poll_interval=0.1)):
        wait_until(lambda: shop.count() == 0)
    with WorkerThread(shop.app, shop.queue):
        wait_until(lambda: sorted(shop.lines()) == ["one", "two"])


def test_a_row_that_ends_each_relay_is_parked_and_the_other_rows_are_sent(shop: KeptShop, tmp_path: Path) -> None:
    put(shop, "one", "poison", "two")
    assert run("relays_that_a_row_ends", shop.ini(tmp_path / "app.ini")) == (0, [])
    (row,) = shop.rows()
    assert row.parked is not None
    assert row.error.startswith(f"{LAPSES} relays ended, or lost the database, while they had this row")
    assert shop.store.retry(None) == 1
    with WorkerThread(shop.app, shop.queue):  # the row does not end this worker's relay
        wait_until(lambda: sorted(shop.lines()) == ["one", "poison", "two"])
        wait_until(lambda: shop.count() == 0)


def test_the_relay_of_a_prefork_worker_runs_in_its_main_process(shop: KeptShop, tmp_path: Path) -> None:
    put(shop, "left")
    with WorkerProcess(shop.ini(tmp_path / "app.ini"), "-c", 2, log=tmp_path / "log"):
        wait_until(lambda: shop.lines() == ["left"])
        notes_threads.delay().get(timeout=30)
        assert shop.lines()[1:] == ["MainThread"]


def test_calls_of_a_task_in_a_child_process_stay_in_the_outbox_until_they_have_started(
    shop: KeptShop, tmp_path: Path
) -> None:
    with WorkerProcess(shop.ini(tmp_path / "app.ini"), "-c", 2, log=tmp_path / "log"):
        asks_for_notes.delay(["a", "b"]).get(timeout=30)
        asks_for_notes.delay(["c"], fail=True).get(timeout=30, propagate=False)
        asks_for_notes.delay(["d"]).get(timeout=30)
        wait_until(lambda: sorted(shop.lines()) == ["a", "b", "d"])
        wait_until(lambda: shop.count() == 0)


def test_a_forked_process_uses_no_connection_of_its_parent(shop: KeptShop, tmp_path: Path) -> None:
    ended, tasks = run("forks", shop.ini(tmp_path / "app.ini"))
    assert ended == 0
    assert shop.count() == 0
    with WorkerThread(shop.app, shop.queue):
        for task_id in tasks:
            shop.app.AsyncResult(task_id).get(timeout=30)
    assert len(shop.lines()) == 8
