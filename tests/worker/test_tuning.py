"""The settings that say how much a worker takes, and over how many calls."""

from __future__ import annotations

from temporalio.worker import (
    FixedSizeSlotSupplier,
    PollerBehaviorAutoscaling,
    PollerBehaviorSimpleMaximum,
    ResourceBasedSlotSupplier,
)

from pyramid_temporal_compat.settings import Settings
from pyramid_temporal_compat.worker.slot_supplier import SharedSlots
from pyramid_temporal_compat.worker.tuning import polling, tuner

TASKS = SharedSlots(2, 2, set())


def suppliers(*, carries_tasks: bool, **settings: str) -> list[object]:
    """Return what limits workflows, and what limits activities."""
    found = tuner(
        Settings({f"ptemporal.{name}": value for name, value in settings.items()}), TASKS, carries_tasks=carries_tasks
    )
    return [found._get_workflow_task_slot_supplier(), found._get_activity_task_slot_supplier()]


def test_a_worker_runs_as_many_workflows_at_a_time_as_the_setting_says() -> None:
    assert suppliers(carries_tasks=True, max_concurrent_workflows="4") == [FixedSizeSlotSupplier(4), TASKS]


def test_slots_by_resources_leave_the_pool_to_the_tasks() -> None:
    for carries_tasks in (False, True):
        of_workflows, of_activities = suppliers(carries_tasks=carries_tasks, slots="resources", slots_cpu="0.5")
        assert isinstance(of_workflows, ResourceBasedSlotSupplier)
        assert of_workflows.tuner_config.target_cpu_usage == 0.5
        assert of_activities is (TASKS if carries_tasks else of_workflows)


def test_the_number_of_calls_that_wait_for_work_is_fixed_or_follows_the_load() -> None:
    fixed, automatic = (set(polling(Settings({"ptemporal.pollers": value})).values()) for value in ("7", "auto"))
    assert fixed == {PollerBehaviorSimpleMaximum(7)}
    assert automatic == {PollerBehaviorAutoscaling(minimum=2)}
