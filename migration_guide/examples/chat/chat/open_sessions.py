"""Print who chats: `python -m chat.open_sessions development.ini`. Asynchronous code with a client provider."""

from __future__ import annotations

import asyncio
import sys

from pyramid.paster import bootstrap

from .client_provider import ClientProvider

OPEN = "WorkflowType = 'ChatSession' AND ExecutionStatus = 'Running'"


async def open_sessions(provider: ClientProvider) -> list[str]:
    client = await provider.client()
    return [workflow.id async for workflow in client.list_workflows(OPEN)]


if __name__ == "__main__":
    with bootstrap(sys.argv[1]) as environment:
        for workflow_id in asyncio.run(open_sessions(ClientProvider(environment["registry"]))):
            print(workflow_id)
