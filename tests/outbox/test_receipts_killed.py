"""Receipts with real workers that are killed or stopped, on a real server and a real database."""

from __future__ import annotations

import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import delete, func, select
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from pyramid_temporal_compat import group, shared_task
from pyramid_temporal_compat.outbox import metadata as our_tables
from pyramid_temporal_compat.outbox import receipts
from tests.cli.parts import INI, WorkerProcess, write_ini
from tests.outbox import killed
from tests.parts import fresh_database, wait_until
from tests.worker.shop import Shop, WorkerThread, add, describe, event_names, gates, seen, write

PATIENCE = 40


class Site:
    """The shop with receipts, and its workers in separate processes."""

    def __init__(self, shop: Shop, tmp_path: Path) -> None:
        self.shop = shop
        self.directory = str(tmp_path)
        self._tmp_path = tmp_path

    @contextmanager
    def worker(self, *options: object) -> Iterator[WorkerProcess]:
        name = uuid.uuid4().hex[:6]
        settings = {name: value for name, value in self.shop.settings.items() if name not in INI}
        ini = write_ini(self._tmp_path / f"{name}.ini", {**settings, "ptemporal.include": "tests.outbox.killed"})
        with WorkerProcess(ini, "-c", 2, "-l", "info", *options, log=self._tmp_path / f"{name}.log") as worker:
            worker.says("ready.")
            yield worker

    @property
    def calls(self) -> int:
        return len((self._tmp_path / "calls").read_text())

    @property
    def died(self) -> bool:
        return (self._tmp_path / "died").exists()

    @property
    def pids(self) -> list[int]:
        path = self._tmp_path / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def let_go(self, pid: int) -> None:
        (self._tmp_path / f"go{pid}").touch()

    def count(self) -> int:
        with self.shop.session() as session:
            return int(session.scalar(select(func.count()).select_from(receipts)))


@pytest.fixture(scope="module")
def shop(temporal_address: str, postgres: str) -> Iterator[Shop]:
    with fresh_database(postgres) as url:
        settings = {
            "ptemporal.heartbeat_timeout": "2",
            "ptemporal.dispatch_timeout": "1",  # the relay takes over after twice this time
            "ptemporal.outbox": "dbsession",
            "ptemporal.receipts": "true",
        }
        shop = Shop(temporal_address, url, **settings)
        our_tables.create_all(shop.engine)
        yield shop
        shop.close()


@pytest.fixture
def site(shop: Shop, tmp_path: Path) -> Iterator[Site]:
    shop.app.set_current()
    yield Site(shop, tmp_path)
    shop.clear()
    with shop.engine.begin() as connection:
        connection.execute(delete(receipts))


@pytest.mark.parametrize("task", [killed.writes_and_dies, killed.writes_and_dies_at_most_once])
def test_a_task_whose_process_dies_between_commit_and_reply_is_not_run_again(site: Site, task: Any) -> None:
    with site.worker():
        assert task.delay(site.directory).get(timeout=PATIENCE) == 1
    assert site.died
    assert (site.calls, site.shop.lines()) == (1, ["effect"])


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_task_whose_whole_worker_dies_between_commit_and_reply_is_not_run_again(site: Site, pool: str) -> None:
    with site.worker("-P", pool) as worker:
        result = killed.writes_and_dies.delay(site.directory, "worker")
        assert worker.ends() == -signal.SIGKILL
    with site.worker("-P", pool) as worker:
        assert result.get(timeout=PATIENCE) == 1
        worker.says("was done before: its receipt says how it ended")
    assert (site.calls, site.shop.lines()) == (1, ["effect"])


def test_a_task_that_has_committed_in_time_is_not_refused_for_its_expiry(site: Site) -> None:
    with site.worker():
        result = killed.writes_and_dies_past_its_expiry.apply_async((site.directory,), expires=4)
        assert result.get(timeout=PATIENCE) == 1
    assert site.died
    assert site.shop.lines() == ["effect"]


def test_a_member_of_a_canvas_is_not_run_again(site: Site) -> None:
    with site.worker():
        result = group(add.s(1, 2), add.s(3, 4) | killed.takes_and_dies.s(site.directory)).delay()
        assert result.get(timeout=PATIENCE) == [3, 8]
    assert site.died
    assert (site.calls, site.shop.lines()) == (1, ["effect"])


def test_calls_of_a_task_start_once_though_its_process_died_before_their_dispatch(site: Site) -> None:
    with site.worker():
        child = killed.calls_and_dies.delay(site.directory).get(timeout=PATIENCE)
        site.shop.app.AsyncResult(child).get(timeout=PATIENCE)
    assert site.died
    assert (site.calls, site.shop.lines()) == (1, ["parent", "child"])


