"""The registry of the commands that workers answer to control calls, and the `State` that each command gets.

    @control_command(args=[("n", int)])
    def cool_down(state, n=1):
        "One line of help."
        return {"ok": n}

    app.control.broadcast("cool_down", {"n": 3}, reply=True)

The worker calls a command on its event loop, with its `State` and the arguments of the call. A command that waits for
something is an `async def`. A command that computes for long should do so in a thread.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import UserDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

if TYPE_CHECKING:
    from temporalio.client import Client

    from ..interfaces import AppLike, TakenLike, WorkerLike
    from .orders import Orders
    from .waiting_tasks import DelayedTasks

C = TypeVar("C", bound=Callable[..., Any])


class CommandInfo(NamedTuple):
    """Describes a command for the command line, under Celery's names."""

    alias: str | None
    type: str
    visible: bool
    default_timeout: float
    help: str
    signature: str | None
    args: Sequence[tuple[str, Callable[[str], Any]]] | None
    variadic: str | None


class Panel(UserDict[str, Callable[..., Any]]):
    """The commands by name. To keep workers from answering a command, remove it: `del Panel.data["shutdown"]`."""

    data: ClassVar[dict[str, Callable[..., Any]]] = {}  # type: ignore[misc]  # one for the process, as in Celery
    meta: ClassVar[dict[str, CommandInfo]] = {}

    @classmethod
    def register(cls, *args: Any, **options: Any) -> Any:
        """Add a command: `@Panel.register`, or with options `@Panel.register(name="mine", type="inspect")`."""
        add = cls._register(**options)
        return add(*args) if args else add

    @classmethod
    def _register(
        cls,
        name: str | None = None,
        alias: str | None = None,
        type: str = "control",
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,
        signature: str | None = None,
        args: Sequence[tuple[str, Callable[[str], Any]]] | None = None,
        variadic: str | None = None,
    ) -> Callable[[C], C]:
        def add(command: C) -> C:
            own = name or command.__name__
            text = help or (command.__doc__ or "").strip().split("\n")[0]
            cls.data[own] = command
            cls.meta[own] = CommandInfo(alias, type, visible, default_timeout, text, signature, args, variadic)
            if alias:
                cls.data[alias] = command
            return command

        return add


def control_command(**options: Any) -> Callable[[C], C]:
    """Add a command that changes something."""
    command: Callable[[C], C] = Panel.register(type="control", **options)
    return command


def inspect_command(**options: Any) -> Callable[[C], C]:
    """Add a command that answers a question."""
    command: Callable[[C], C] = Panel.register(type="inspect", **options)
    return command


class State:
    """The worker, as a command sees it."""

    tset = set
    """The type of sets in replies, by Celery's name."""

    def __init__(self, worker: WorkerLike, client: Client) -> None:
        self.worker = worker
        self.app: AppLike = worker.app
        self.hostname = worker.hostname
        self.client = client
        """The worker's own Temporal client, for commands that are `async def`."""
        self.consumer = Consumer(self)
        self.began = time.monotonic()
        self._requests = 0

    @property
    def orders(self) -> Orders:
        """What control calls have changed for the worker's tasks."""
        orders: Orders = self.worker.tasks.orders
        return orders

    @property
    def taken(self) -> list[TakenLike]:
        """The tasks that this worker has taken, the oldest first."""
        return list(self.worker.tasks.running.values())

    def find(self, task_id: str) -> TakenLike | None:
        """Return the task with this id, if the worker has taken it."""
        found: TakenLike | None = self.worker.tasks.running.get(task_id)
        return found

    @functools.cached_property
    def delayed(self) -> DelayedTasks:
        """The tasks that the server holds until their eta, in this worker's queues."""
        # Imported here, because an application that only registers commands does not need the client library.
        from .waiting_tasks import DelayedTasks

        return DelayedTasks(self.client, lambda: self.worker.queues)

    def tick(self) -> None:
        """Count one request."""
        self._requests += 1

    @property
    def clock(self) -> int:
        """A number that grows with each request, and with each task that the worker takes."""
        return 1 + self._requests + int(self.worker.tasks.count)


class Consumer:
    """The parts of Celery's consumer that applications' own commands use."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.app = state.app
        self.hostname = state.hostname
        self.controller = state.worker
        self.qos = Prefetch(state)

    @property
    def pool(self) -> Any:
        return self._state.worker.pool

    def add_task_queue(self, queue: Any, *args: Any, **options: Any) -> None:
        self._state.worker.serve_queue(str(getattr(queue, "name", queue)))

    def cancel_task_queue(self, queue: Any) -> None:
        self._state.worker.drop_queue(str(getattr(queue, "name", queue)))

    def call_soon(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        asyncio.get_running_loop().call_soon(lambda: function(*args, **kwargs))


class Prefetch:
    """How many tasks the worker takes from the server: running tasks, and tasks that wait for a place in the pool."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def value(self) -> int:
        return int(self._state.worker.slots.size)

    def increment_eventually(self, n: int = 1) -> int:
        self._state.worker.slots.resize(self.value + n)
        return self.value

    def decrement_eventually(self, n: int = 1) -> int:
        self._state.worker.slots.resize(max(1, self.value - n))
        return self.value
