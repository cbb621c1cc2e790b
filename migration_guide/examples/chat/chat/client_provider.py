"""The client of asynchronous code, which is connected once."""

from __future__ import annotations

import asyncio

from pyramid.registry import Registry
from temporalio.client import Client

from pyramid_temporal_compat import connect


class ClientProvider:
    """Connects when it is first asked, with the application's settings. Make one for each event loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def client(self) -> Client:
        async with self._connecting:
            if self._client is None:
                self._client = await connect(self._registry)
        return self._client