def test_a_task_is_replaced_once(site: Site) -> None:
    with site.worker():
        assert killed.is_replaced_and_dies.delay(site.directory).get(timeout=PATIENCE) == "instead"
    assert site.died
    assert (site.calls, site.shop.lines()) == (1, ["effect", "instead"])


# --- a worker that was only taken for dead --------------------------------------------------------------


@contextmanager
def stopped(*processes: psutil.Process) -> Iterator[None]:
    """Stop processes for a while, so that the server gets no heartbeat from them."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def test_a_run_that_commits_too_late_is_rolled_back_and_does_not_fail_the_task(site: Site) -> None:
    with site.worker("-c", 1) as first, site.worker("-c", 1) as second:
        result = killed.waits_for_its_file.delay(site.directory)
        zombie = wait_until(lambda: site.pids)[0]
        here = first if zombie in family(first) else second
        with stopped(psutil.Process(here.process.pid)):  # this process sends the heartbeats; the task itself goes on
            heir = wait_until(lambda: site.pids[1:], PATIENCE)[0]
            site.let_go(heir)
            wait_until(lambda: site.shop.lines() == ["effect"])
            site.let_go(zombie)
            here.says("was done before: its receipt says how it ended")
            assert "Traceback" not in here.said
        assert result.get(timeout=PATIENCE) == heir
    assert site.shop.lines() == ["effect"]


def test_the_result_comes_from_the_run_that_committed(site: Site) -> None:
    with site.worker("-c", 1) as first, site.worker("-c", 1) as second:
        result = killed.waits_for_its_file.delay(site.directory)
        zombie = wait_until(lambda: site.pids)[0]
        here, there = (first, second) if zombie in family(first) else (second, first)
        with stopped(psutil.Process(here.process.pid)):
            heir = wait_until(lambda: site.pids[1:], PATIENCE)[0]
            site.let_go(zombie)
            wait_until(lambda: site.shop.lines() == ["effect"])
            site.let_go(heir)
            there.says("was done before: its receipt says how it ended")
        assert result.get(timeout=PATIENCE) == zombie
    assert site.shop.lines() == ["effect"]


def test_a_worker_that_fell_silent_may_be_given_the_same_task_again(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    resume = threading.Event()
    with WorkerThread(site.shop.app, site.shop.queue, concurrency=2) as worker:
        result = stays.delay()
        gates["silent"].reached()
        worker.call(lambda: resume.wait(PATIENCE))  # blocks the event loop, which sends the heartbeats
        try:
            wait_until(lambda: attempts(site.shop, result.id) > 1)
        finally:
            resume.set()
        gates["silent"].reached()
        gates["first"].open()
        wait_until(lambda: seen["left"])  # the first run, after the second has started
        gates["silent"].open()
        assert result.get(timeout=PATIENCE) == "done"
    assert len(seen["left"]) == 2
    assert "Completing activity as failed" not in caplog.text
    assert site.shop.lines() == ["at silent"]


@shared_task
def stays() -> str:
    """The first run goes on although it is cancelled."""
    write("at silent")
    try:
        gates["silent"].pass_through()
    except BaseException:
        gates["first"].pass_through()
        raise
    finally:
        seen["left"].append(True)
    return "done"


def attempts(shop: Shop, task_id: str) -> int:
    return max((pending.attempt for pending in describe(shop, task_id).raw_description.pending_activities), default=0)


def family(worker: WorkerProcess) -> list[int]:
    return [child.pid for child in psutil.Process(worker.process.pid).children(recursive=True)]


# --- the same id again ---------------------------------------------------------------------------------


def reset(shop: Shop, task_id: str) -> str:
    """Reset the workflow, as an operator does. Return the id of its new run."""
    before_its_activity = event_names(shop, task_id).index("WORKFLOW_TASK_COMPLETED") + 1

    async def ask(client: Any) -> Any:
        found = await client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=task_id),
                reason="test",
                workflow_task_finish_event_id=before_its_activity,
                request_id=str(uuid.uuid4()),
            )
        )
        return found.run_id

    return str(shop.app.temporal.call(ask, 20))


@pytest.fixture
def here(site: Site) -> Iterator[Shop]:
    with WorkerThread(site.shop.app, site.shop.queue):
        yield site.shop


def test_a_workflow_that_is_reset_has_the_first_result_and_no_second_effect(here: Shop, tmp_path: Path) -> None:
    result = killed.counts.delay(str(tmp_path))
    assert result.get(timeout=PATIENCE) == 1
    for _ in range(2):
        reset(here, result.id)
        assert here.app.AsyncResult(result.id).get(timeout=PATIENCE) == 1
    assert here.lines() == ["effect"]


def test_a_member_of_a_canvas_that_is_reset_has_no_second_effect(here: Shop, tmp_path: Path) -> None:
    here.app.conf["ptemporal.canvas_batch"] = 2
    try:
        result = group(killed.counts.s(str(tmp_path)) for _ in range(5)).delay()
    finally:
        here.app.conf["ptemporal.canvas_batch"] = 250
    assert sorted(result.get(timeout=PATIENCE)) == [1, 2, 3, 4, 5]
    wait_until(lambda: "WORKFLOW_EXECUTION_COMPLETED" in event_names(here, result.id))
    reset(here, result.id)
    wait_until(lambda: "WORKFLOW_EXECUTION_COMPLETED" in event_names(here, result.id), PATIENCE)
    assert here.lines() == ["effect"] * 5


def test_a_reused_id_is_a_new_task_once_the_old_task_is_forgotten(here: Shop, tmp_path: Path) -> None:
    task_id = f"nightly-{uuid.uuid4().hex}"
    first = killed.counts.apply_async((str(tmp_path),), task_id=task_id)
    assert first.get(timeout=PATIENCE) == 1
    first.forget()
    wait_until(lambda: not is_known(here, task_id))
    second = killed.counts.apply_async((str(tmp_path),), task_id=task_id)
    assert second.get(timeout=PATIENCE) > 1
    assert here.lines() == ["effect"] * 2


def is_known(shop: Shop, task_id: str) -> bool:
    from temporalio.service import RPCError

    async def ask(client: Any) -> bool:
        try:
            await client.get_workflow_handle(task_id).describe()
        except RPCError:
            return False
        return True

    return bool(shop.app.temporal.call(ask, 20))


# --- removal -------------------------------------------------------------------------------------------


def test_receipts_are_removed_when_they_are_old_and_their_workflow_is_closed(
    here: Shop, site: Site, tmp_path: Path
) -> None:
    ended = [killed.counts.delay(str(tmp_path)) for _ in range(3)]
    odd = killed.counts.apply_async((str(tmp_path),), task_id=f'it\'s \\ "odd" {uuid.uuid4().hex}')
    for result in (*ended, odd):
        result.get(timeout=PATIENCE)
    directory = tmp_path / "open"
    directory.mkdir()
    still_open = (killed.counts.s(str(tmp_path)) | killed.waits_for_its_file.si(str(directory))).delay()
    pid = int(wait_until(lambda: (directory / "pids").exists() and (directory / "pids").read_text()))
    assert keys(here) == {result.id for result in (*ended, odd, still_open.parent)}

    assert remove_older_than(here, 3600) == 0
    wait_until(lambda: (remove_older_than(here, 0.001), keys(here))[1] == {still_open.parent.id}, PATIENCE)
    (directory / f"go{pid}").touch()
    still_open.get(timeout=PATIENCE)
    wait_until(lambda: (remove_older_than(here, 0.001), keys(here))[1] == set(), PATIENCE)


def keys(shop: Shop) -> set[str]:
    with shop.session() as session:
        return set(session.scalars(select(receipts.c.task_id)))


def remove_older_than(shop: Shop, seconds: float) -> int:
    from pyramid_temporal_compat.worker.receipt_cleanup import ReceiptCleanup

    shop.app.conf["ptemporal.receipts_expire"] = seconds

    async def work(client: Any) -> int:
        return await ReceiptCleanup(shop.app, client).remove_aged()

    try:
        return int(shop.app.temporal.call(work, 20))
    finally:
        shop.app.conf["ptemporal.receipts_expire"] = 3600


def test_a_worker_deletes_old_receipts_by_itself(site: Site, tmp_path: Path) -> None:
    site.shop.app.conf["ptemporal.receipts_expire"] = 0.5
    try:
        with WorkerThread(site.shop.app, site.shop.queue):
            killed.counts.delay(str(tmp_path)).get(timeout=PATIENCE)
            wait_until(lambda: site.count() == 0)
    finally:
        site.shop.app.conf["ptemporal.receipts_expire"] = 3600


def test_a_worker_does_not_start_without_the_table_of_receipts(temporal_address: str, database_url: str) -> None:
    settings = {"ptemporal.outbox": "dbsession", "ptemporal.receipts": "true"}
    shop = Shop(temporal_address, database_url, **settings)
    with pytest.raises(Exception, match="no table ptemporal_receipts"), WorkerThread(shop.app, shop.queue):
        pass
    shop.close()
