"""Right and wrong uses of context activities for type checkers. `test_typed_calls.py` runs mypy and pyright on it.

Both must report an error for each line that ends in `# error`, and for no other line.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment
from typing_extensions import assert_type

from pyramid_temporal_compat import ActivityContext, Worker, activity

LIMIT = timedelta(seconds=10)


@activity.defn
async def enrich(context: ActivityContext, user_id: int) -> bool:
    assert_type(context.info, activity.Info)
    return bool(context.request.dbsession.get(user_id))


@activity.defn(name="price")
def price(context: ActivityContext, item: int) -> float:
    return item / 2


@activity.defn
async def mail(context: ActivityContext, user_id: int, subject: str) -> str:
    return subject


@activity.defn()
def sweep(context: ActivityContext) -> int:
    return 0


@activity.defn
async def plain(item: int) -> float:
    return item / 2


@activity.defn(name="named")
def plain_named(item: int) -> str:
    return str(item)


@workflow.defn
class Right:
    @workflow.run
    async def run(self, user_id: int) -> None:
        assert_type(await workflow.execute_activity(enrich, user_id, start_to_close_timeout=LIMIT), bool)
        assert_type(await workflow.execute_activity(price, user_id, start_to_close_timeout=LIMIT), float)
        assert_type(await workflow.execute_activity(mail, args=[1, "a"], start_to_close_timeout=LIMIT), str)
        assert_type(await workflow.execute_activity(sweep, start_to_close_timeout=LIMIT), int)
        assert_type(await workflow.execute_activity(plain, 1, start_to_close_timeout=LIMIT), float)
        assert_type(await workflow.execute_activity(plain_named, 1, start_to_close_timeout=LIMIT), str)


@workflow.defn
class Wrong:
    @workflow.run
    async def run(self, user_id: int) -> None:
        await workflow.execute_activity(enrich, "1", start_to_close_timeout=LIMIT)  # error
        await workflow.execute_activity(price, "1", start_to_close_timeout=LIMIT)  # error
        await workflow.execute_activity(plain, "1", start_to_close_timeout=LIMIT)  # error
        await workflow.execute_activity(enrich, 1, start_to_close_timeout=10)  # error


async def direct_calls(context: ActivityContext) -> None:
    assert_type(await enrich(context, 1), bool)
    assert_type(price(context, 1), float)
    assert_type(await ActivityEnvironment().run(enrich, context, 42), bool)
    assert_type(ActivityEnvironment().run(price, context, 42), float)
    await enrich(context, "1")  # error
    price(context)  # error
    price(context, 1, 2)  # error


async def workers(client: Client, registry: Any) -> None:
    async with Worker(client, registry, task_queue="q", activities=[enrich, price, plain], workflows=[Right]) as worker:
        await worker.shutdown()
    Worker(client, registry, activities=[enrich])  # error
    Worker(client, registry, task_queue=3)  # error
    Worker(client, registry, task_queue="q", activity_executor=3)  # error
    Worker(client, registry, task_queue="q", tasks="all")  # error
