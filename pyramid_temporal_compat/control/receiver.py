"""The worker's side of control calls: polls the worker's mailbox, and answers each request with a command."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import reprlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker as TemporalWorker

from ..client.standalone import has_standalone_activities
from ..exceptions import CeleryError, WorkerShutdown, WorkerTerminate
from ..log_lines.library_log import hide_errors
from ..log_lines.text_safety import one_line
from ..message.backoff import exponential_pauses
from ..message.message import is_name
from ..payload import Payload
from ..payload.bounds import read_together
from ..payload.converter import from_raw, raise_if_refused, to_raw
from ..payload.types import Unreadable, dumps, loads
from . import process_state
from .addresses import COMMAND, DIRECTORY, Address
from .channel import ControlRequest, Post, directory
from .other_applications import warning_about
from .refused_calls import UNSUPPORTED, CommandRefused
from .worker_commands import Panel, State

if TYPE_CHECKING:
    from ..interfaces import WorkerLike

log = logging.getLogger(__name__)

REQUESTS = 20
"""How many requests are answered at the same time, so that a slow request delays no other."""
MOST_ORDER_BYTES = 4 * 1024 * 1024
MOST_ORDER_VALUES = 200_000
"""Bytes and values of one request. The largest honest one is `hello`, with up to 50,000 revoked ids."""
LISTED_WITHIN = 5.0
"""Seconds to wait for the server to list this worker. After that the worker counts as ready all the same."""
FIRST_LOOK, LOOK_EVERY = 0.002, 0.02
"""Seconds between the first two looks for this worker in the server's list, and later ones, at most."""
GREETING_TIMEOUT = 5.0
"""Seconds that the other workers have to answer `hello`."""
LAST_ANSWERS = timedelta(seconds=2)
"""How long a running command may take to end after the worker has ended."""


