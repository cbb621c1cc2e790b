"""What a history shows of billable actions, beside what the server's own metric counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    ActivityTaskCompletedEventAttributes,
    ActivityTaskScheduledEventAttributes,
    ActivityTaskStartedEventAttributes,
    HistoryEvent,
    MarkerRecordedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)

from bench.server_actions import settled_actions
from pyramid_temporal_compat import Celery, chain, chord, group
from pyramid_temporal_compat.cli.report_cost import as_values, lines
from pyramid_temporal_compat.client.billable_actions import actions_of
from pyramid_temporal_compat.client.cost_estimate import CostEstimate, TypeCost, estimate, spread
from pyramid_temporal_compat.server import EmbeddedServer
from tests.worker.shop import WorkerThread

PATIENCE = 60


# --- against the server's metric -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server of its own: other tests would count in the metric of a shared one."""
    with EmbeddedServer(headless=True) as server:
        yield server


@pytest.fixture(scope="module")
def app(server: EmbeddedServer) -> Iterator[Celery]:
    app = Celery("cost", set_as_current=False, ptemporal_address=server.address, task_default_queue="cost")
    app.conf.update({"ptemporal.canvas_batch": 3, "worker_enable_remote_control": False})

    @app.task(name="one")
    def one(*before: Any) -> int:
        return 1

    @app.task(bind=True, name="retried", max_retries=None)
    def retried(self: Any, times: int) -> None:
        if self.request.retries < times:
            raise self.retry(countdown=0)

    with app, WorkerThread(app, "cost"):
        yield app


@pytest.mark.integration
def test_the_count_from_histories_is_the_servers_own(server: EmbeddedServer, app: Celery) -> None:
    one, retried = app.tasks["one"], app.tasks["retried"]
    before = settled_actions(server)
    asked: list[Any] = [one.delay(), one.apply_async(countdown=0.1), retried.delay(2)]
    asked += [chain(one.s(), one.s())(), group(one.s() for _ in range(5))(), chord([one.s(), one.s()])(one.s())]
    for result in asked:
        result.get(timeout=PATIENCE)
    billed = settled_actions(server) - before

    found = app.temporal.call(lambda client: estimate(client, 1), PATIENCE)

    assert found.actions == billed.total()
    assert found.kinds["retry"] == billed["activity_retry"] == 2
    assert found.kinds["activity"] == billed["command_ScheduleActivityTask"]
    assert found.kinds["start"] == billed["grpc_StartWorkflowExecution"] == len(asked)
    assert found.kinds["child"] == 2 * billed["command_StartChildWorkflowExecution"] > 0
    assert (found.error, found.other_workflows, found.histories) == (0, 0, found.workflows)
    shown = "\n".join(lines(found))
    assert f"about {30 * billed.total():,} actions a month, give or take 0" in shown
    assert json.loads(json.dumps(as_values(found)))["actions_a_month"] == 30 * billed.total()


# --- single rules ----------------------------------------------------------------------------------------


def started(**more: Any) -> HistoryEvent:
    return HistoryEvent(
        event_id=1,
        event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(**more),
    )


def test_a_child_and_a_next_run_are_paid_for_by_whoever_started_them() -> None:
    assert actions_of([started(parent_workflow_execution=WorkflowExecution(workflow_id="above"))]) == {}
    assert actions_of([started(continued_execution_run_id="before")]) == {}


def test_a_firing_of_a_schedule_costs_two_more() -> None:
    start = started()
    attributes = start.workflow_execution_started_event_attributes.search_attributes.indexed_fields
    attributes["TemporalScheduledById"].data = b'"each hour"'
    assert actions_of([start]) == {"start": 1, "schedule": 2}


def test_all_markers_of_one_workflow_task_cost_one_action() -> None:
    kind = EventType.EVENT_TYPE_MARKER_RECORDED
    of_tasks = [MarkerRecordedEventAttributes(workflow_task_completed_event_id=task) for task in (4, 4, 9)]
    events = [HistoryEvent(event_type=kind, marker_recorded_event_attributes=each) for each in of_tasks]
    assert actions_of(events) == {"marker": 2}


def test_heartbeats_are_estimated_from_how_long_the_task_ran() -> None:
    scheduled = HistoryEvent(
        event_id=5,
        event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        activity_task_scheduled_event_attributes=ActivityTaskScheduledEventAttributes(),
    )
    scheduled.activity_task_scheduled_event_attributes.heartbeat_timeout.FromTimedelta(timedelta(seconds=30))
    began = HistoryEvent(
        event_id=6,
        event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED,
        activity_task_started_event_attributes=ActivityTaskStartedEventAttributes(scheduled_event_id=5, attempt=3),
    )
    ended = HistoryEvent(
        event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
        activity_task_completed_event_attributes=ActivityTaskCompletedEventAttributes(started_event_id=6),
    )
    ended.event_time.FromSeconds(3600)
    assert actions_of([scheduled, began, ended]) == {"activity": 1, "retry": 2, "heartbeat": 150}


# --- the estimate ----------------------------------------------------------------------------------------


def test_types_that_the_sample_does_not_have_cost_the_average() -> None:
    known = TypeCost("known", workflows=100, samples=[2.0, 4.0, 2.0, 4.0], kinds=actions_of([]))
    week = timedelta(days=7)
    found = CostEstimate(
        namespace="default",
        since=datetime.now(timezone.utc) - week,
        period=week,
        is_cut=False,
        idle=week / 2,
        types=[known],
        other_workflows=10,
        activities=7,
    )
    assert found.actions == 300 + 30 + 7
    assert 100 < found.error < 120
    shown = "\n".join(lines(found))
    assert "(no workflow started in the first 50% of that time" in shown
    assert "(all other types)" in shown


def test_a_sample_is_spread_over_what_was_found() -> None:
    assert list(spread(range(10), 4)) == [0, 2, 5, 7]
    assert list(spread(range(3), 4)) == [0, 1, 2]
