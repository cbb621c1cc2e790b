"""One worker for what an attacker may send, and a way to send it that no check of ours stands in."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest

from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.client.status import Status
from pyramid_temporal_compat.client.task_status import status_of
from pyramid_temporal_compat.message.body import WHOLE
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.headers import to_arguments
from tests.parts import wait_until
from tests.worker.shop import WorkerThread

JSON = {"encoding": b"json/plain"}
PATIENCE = 30


def whole(body: bytes | Payload) -> Payload:
    """Return a body as one payload, which holds the arguments and the keyword arguments."""
    payload = body if isinstance(body, Payload) else Payload(JSON, body)
    return Payload({**payload.metadata, WHOLE: b"1"}, payload.data)


class Target:
    """An app with a worker. `ran` holds what its tasks were called with."""

    def __init__(self, address: str, name: str, **settings: Any) -> None:
        self.queue = f"{name}-{uuid.uuid4().hex[:8]}"
        self.app = Celery(name, set_as_current=False)
        self.app.conf.update(ptemporal_address=address, task_default_queue=self.queue, **settings)
        self.ran: list[Any] = []
        self.worker_name = ""
        self.app.task(name="shop.pack")(self.pack)
        self.app.task(name="shop.fail")(self.fail)
        self.app.task(name="shop.read")(self.read)

    def pack(self, *args: Any, **kwargs: Any) -> str:
        self.ran.append((args, kwargs))
        return "packed"

    def fail(self, text: str) -> None:
        raise ValueError(text)

    def read(self, task_id: str) -> Any:
        return self.app.AsyncResult(task_id).get(timeout=PATIENCE, disable_sync_subtasks=False)

    def message(self, *args: Any, **changes: Any) -> Message:
        message = Message("shop.pack", str(uuid.uuid4()), (), self.queue)
        return message.copy(**changes)

    def start(self, *payloads: Payload | bytes, id: str | None = None, type: str = "shop.pack") -> str:
        """Start a workflow with the first payload in its header, as anyone may who can write to the queue."""
        workflow_id = id or str(uuid.uuid4())
        args = to_arguments([each if isinstance(each, Payload) else Payload(JSON, each) for each in payloads])
        self.app.temporal.call(
            lambda client: client.start_workflow(type, args=args, id=workflow_id, task_queue=self.queue), PATIENCE
        )
        return workflow_id

    def forge_end(self, workflow_id: str, end: Command) -> str:
        """Start a task's workflow on a queue of the attacker, and end it with this command."""
        queue, namespace = f"evil-{uuid.uuid4()}", self.app.conf.ptemporal_namespace

        async def complete(client: Any) -> None:
            await client.start_workflow("shop.pack", id=workflow_id, task_queue=queue)
            service = client.workflow_service
            found = await service.poll_workflow_task_queue(
                PollWorkflowTaskQueueRequest(namespace=namespace, task_queue=TaskQueue(name=queue), identity="evil")
            )
            await service.respond_workflow_task_completed(
                RespondWorkflowTaskCompletedRequest(namespace=namespace, task_token=found.task_token, commands=[end])
            )

        self.app.temporal.call(complete, PATIENCE)
        return workflow_id

    def status(self, task_id: str) -> Status:
        found: Status = self.app.temporal.call(lambda client: status_of(client, task_id), PATIENCE)
        return found

    def ended(self, task_id: str) -> Status:
        """The status once the workflow is over."""
        return wait_until(lambda: (found := self.status(task_id)).ended and found, PATIENCE, f"{task_id} goes on")

    def still_works(self) -> None:
        assert self.app.tasks["shop.pack"].delay("honest").get(timeout=PATIENCE) == "packed"
        assert self.ran.pop() == (("honest",), {})


@pytest.fixture(scope="package")
def running_target(temporal_address: str) -> Iterator[Target]:
    target = Target(temporal_address, "target")
    name = f"target-{uuid.uuid4().hex[:6]}@test"
    with target.app, WorkerThread(target.app, target.queue, concurrency=8, hostname=name) as running:
        target.worker_name = running.worker.hostname
        yield target


@pytest.fixture
def target(running_target: Target) -> Target:
    running_target.ran.clear()
    return running_target