@workflow.defn(name=COMMAND, sandboxed=False)
class ControlWorkflow:
    """Runs the activity that answers a request, on servers without standalone activities."""

    @workflow.run
    async def run(self, payload: RawValue) -> Any:
        return await workflow.execute_activity(
            COMMAND,
            payload,
            result_type=RawValue,
            schedule_to_close_timeout=timedelta(minutes=1),  # the client has set the workflow's own limit
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


class UnreadableRequest(ApplicationError):
    """A request that the codecs have refused. It gets no answer, and `payload.converter` has logged it."""


hide_errors("temporalio.activity", UnreadableRequest)


def refuse_unreadable(request: RawValue) -> None:
    """Raise if the codecs have refused the request."""
    try:
        raise_if_refused(request.payload)
    except Exception as error:
        raise UnreadableRequest(str(error), type=type(error).__name__, non_retryable=True) from None


def read_request(data: bytes) -> tuple[str, dict[str, Any]]:
    """Return the command and the arguments of a request. Anyone who can write to the namespace may have written it."""
    if len(data) > MOST_ORDER_BYTES:
        raise Unreadable(f"a request of {len(data):,} bytes is refused: {MOST_ORDER_BYTES:,} are allowed")
    with read_together(values=MOST_ORDER_VALUES):
        asked = loads(data)
    command, arguments = (asked.get("command"), asked.get("arguments")) if isinstance(asked, dict) else (None, None)
    if not is_name(command) or not isinstance(arguments, dict):
        raise Unreadable(f"a request of {len(data):,} bytes names no command and its arguments")
    return str(command), arguments


class Receiver:
    """Answers the control requests to one worker. Belongs to the worker's event loop, where it calls commands."""

    def __init__(self, worker: WorkerLike, client: Client, code_name: Mapping[str, Any]) -> None:
        """`code_name` are the options of a Temporal worker that name its code, as the worker's own options do."""
        self._client = client
        self._code_name = code_name
        self._worker = worker
        self._address = Address.new(worker.hostname)
        self._state = State(worker, client)

    @activity.defn(name=COMMAND)
    async def answer(self, request: RawValue) -> RawValue:
        """Answer one request: the activity that the mailbox brings."""
        refuse_unreadable(request)
        try:
            command, arguments = await asyncio.to_thread(read_request, from_raw(request).data)
        except Unreadable as error:
            log.warning("control: a request is refused: %s", one_line(error))
            reply = dumps({"error": str(error)})
        else:
            reply = await self.reply(command, arguments)
        return to_raw(Payload({"encoding": b"json/plain"}, reply))

    async def reply(self, command: str, arguments: dict[str, Any]) -> bytes:
        """Return the command's reply, or `{"error": …}`, as JSON. Never raises: a failing command harms no worker."""
        self._state.tick()
        log.debug("control: %r(%s)", command, reprlib.repr(arguments))
        try:
            return dumps(await self._call(command, arguments), f"the reply of the control command {command!r}")
        except WorkerTerminate:
            self._worker.stop_now()
            return dumps({"ok": "terminating"})
        except WorkerShutdown:
            self._worker.stop()
            return dumps({"ok": "shutting down"})
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("control: %r(%s) failed", command, reprlib.repr(arguments))
            return dumps({"error": str(error) if isinstance(error, CeleryError) else repr(error)})

    async def _call(self, command: str, arguments: dict[str, Any]) -> Any:
        function = Panel.data.get(command)
        if function is None:
            if sentence := UNSUPPORTED.get(f"celery.app.control.Control.{command}"):
                raise CommandRefused(f"{command}: {sentence}")
            raise CeleryError(f"there is no control command {command!r}; there are {', '.join(sorted(Panel.data))}")
        reply = function(self._state, **arguments)
        return await reply if inspect.isawaitable(reply) else reply

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Poll the directory and the mailbox, and answer requests, until the end of the block."""
        standalone = await has_standalone_activities(self._client)
        mailbox = self._polling(self._address.mailbox, self._worker.hostname, [] if standalone else [ControlWorkflow])
        entry = self._polling(DIRECTORY, str(self._address))
        async with mailbox, entry:
            await self._until_listed()
            greeting = [asyncio.ensure_future(self._greet()), asyncio.ensure_future(self._look_for_namesake())]
            try:
                yield
            finally:
                for each in greeting:
                    each.cancel()

    def _polling(self, queue: str, identity: str, workflows: Sequence[type] = ()) -> TemporalWorker:
        return TemporalWorker(
            self._client,
            task_queue=queue,
            identity=identity,
            activities=[self.answer],
            workflows=workflows,
            max_concurrent_activities=REQUESTS,
            max_concurrent_activity_task_polls=1,
            graceful_shutdown_timeout=LAST_ANSWERS,
            **self._code_name,
        )

    async def _until_listed(self) -> None:
        """Wait until the server lists this worker, so that a ready worker can be found."""
        deadline = asyncio.get_running_loop().time() + LISTED_WITHIN
        for pause in exponential_pauses(FIRST_LOOK, LOOK_EVERY):
            if self._address in await directory(self._client) or asyncio.get_running_loop().time() >= deadline:
                return
            await asyncio.sleep(pause)

    async def _look_for_namesake(self) -> None:
        """Log if another worker has this worker's name. A worker of that name that has just ended does not count."""
        this = self._worker.hostname
        answers: list[Mapping[str, Any]] = []
        try:
            workers = await directory(self._client)
            if not any(worker.node == this and worker != self._address for worker in workers):
                return
            ping = ControlRequest("ping", {}, GREETING_TIMEOUT)
            await Post(GREETING_TIMEOUT).ask(self._client, ping, lambda node: node == this, answers.append)
        except Exception as error:
            log.debug("control: this worker could not look for another of its name: %r", error)
        if len(answers) > 1:
            log.warning(
                "another worker is called %s too, so control calls and logs can't tell the two apart: give each a name "
                "of its own, such as -n w2@%%h",
                this,
            )

    async def _greet(self) -> None:
        """Learn from the other workers what was revoked before this worker began, and what they are."""

        def learn(reply: Mapping[str, Any]) -> None:
            for node, answer in reply.items():
                if isinstance(answer, Mapping) and "revoked" in answer:
                    try:
                        process_state.revoked.update(answer["revoked"])
                        process_state.revoke_stamps(answer.get("revoked_stamps", {}))
                        if warning := warning_about(self._worker, node, answer, self._client.namespace):
                            log.warning("%s", one_line(warning))
                    except (TypeError, ValueError, AttributeError) as error:  # the other workers' answers still count
                        log.warning("control: what a worker says of itself can't be read: %s", one_line(error))

        this = {"from_node": self._worker.hostname, "from_app": self._worker.app.oid}
        hello = ControlRequest("hello", {**this, "revoked": list(process_state.revoked)}, GREETING_TIMEOUT)
        try:
            await Post(GREETING_TIMEOUT).ask(self._client, hello, lambda node: True, learn)
        except Exception as error:
            log.warning("control: this worker could not learn from other workers which tasks were revoked: %r", error)
