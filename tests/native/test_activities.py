"""Context activities on the real server, with real sessions."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from temporalio.client import Client

from pyramid_temporal_compat import Worker
from tests.native.activities import plain, write_async, write_sync
from tests.native.workflows import Writes
from tests.worker.shop import Shop


def run(shop: Shop, address: str, workflow: Any, *args: Any, **options: Any) -> Any:
    async def main() -> Any:
        client = await Client.connect(address)
        queue = f"native-{uuid.uuid4().hex[:8]}"
        async with Worker(client, shop.registry, task_queue=queue, workflows=[workflow], **options):
            return await client.execute_workflow(workflow.run, args=args, id=queue, task_queue=queue)

    return asyncio.run(main())


def test_context_activities_commit_when_they_return(shop: Shop, temporal_address: str) -> None:
    result = run(shop, temporal_address, Writes, "hi", activities=[write_async, write_sync, plain])
    assert result == ["hi on MainThread", "hi", "plain hi"]
    assert shop.lines() == ["hi", "hi"]
