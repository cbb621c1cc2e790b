"""What the tests of `native/` share: a workflow that runs on a worker of this process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import transaction
from temporalio.client import Client, WorkflowHandle

from pyramid_temporal_compat import Worker
from tests.native.workflows import Runs

PATIENCE = 60

During = Callable[[WorkflowHandle[Any, Any]], Awaitable[Any]]


def run(
    shop: Any,
    workflow: Any,
    *args: Any,
    activities: Sequence[Any],
    during: During | None = None,
    **options: Any,
) -> Any:
    """Run a workflow to its end, with a worker for these activities, and return its result.

    :param during: called with the workflow's handle once it has started.
    """

    async def main() -> Any:
        client = await Client.connect(shop.settings["ptemporal.address"])
        queue = f"native-{uuid.uuid4().hex[:8]}"
        async with Worker(
            client, shop.registry, task_queue=queue, workflows=[workflow], activities=activities, **options
        ):
            handle = await client.start_workflow(workflow.run, args=args, id=queue, task_queue=queue)
            if during is not None:
                await during(handle)
            return await asyncio.wait_for(handle.result(), PATIENCE)

    return asyncio.run(main())


def run_activity(shop: Any, activity: Any, argument: Any, *, attempts: int = 1, **options: Any) -> Any:
    """Run one activity, in a workflow of its own, and return its result."""
    name = getattr(activity, "__temporal_activity_definition").name
    return run(shop, Runs, name, argument, attempts, activities=[activity], **options)


def thread_local_manager(request: Any) -> Any:
    """The hook of an application whose requests use the thread's own transaction manager."""
    return transaction.manager
