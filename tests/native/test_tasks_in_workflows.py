"""Workflows call tasks, and tasks start workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from pyramid_temporal_compat.current import latest_app, set_current_app
from pyramid_temporal_compat.exceptions import InvalidCall
from pyramid_temporal_compat.native.request_temporal import temporal
from pyramid_temporal_compat.payload.headers import HeaderInterceptor
from tests.enlist.application import Site
from tests.enlist.application import serving as serving_tasks
from tests.native.client_parts import serving, unique
from tests.native.greeting import Greeting
from tests.native.ordering import Ordering, pack, starts
from tests.parts import fresh_database

QUEUE, TASKS = unique("workflows"), unique("tasks")

SANDBOX = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules("pyramid_temporal_compat")
)


@pytest.fixture(scope="module")
def site(postgres: str, temporal_address: str) -> Iterator[Site]:
    before = latest_app()
    with fresh_database(postgres) as url:
        site = Site(url, temporal_address, **{"celery.task_default_queue": TASKS})
        try:
            with (
                serving_tasks(site.app, TASKS),
                serving(site.wsgi.registry, QUEUE, [Ordering, Greeting], workflow_runner=SANDBOX),
            ):
                yield site
        finally:
            site.close()
            set_current_app(before)


def test_a_workflow_runs_tasks_as_its_activities(site: Site) -> None:
    handle = temporal(site.wsgi.registry).start_workflow(Ordering.run, TASKS, task_queue=QUEUE)
    packed, by_name, retried, replaced, kind, text = handle.result(timeout=60)
    assert packed == {"item": 1, "note": "x"}
    assert by_name == {"item": 2, "note": "y"}
    assert retried == 2
    assert replaced == {"item": {"item": 3, "note": ""}, "note": "after"}
    assert kind == "KeyError"
    assert "no such item" in text

    async def replay() -> None:
        client = await site.app.temporal.new_client()
        history = await handle.for_client(client).fetch_history()
        replayer = Replayer(
            workflows=[Ordering],
            workflow_runner=SANDBOX,
            data_converter=client.data_converter,
            interceptors=[HeaderInterceptor()],
        )
        await replayer.replay_workflow(history)

    asyncio.run(replay())


def test_a_task_starts_a_workflow_with_its_own_transaction(site: Site) -> None:
    kept, lost = unique(), unique()
    starts.delay("Ada", kept, QUEUE).get(timeout=30)
    with pytest.raises(ValueError, match="told to"):
        starts.delay("Ada", lost, QUEUE, fails=True).get(timeout=30)
    assert temporal(site.wsgi.registry).get_workflow_handle_for(Greeting.run, kept).result(timeout=30) == ["hello Ada"]
    assert site.which_started([kept, lost]) == [True, False]


def test_outside_a_workflow_execute_is_an_error() -> None:
    with pytest.raises(InvalidCall, match="inside a workflow"):
        asyncio.run(_execute())


async def _execute() -> Any:
    return await pack.execute(1)
