"""Protocols of the app, the task and the worker, so that lower modules need not import them.

`P` and `R` are the type variables of typed calls: `Task[P, R]` takes the parameters `P` and returns an `R`.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from typing_extensions import ParamSpec, TypeVar

    from .client.client_options import ClientOptions
    from .client.connection import Connection
    from .client.lane_choice import LaneChoice
    from .enlist.dispatcher import Dispatcher
    from .message.outgoing import Outgoing
    from .payload.codecs import Codec
    from .settings import Settings

    # With the defaults, `Task` alone means a task with any parameters and any result.
    P = ParamSpec("P", default=...)
    R = TypeVar("R", default=Any)
else:  # `typing` accepts `default` from Python 3.13 on, and nothing needs it at run time
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")


class AppLike(Protocol):
    """The app, as modules below `app/` use it. `Celery` is the only implementation."""

    main: str | None
    finalized: bool
    registry: Any
    """The Pyramid registry. The request of each task is made from it."""
    user_options: dict[str, set[Any]]
    native: NativeWork | None
    """The workflows and activities that a worker serves beside tasks; None if nobody looked for them."""

    @property
    def oid(self) -> str:
        """The app's id, which is another one in each process."""

    @property
    def conf(self) -> Settings: ...
    @property
    def tasks(self) -> Any:
        """Return the tasks by name, in a dict that raises `NotRegistered` for an unknown name."""

    @property
    def Task(self) -> type[Any]:
        """Return the base class of this app's tasks."""

    @property
    def annotations(self) -> tuple[Any, ...]: ...
    @property
    def naive_zone(self) -> datetime.tzinfo | None:
        """Return the time zone of a datetime that names none; None if the application sets no time zone."""

    # The parts of the app. An application may replace the class of each part by a subclass.
    @property
    def amqp(self) -> Any: ...
    @property
    def backend(self) -> Any: ...
    @property
    def control(self) -> Any: ...
    @property
    def loader(self) -> Any: ...
    @property
    def log(self) -> Any: ...
    @property
    def AsyncResult(self) -> Any: ...
    @property
    def GroupResult(self) -> Any: ...

    # The connection to the server, and the ways to send.
    @property
    def temporal(self) -> Connection: ...
    @property
    def lane_choice(self) -> LaneChoice: ...
    @property
    def dispatcher(self) -> Dispatcher: ...
    @property
    def eager(self) -> Any:
        """Return the stand-in for the server under `task_always_eager`."""

    @property
    def outbox(self) -> Any:
        """Return the writer of outbox rows; None without an outbox."""

    @property
    def old_results(self) -> Any:
        """Return Celery's result backend; None without `ptemporal.old_result_backend`."""

    @property
    def switch(self) -> Any:
        """Return what decides whether Temporal or Celery gets a call; None without `ptemporal.switch`."""

    def client_options(self) -> ClientOptions: ...
    def codecs(self) -> Sequence[Codec]: ...
    def enlist(self, message: Outgoing, transaction_manager: Any = None) -> None: ...
    async def execute_in_workflow(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any: ...
    def apply(self, *call: Any) -> Any: ...
    def send_task(self, name: str, args: Any, kwargs: Any, **options: Any) -> Any: ...
    def call(self, task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any: ...
    def message(self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task: Any) -> Any: ...
    def signature(self, *args: Any, **kwargs: Any) -> Any: ...
    def Worker(self, **options: Any) -> Any: ...
    def adopt(self, shared: Any) -> None: ...
    def make_task(self, function: Callable[..., Any], options: Mapping[str, Any]) -> Any: ...
    def make_builtin(self, function: Callable[..., Any], name: str, bind: bool) -> Any: ...

    # Its life, from being current to being closed.
    def set_current(self) -> None: ...
    def set_default(self) -> None: ...
    def finalize(self, auto: bool = False) -> None: ...
    def bugreport(self) -> str: ...
    def close(self) -> None: ...


class NativeWork(Protocol):
    """What a worker serves beside tasks. `native.served_work.ServedWork` is the only implementation."""

    def load(self) -> None:
        """Import the domains. Find what is to be served."""

    def tasks(self) -> list[str]:
        """Return the names of the tasks to serve."""

    def queues(self, own: Sequence[str]) -> list[str]:
        """Return the queues to serve. `own` are the application's own queues of tasks."""

    def activity_names(self) -> list[str]:
        """Return the names of the activities to serve."""

    def lines(self) -> list[str]:
        """Return a line for each workflow and activity to serve."""

    def slots(self) -> int:
        """Return how many activities may run at a time, beside tasks."""

    def options(
        self, queue: str, more_workflows: Sequence[type] = (), more_activities: Sequence[Callable[..., Any]] = ()
    ) -> dict[str, Any]:
        """Return options for the Temporal worker of a queue: `workflows`, `activities`, and what they need."""


class WorkerLike(Protocol):
    """A running worker, as the commands of `control/` use it. `worker.worker.Worker` is the only implementation."""

    app: Any
    hostname: str
    queues: Any
    pool: Any
    tasks: Any
    """The tasks that the worker has taken: `running`, `count`, `orders`."""
    slots: Any
    autoscaler: Any

    @property
    def pool_name(self) -> str: ...
    @property
    def concurrency(self) -> int: ...
    def resize(self, size: int) -> None: ...
    def serve_queue(self, queue: str) -> None: ...
    def drop_queue(self, queue: str) -> None: ...
    def stop(self) -> None: ...
    def stop_now(self) -> None: ...


class TakenLike(Protocol):
    """A task that a worker has taken from the server, as the commands of `control/` use it."""

    @property
    def job(self) -> Any: ...
    @property
    def began(self) -> Any:
        """Return when and where the run began; None while the task waits for a place in the pool."""

    def terminate(self, signal: str) -> None: ...


class EndingLike(Protocol):
    """How one run of a task ended. `task.execution.Ending` is the only implementation."""

    @property
    def state(self) -> str: ...
    @property
    def value(self) -> Any: ...
    @property
    def error(self) -> BaseException | None: ...


class TaskLike(Protocol):
    """A task, as canvases, routes and signatures use it. `Task` is the only implementation."""

    name: Any

    @property
    def app(self) -> Any: ...
    @property
    def request(self) -> Any: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def apply(self, *args: Any, **kwargs: Any) -> Any: ...
    def apply_async(self, *args: Any, **kwargs: Any) -> Any: ...
    def plan_call(self, call: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any: ...
    def AsyncResult(self, task_id: str, **kwargs: Any) -> Any: ...
    def own(self, name: str) -> Any:
        """Return the value that the task itself sets for an attribute; None if the configuration decides."""

    def positional_names(self, count: int) -> list[str]: ...
    def add_trail(self, result: Any) -> Any: ...
