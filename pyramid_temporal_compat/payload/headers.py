"""What only this package needs of a message travels in a Temporal header, so that the Input shows the arguments alone.

The header's field `ptemporal` holds one payload: a message's envelope, or the mark of a tree. A call gives it as the
first argument, an `InHeader`. Interceptors of the client and of the workflow move it from the arguments to the header
at the one moment when the request is made. On the way in, a workflow finds it in `workflow.info().headers`, and an
activity by `header_of_activity`.

Temporal's codecs leave headers alone unless the client says otherwise. `HEADER_CODECS` says so: with encryption on,
headers are encrypted too. It applies to all headers, so tracing headers of the application's interceptors are
encrypted as well.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import temporalio.client
import temporalio.worker
from temporalio.api.common.v1 import Payload as ProtoPayload
from temporalio.common import HeaderCodecBehavior, RawValue

from . import Payload
from .converter import from_raw, to_raw

FIELD = "ptemporal"
"""The field of the header that is ours."""

HEADER_CODECS = HeaderCodecBehavior.CODEC
"""What the client does with headers: encode and decode them, as all other payloads."""


@dataclass(frozen=True)
class InHeader:
    """A first argument that travels in the header."""

    payload: ProtoPayload


def to_arguments(payloads: Sequence[Payload]) -> list[Any]:
    """Return the arguments with which temporalio starts a workflow or an activity: the first payload in the header."""
    first, *rest = (to_raw(payload) for payload in payloads)
    return [InHeader(first.payload), *rest]


def split(arguments: Sequence[Any]) -> tuple[RawValue | None, Sequence[Any]]:
    """Return what goes into the header, and the other arguments."""
    if arguments and isinstance(arguments[0], InHeader):
        return RawValue(arguments[0].payload), arguments[1:]
    return None, arguments


def header_in(fields: Mapping[str, ProtoPayload]) -> Payload | None:
    """Return what a header has for this package; None if the caller knows nothing of it.

    Raise if the codecs have refused the payload.
    """
    return from_raw(RawValue(fields[FIELD])) if FIELD in fields else None


def header_of_activity() -> Payload | None:
    """Return what the header of the current activity has for this package; None if it has nothing."""
    return header_in(_fields.get())


_fields: contextvars.ContextVar[Mapping[str, ProtoPayload]] = contextvars.ContextVar("ptemporal_header")

_Request = TypeVar("_Request", bound=Any)


def _moved(request: _Request) -> _Request:
    """Return the request with a first argument that is an `InHeader` in the header."""
    header, request.args = split(request.args)
    if header is not None:
        request.headers = {**request.headers, FIELD: header.payload}
    return request


class HeaderInterceptor(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Moves what is ours between arguments and headers. A worker takes it over from its client."""

    def intercept_client(self, next: temporalio.client.OutboundInterceptor) -> temporalio.client.OutboundInterceptor:
        return _ClientCalls(next)

    def intercept_activity(
        self, next: temporalio.worker.ActivityInboundInterceptor
    ) -> temporalio.worker.ActivityInboundInterceptor:
        return _ActivityRuns(next)

    def workflow_interceptor_class(
        self, input: temporalio.worker.WorkflowInterceptorClassInput
    ) -> type[temporalio.worker.WorkflowInboundInterceptor]:
        return _WorkflowRuns


class _ClientCalls(temporalio.client.OutboundInterceptor):
    async def start_workflow(
        self, input: temporalio.client.StartWorkflowInput
    ) -> temporalio.client.WorkflowHandle[Any, Any]:
        return await super().start_workflow(_moved(input))

    async def start_activity(
        self, input: temporalio.client.StartActivityInput
    ) -> temporalio.client.ActivityHandle[Any]:
        return await super().start_activity(_moved(input))


class _ActivityRuns(temporalio.worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: temporalio.worker.ExecuteActivityInput) -> Any:
        _fields.set(input.headers)
        return await super().execute_activity(input)


class _WorkflowRuns(temporalio.worker.WorkflowInboundInterceptor):
    def init(self, outbound: temporalio.worker.WorkflowOutboundInterceptor) -> None:
        super().init(_WorkflowCalls(outbound))


class _WorkflowCalls(temporalio.worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: temporalio.worker.StartActivityInput) -> temporalio.workflow.ActivityHandle[Any]:
        return super().start_activity(_moved(input))

    async def start_child_workflow(
        self, input: temporalio.worker.StartChildWorkflowInput
    ) -> temporalio.workflow.ChildWorkflowHandle[Any, Any]:
        return await super().start_child_workflow(_moved(input))
