"""What the settings of the tests name: interceptors, a plugin, a converter, a storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import temporalio.client
import temporalio.worker
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import ExternalStorage, StorageDriver, StorageDriverClaim
from temporalio.plugin import SimplePlugin

from tests.native.greeting import Greeting

seen: list[str] = []


class ForBoth(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    def intercept_client(self, next: temporalio.client.OutboundInterceptor) -> temporalio.client.OutboundInterceptor:
        return Outbound(next)

    def intercept_activity(
        self, next: temporalio.worker.ActivityInboundInterceptor
    ) -> temporalio.worker.ActivityInboundInterceptor:
        seen.append("worker of both")
        return next


class Outbound(temporalio.client.OutboundInterceptor):
    async def start_workflow(self, input: temporalio.client.StartWorkflowInput) -> Any:
        seen.append(f"start of {input.workflow}")
        input.memo = {**(input.memo or {}), "intercepted": True}
        return await super().start_workflow(input)


class ForWorkers(temporalio.worker.Interceptor):
    def intercept_activity(
        self, next: temporalio.worker.ActivityInboundInterceptor
    ) -> temporalio.worker.ActivityInboundInterceptor:
        seen.append("worker only")
        return next


def make_for_workers() -> ForWorkers:
    return ForWorkers()


converter = pydantic_data_converter
"""For `ptemporal.payload_converter`."""

kept: dict[str, bytes] = {}


class InMemory(StorageDriver):
    def name(self) -> str:
        return "tests.in-memory"

    async def store(self, context: Any, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        claims = []
        for payload in payloads:
            key = str(len(kept))
            kept[key] = payload.SerializeToString()
            claims.append(StorageDriverClaim({"key": key}))
        return claims

    async def retrieve(self, context: Any, claims: Sequence[StorageDriverClaim]) -> list[Payload]:
        return [Payload.FromString(kept[claim.claim_data["key"]]) for claim in claims]


def storage() -> ExternalStorage:
    return ExternalStorage(drivers=[InMemory()], payload_size_threshold=20_000)


not_an_interceptor = object()


def plugin() -> SimplePlugin:
    """Return a plugin that has each worker serve one workflow more."""
    return SimplePlugin("tests.greets", workflows=[Greeting])
