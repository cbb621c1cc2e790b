"""Make the request of a start or a signal without sending it, and send it later.

temporalio's client makes the request, and sends it to a stand-in for the server that keeps it. So every option, the
application's payload converter, its codecs and its interceptors act as they do for any other call of that client.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode, ServiceClient

from ..exceptions import InvalidCall, InvalidTaskError
from ..message.workflow_call import WorkflowCall

Response = TypeVar("Response", bound=Protobuf)

USE_EXISTING = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
START = "start_workflow_execution"
SIGNAL = "signal_workflow_execution"
REQUESTS: Mapping[str, Any] = {
    START: StartWorkflowExecutionRequest,
    "signal_with_start_workflow_execution": SignalWithStartWorkflowExecutionRequest,
    SIGNAL: SignalWorkflowExecutionRequest,
}
"""The server's calls that can wait for a commit, and the class of each one's request."""


class RequestKeeper(ServiceClient):
    """Stands for the server: keeps the one request that it gets, and answers it with an empty response."""

    def __init__(self, config: ConnectConfig) -> None:
        super().__init__(config)
        self.kept: tuple[str, Any] | None = None

    async def _rpc_call(
        self,
        rpc: str,
        req: Protobuf,
        resp_type: type[Response],
        *,
        service: str,
        retry: bool,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,
    ) -> Response:
        if rpc not in REQUESTS or self.kept is not None:
            raise InvalidCall(
                f"an interceptor asked the server for {rpc!r} during a call that waits for its transaction's commit; "
                "the server can be asked nothing before. Make the interceptor skip such calls, or use "
                "request.temporal.client for calls that act at once"
            )
        self.kept = rpc, req
        return resp_type()

    @property
    def worker_service_client(self) -> NoReturn:
        raise InvalidCall("no worker can be made from a client that sends nothing")

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        """Do nothing: a kept request has no metadata."""

    def update_api_key(self, api_key: str | None) -> None:
        """Do nothing: a kept request has no key."""


async def keep_request(
    config: ConnectConfig, options: Mapping[str, Any], call: Callable[[Client], Awaitable[Any]]
) -> tuple[str, Any]:
    """Return the name and the request of the one call to the server that `call(client)` makes.

    :param options: what `Client` takes besides its connection.
    """
    keeper = RequestKeeper(config)
    await call(Client(keeper, **options))
    if keeper.kept is None:
        raise InvalidCall("an interceptor has answered a call that waits for its transaction's commit: nothing is left")
    rpc, request = keeper.kept
    if rpc == START and request.workflow_id_conflict_policy == USE_EXISTING:
        # The server then notes the request's id in the existing workflow, and knows the request if it comes again.
        request.on_conflict_options.attach_request_id = True
    return rpc, request


def read_request(call: WorkflowCall) -> Any:
    """Return the request of a call, as protobuf."""
    try:
        return REQUESTS[call.rpc].FromString(call.request)
    except (KeyError, DecodeError):
        raise InvalidTaskError(f"{call.rpc!r:.80} with {len(call.request)} bytes can't be read as a request") from None


async def arguments_of(call: WorkflowCall, converter: DataConverter) -> list[Any]:
    """Return the arguments of the workflow, or of the signal, as plain values."""
    return await converter.decode(read_request(call).input.payloads)


async def send_request(client: Client, call: WorkflowCall, now: datetime.datetime) -> None:
    """Send the request of a call. The server does nothing if it has had the same request before.

    Raises `WorkflowAlreadyStartedError` if another workflow has the id.
    """
    request = read_request(call)
    if call.eta is not None:
        request.ClearField("workflow_start_delay")
        if call.eta > now:
            request.workflow_start_delay.FromTimedelta(call.eta - now)
    try:
        await getattr(client.workflow_service, call.rpc)(request, retry=True)
    except RPCError as error:
        taken = WorkflowExecutionAlreadyStartedFailure()
        details = error.grpc_status.details
        if error.status is RPCStatusCode.ALREADY_EXISTS and details and details[0].Unpack(taken):
            raise WorkflowAlreadyStartedError(call.workflow_id, call.task, run_id=taken.run_id) from None
        raise
