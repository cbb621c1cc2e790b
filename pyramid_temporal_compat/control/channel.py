"""The sender's side of control calls: finds the workers, and sends a request to each."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest,
)
from temporalio.client import ActivityFailureError, ActivityHandle, Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RawValue, RetryPolicy
from temporalio.service import RPCError

from ..client.connection import Connection
from ..client.standalone import NOT_AVAILABLE, has_standalone_activities
from ..exceptions import OperationalError, SecurityError
from ..message import wire_names as wire
from ..message.message import is_name
from ..payload import Payload
from ..payload.converter import from_raw, to_raw
from ..payload.types import Unreadable, dumps, loads
from .addresses import COMMAND, DIRECTORY, Address

POLL_LASTS = 75.0
"""Seconds in which a worker polls the directory again. A worker whose last poll is this much older than the newest
poll of all workers is dead."""
DOUBTFUL_TIMEOUT = 0.1
"""Seconds to wait for a worker that has neither answered the last request nor polled since: it is probably dead."""
DOUBT_LASTS = 10.0
"""Seconds after which a worker that did not answer in time gets the whole timeout again: it may only have been busy."""
NO_REPLY_TIMEOUT = 10.0
"""Seconds in which a worker must begin a request whose sender waits for no reply. Later the server drops it."""
ONCE = RetryPolicy(maximum_attempts=1)

Reply = dict[str, Any]
Wanted = Callable[[str], bool]


class Channel:
    """Reaches all workers from synchronous code. Each app has one in each process, and any thread may use it."""

    def __init__(self, connection: Connection, patience: float) -> None:
        self._connection = connection
        self._patience = patience
        self._post = Post(patience)

    def ask(
        self, command: str, arguments: dict[str, Any], wanted: Wanted, timeout: float, limit: int | None
    ) -> Iterator[Reply]:
        """Send a request to every wanted worker. Yield `{node: reply}` as replies come in time."""
        inbox: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        sent = ControlRequest(command, arguments, timeout)

        async def work() -> None:
            await self._post.ask(await self._connection.client(), sent, wanted, inbox.put)

        self._connection.refuse_own_thread()
        future = self._connection.submit(work)
        future.add_done_callback(lambda _: inbox.put(None))
        try:
            replies = 0
            while (limit is None or replies < limit) and (reply := inbox.get()) is not None:
                replies += 1
                yield reply
            if future.done():
                future.result()
        except RPCError as error:
            raise self._connection.explain(error) from error
        except (asyncio.TimeoutError, concurrent.futures.TimeoutError):
            raise OperationalError(
                f"{self._connection} did not say within {self._patience:g} s which workers there are"
            ) from None
        except concurrent.futures.CancelledError:
            raise OperationalError(f"the connection to {self._connection} was closed while it was in use") from None
        finally:
            future.cancel()

    def tell(self, command: str, arguments: dict[str, Any], wanted: Wanted) -> None:
        """Send a request to every wanted worker, and wait for no reply."""
        sent = ControlRequest(command, arguments, NO_REPLY_TIMEOUT)
        self._connection.call(lambda client: self._post.tell(client, sent, wanted), self._patience)


class ControlRequest:
    """One control call, as every worker gets it."""

    def __init__(self, command: str, arguments: dict[str, Any], timeout: float) -> None:
        self.command = command
        self.timeout = timeout
        body = dumps({"command": command, "arguments": arguments}, f"the arguments of the control command {command!r}")
        self.value = to_raw(Payload({"encoding": b"json/plain"}, body))


class Silence(NamedTuple):
    """What this process knows of a worker that did not answer in time."""

    polled: float
    """Time of its last poll before the request."""
    waited: float
    """Seconds in which it did not answer."""
    since: float
    """Time of the event loop when the wait ended."""


class Post:
    """Finds workers, and sends requests to their mailboxes. Belongs to one event loop."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._silent: dict[Address, Silence] = {}
        """The workers that did not answer the last request in time."""

    async def ask(
        self, client: Client, request: ControlRequest, wanted: Wanted, deliver: Callable[[Reply], None]
    ) -> None:
        """Send a request to every wanted worker, and call `deliver` with each reply that comes in time."""
        workers = await asyncio.wait_for(self._workers(client, wanted), self._patience)
        pending = {asyncio.ensure_future(self._ask_one(client, worker, request)): worker for worker in workers}
        loop = asyncio.get_running_loop()
        began = loop.time()
        doubtful = self._doubtful(workers, request, began)
        try:
            while pending:
                patience = (
                    request.timeout if set(pending.values()) - doubtful else min(request.timeout, DOUBTFUL_TIMEOUT)
                )
                done, _ = await asyncio.wait(
                    pending, timeout=began + patience - loop.time(), return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for answer in done:
                    worker, reply = pending.pop(answer), answer.result()
                    if reply is None:
                        self._silent[worker] = Silence(workers[worker], loop.time() - began, loop.time())
                    else:
                        self._silent.pop(worker, None)
                        deliver({worker.node: read_reply(reply)})
            for worker in set(pending.values()) - doubtful:
                self._silent[worker] = Silence(workers[worker], request.timeout, loop.time())
        finally:
            for answer in pending:
                answer.cancel()

    def _doubtful(self, workers: Mapping[Address, float], request: ControlRequest, now: float) -> set[Address]:
        """Return the workers that are probably dead.

        They did not answer the last request in at least this request's timeout, and have not polled since.
        """
        silences = {worker: self._silent[worker] for worker in workers if worker in self._silent}
        return {
            worker
            for worker, silence in silences.items()
            if silence.polled == workers[worker]
            and request.timeout <= silence.waited
            and now < silence.since + DOUBT_LASTS
        }

    async def tell(self, client: Client, request: ControlRequest, wanted: Wanted) -> None:
        """Send a request to every wanted worker."""
        workers = await self._workers(client, wanted)
        await asyncio.gather(*(self._send(client, worker, request) for worker in workers))

    async def _workers(self, client: Client, wanted: Wanted) -> dict[Address, float]:
        seen = await directory(client)
        oldest = max(seen.values(), default=0.0) - POLL_LASTS
        return {worker: last for worker, last in seen.items() if last >= oldest and wanted(worker.node)}

    async def _ask_one(self, client: Client, worker: Address, request: ControlRequest) -> Payload | None:
        handle = await self._send(client, worker, request)
        # The worker did not answer in time, or its reply can't be decoded. The replies of other workers still count.
        with suppress(ActivityFailureError, WorkflowFailureError, SecurityError, ValueError):
            return from_raw(await handle.result())
        return None

    async def _send(
        self, client: Client, worker: Address, request: ControlRequest
    ) -> ActivityHandle[RawValue] | WorkflowHandle[Any, RawValue]:
        request_id = f"control-{request.command}-{uuid.uuid4()}"
        summary = f"{request.command} to {worker.node}"[: wire.SUMMARY_LIMIT]
        timeout = timedelta(seconds=request.timeout)
        if not await has_standalone_activities(client):
            return await client.start_workflow(
                COMMAND,
                request.value,
                id=request_id,
                task_queue=worker.mailbox,
                result_type=RawValue,
                execution_timeout=timeout,
                static_summary=summary,
            )
        return await client.start_activity(
            COMMAND,
            request.value,
            id=request_id,
            task_queue=worker.mailbox,
            result_type=RawValue,
            schedule_to_close_timeout=timeout,
            retry_policy=ONCE,
            summary=summary,
        )


def read_reply(reply: Payload) -> Any:
    """Return what a worker answered. Any process may poll like a worker, so a reply may hold anything."""
    try:
        return loads(reply.data)
    except Unreadable as error:
        return {"error": str(error)}


async def directory(client: Client) -> dict[Address, float]:
    """Return every worker that the server lists, and when it began its last poll, by the server's clock."""
    # Each partition is asked for separately. Asked for a whole queue, the server describes only its first partition,
    # which does not get every poll. In its other mode it returns what it knew five seconds ago.
    found = await asyncio.gather(*(pollers_of(client, partition) for partition in await partitions(client)))
    return {worker: seen for part in found for worker, seen in part.items()}


async def partitions(client: Client) -> list[str]:
    """Return the names of the directory's partitions. Servers split queues, so that busy queues are fast."""
    try:
        answer = await client.workflow_service.list_task_queue_partitions(
            ListTaskQueuePartitionsRequest(namespace=client.namespace, task_queue=TaskQueue(name=DIRECTORY))
        )
    except RPCError as error:
        if error.status in NOT_AVAILABLE:
            return [DIRECTORY]
        raise
    return [partition.key for partition in answer.activity_task_queue_partitions] or [DIRECTORY]


async def pollers_of(client: Client, partition: str) -> dict[Address, float]:
    """Return the workers that poll this partition of the directory, each with the time of its last poll."""
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=partition),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        )
    )
    # Any process may poll here, under any name. A name that no mailbox can have would fail the call to all workers.
    return {
        address: poller.last_access_time.ToNanoseconds() / 1e9
        for poller in answer.pollers
        if "#" in poller.identity and is_name((address := Address.read(poller.identity)).mailbox)
    }
