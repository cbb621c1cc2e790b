"""The embedded server's state file: what is dropped from it, and that every list filter still finds a workflow."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from pyramid_temporal_compat.server import EmbeddedServer, state_file
from tests.parts import wait_until

CUSTOMER = SearchAttributeKey.for_keyword("Customer")
FILTERS = (
    "WorkflowId = 'order-1'",
    "WorkflowId STARTS_WITH 'order'",
    "WorkflowType = 'pack'",
    "TaskQueue IN ('items', 'others')",
    "ExecutionStatus = 'Terminated'",
    "StartTime > '2020-01-01T00:00:00Z'",
    "ExecutionTime > '2020-01-01T00:00:00Z'",
    "CloseTime > '2020-01-01T00:00:00Z'",
    "ExecutionDuration < '1h'",
    "HistoryLength > 1",
    "HistorySizeBytes > 1",
    "StateTransitionCount > 0",
    "RootWorkflowId = 'order-1'",
    "ParentWorkflowId IS NULL",
    "BuildIds IS NULL",
    "BatcherUser IS NULL",
    "TemporalScheduledById IS NULL",
    "TemporalSchedulePaused IS NULL",
    "TemporalWorkerDeploymentVersion IS NULL",
    "TemporalPauseInfo IS NULL",
    "Customer = 'Ada'",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server with its state in a file, in which one workflow has ended."""
    database = tmp_path_factory.mktemp("server") / "state.db"
    attributes = ("--search-attribute", "Customer=Keyword")
    with EmbeddedServer(headless=True, database=database, extra_args=attributes) as server:

        async def run_one() -> None:
            client = await Client.connect(server.address)
            found = TypedSearchAttributes([SearchAttributePair(CUSTOMER, "Ada")])
            handle = await client.start_workflow("pack", id="order-1", task_queue="items", search_attributes=found)
            await handle.terminate()

        asyncio.run(run_one())
        yield server


def indexes(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
            (state_file.LIST_TABLE,),
        )
        return {name for (name,) in rows}


@pytest.mark.integration
def test_a_new_state_file_has_only_the_indexes_that_are_read(server: EmbeddedServer) -> None:
    assert server.database is not None
    assert indexes(server.database) == state_file.READ_INDEXES


@pytest.mark.integration
def test_a_filter_on_any_attribute_finds_a_workflow(server: EmbeddedServer) -> None:
    async def found() -> dict[str, list[str]]:
        client = await Client.connect(server.address)

        async def ids(query: str) -> list[str]:
            return [run.id async for run in client.list_workflows(query)]

        return {query: await ids(query) for query in FILTERS}

    wait_until(lambda: asyncio.run(found())["ExecutionStatus = 'Terminated'"])
    assert asyncio.run(found()) == {query: ["order-1"] for query in FILTERS}


def test_a_file_that_is_mostly_free_space_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "LARGE", 100_000)
    file = tmp_path / "state.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE tasks (data BLOB)")
        connection.executemany("INSERT INTO tasks VALUES (?)", [(bytes(4000),)] * 100)
        size = file.stat().st_size
        assert state_file.shrink(file) == 0
        connection.execute("DELETE FROM tasks WHERE rowid > 10")
    freed = state_file.shrink(file)
    assert freed > 100_000
    assert file.stat().st_size == size - freed
    assert state_file.shrink(file) == 0


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    file.write_text("no database")
    state_file.drop_unread_indexes(file)
    assert state_file.shrink(file) == 0
    assert file.read_text() == "no database"
