"""Right and wrong calls of workflows. `test_typed_calls.py` runs mypy and pyright on this file, as on `calls.py`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pyramid.request import Request
from temporalio import workflow
from temporalio.client import Client
from typing_extensions import assert_type

from pyramid_temporal_compat import connect, execute_task, shared_task, temporal
from pyramid_temporal_compat.native.request_temporal import Temporal
from pyramid_temporal_compat.native.workflow_handle import WorkflowHandle


@dataclass
class User:
    name: str


@workflow.defn
class Onboarding:
    @workflow.run
    async def run(self, user: User, days: int = 1) -> list[str]:
        return [user.name] * days

    @workflow.signal
    def skip(self, days: int) -> None: ...

    @workflow.signal
    async def stop(self) -> None: ...

    @workflow.query
    def step(self) -> int:
        return 1

    @workflow.update
    async def rename(self, name: str) -> bool:
        return bool(name)


@workflow.defn
class Sweep:
    @workflow.run
    async def run(self) -> int:
        return 1


@shared_task
def pack(item: int, note: str = "") -> float:
    return item / 2


def right_calls(there: Temporal) -> None:
    handle = there.start_workflow(Onboarding.run, User("Ada"), 3, id="x", start_delay=timedelta(hours=1))
    assert_type(handle, WorkflowHandle[Onboarding, list[str]])
    assert_type(handle.result(timeout=1), "list[str]")
    assert_type(there.start_workflow(Onboarding.run, User("Ada")).result(), "list[str]")
    assert_type(there.start_workflow(Onboarding.run, args=[User("Ada"), 3]).result(), "list[str]")
    assert_type(there.start_workflow(Sweep.run, task_queue="q").result(), int)
    assert_type(there.execute_workflow(Sweep.run, timeout=5), int)
    assert_type(there.execute_workflow(Onboarding.run, User("Ada")), "list[str]")
    by_name = there.start_workflow("Onboarding", User("Ada"), 3, result_type=list)
    assert_type(by_name.result(), Any)
    handle.signal(Onboarding.skip, 3)
    handle.signal(Onboarding.stop, after_commit=True)
    handle.signal("skip", 3)
    assert_type(handle.query(Onboarding.step), int)
    assert_type(handle.execute_update(Onboarding.rename, "Bob"), bool)
    handle.execute_update("rename", "Bob")
    assert_type(there.get_workflow_handle_for(Onboarding.run, "x").result(), "list[str]")
    assert_type(there.get_workflow_handle("x").result(), Any)
    assert_type(there.client, Client)


def wrong_calls(there: Temporal) -> None:
    there.start_workflow(Onboarding.run, "Ada")  # error
    there.start_workflow(Onboarding.run)  # error
    there.start_workflow(Onboarding.run, User("Ada"), "3")  # error
    there.start_workflow(Onboarding.run, User("Ada"), task_que="q")  # error
    there.start_workflow(Onboarding.run, User("Ada"), start_delay=60)  # error
    there.start_workflow(Sweep.run, 1)  # error
    length: str = there.start_workflow(Sweep.run).result()  # error
    handle = there.start_workflow(Onboarding.run, User("Ada"))
    handle.signal(Onboarding.skip)  # error
    handle.signal(Onboarding.skip, "3")  # error
    step: str = handle.query(Onboarding.step)  # error
    renamed: str = handle.execute_update(Onboarding.rename, "Bob")  # error
    handle.execute_update(Onboarding.rename, 5)  # error
    handle.query(Sweep.run)  # error
    print(length, step, renamed)


async def in_a_workflow() -> None:
    assert_type(await pack.execute(1, note="x"), float)
    assert_type(await execute_task(pack, [1]), float)
    assert_type(await execute_task("myapp.pack", args=[1], kwargs={"note": "x"}, queue="q"), Any)
    await pack.execute("1")  # error
    await pack.execute(1, nota="x")  # error


async def elsewhere(request: Request) -> None:
    assert_type(temporal(request.registry), Temporal)
    assert_type(await connect(request.registry), Client)
