"""The worker: a pool, a connection, and one Temporal worker for each queue."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker as TemporalWorker

from .. import signals
from ..celery_names.nodenames import default_nodename, host_format
from ..client.standalone import NO_ACTIVITIES, support_of
from ..control.addresses import is_control_queue
from ..control.command_registry import Consumer, State
from ..control.limits import Limits
from ..control.paused_types import PausedTypesReader
from ..control.receiver import Receiver
from ..control.revoked_ids import RevokedIdsReader
from ..enlist.enlistment import watch_sessions
from ..exceptions import CeleryError, ImproperlyConfigured, OperationalError
from ..log_lines.library_log import hide_lines
from ..log_lines.text_safety import one_line
from ..message.lane import ACTIVITY
from ..message.message import LONGEST_ID, RESERVED_QUEUES, is_name, is_queue
from ..monitoring.worker_health import Seen
from ..settings import connection
from .activity import TaskActivity
from .call_defaults import CallDefaults
from .driven_schedules import DrivenSchedules
from .first_connection import checked_client, client_unless_stopped
from .native_activities import NativeActivities
from .pools.autoscale import Autoscaler
from .pools.child_setup import ProcessHooks
from .pools.pool import Pool
from .pools.pool_choice import POOLS, PoolOptions, pool_name, pool_size
from .runner import Runner
from .server_watch import ServerWatch
from .slot_supplier import SharedSlots
from .taken_task import TakenTask
from .to_celery import CONCURRENCY, CeleryRunner, WaitingPool, waiting_pool
from .tuning import code_name, deployment, polling, tuner
from .workflows.schedule_driver import ScheduleDriver
from .workflows.task_workflow import TaskWorkflow
from .workflows.upgrading import UPGRADING

if TYPE_CHECKING:
    from ..client.client_options import ClientOptions
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

NO_LIMIT = timedelta(days=365)
PROGRESS_INTERVAL = timedelta(seconds=1)
"""How often progress leaves for the server. The client library's own default is half a minute."""
STICKY = timedelta(seconds=2)
"""How long a workflow waits for the worker that has it in memory, before another worker may take it. With the library's
default, a killed worker would hold up the end of its tasks by ten seconds. Our workflows are quick to replay."""
LOOK_EVERY = 0.05
"""Seconds between two looks at a workflow that is about to end."""
LAST_WORDS = 2.0
"""Seconds that a worker which ends at once may take to give its tasks back."""
FAREWELL = 10.0
"""Seconds that a worker may take to end after its last task. It needs more only if the server is away, because the
client library repeats its calls until the server answers."""
MOST_QUEUES_ADDED = 30
"""How many queues control calls may add to a worker. Each queue takes some ten calls to the
server that wait for tasks, two threads and three files."""
BEAT_EVERY = 2.0
"""Seconds between two `heartbeat_sent` signals; Celery's interval."""


class Worker:
    """Runs an app's tasks, with native workflows and activities, until `stop` or a signal ends it."""

    def __init__(
        self,
        app: AppLike,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int | str | None = None,
        pool: Any = None,
        hostname: str | None = None,
        graceful_timeout: float | None = None,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        autoscale: tuple[int, int] | None = None,
        to_celery: str | None = None,
        workflows: Sequence[type] = (),
        activities: Sequence[Callable[..., Any]] = (),
    ) -> None:
        """
        The settings give every parameter that is None.

        :param pool: `prefork`, `threads` or `solo`.
        :param to_celery: the URL of a broker. The worker publishes its tasks there, and waits for their results.
        :param autoscale: how many tasks may run at a time, as maximum and minimum. It replaces `concurrency`.
        """
        conf = app.conf
        self.app = app
        self._task_queues = {*app.amqp.queues, *(queues or ())}
        self.queues = [checked_queue(queue) for queue in queues or app.amqp.queues.consume_from]
        self._own_queues = frozenset(self.queues)
        """The queues that the worker starts with. The others come from control calls."""
        self.hostname = default_nodename(host_format(hostname or ""))
        self.pool_name = waiting_pool(pool) if to_celery else pool_name(pool or conf.worker_pool)
        most = concurrency or conf.worker_concurrency or (CONCURRENCY if to_celery else None)
        self.concurrency = pool_size(most, self.pool_name)
        self.autoscale = sorted_bounds(autoscale) if autoscale else None
        if self.autoscale:
            self.concurrency = self.autoscale[1]
        self.graceful_timeout = conf.ptemporal_graceful_timeout if graceful_timeout is None else graceful_timeout
        self.max_tasks_per_child = max_tasks_per_child or conf.worker_max_tasks_per_child
        self.max_memory_per_child = max_memory_per_child or conf.worker_max_memory_per_child
        self.exitcode = 0
        self.abandoned = False
        """Whether the worker ended without the server's knowledge, so that the client library's threads still run."""
        self._process_hooks = ProcessHooks(app)
        self._runner = Runner(app) if to_celery is None else CeleryRunner(app, to_celery)
        self.pool = self._make_pool()
        self._native = list(workflows), list(activities)
        self._driven = DrivenSchedules(app)
        names = self._names_of_activities()
        self._native_activities = NativeActivities(names)
        native_size = app.native.slots() if app.native else conf["ptemporal.max_concurrent_activities"]
        # For native activities that are not `async def`. It starts no thread before such an activity runs.
        self._threads = ThreadPoolExecutor(native_size, "activity")
        self.slots = SharedSlots(self.concurrency, native_size, names)
        versioned = deployment(conf)
        self._version = versioned or code_name(conf)
        self._own_workflows: list[type] = UPGRADING if versioned else [TaskWorkflow, ScheduleDriver]
        self._stop = asyncio.Event()
        self._client: Client | None = None
        self._server: ServerWatch | None = None
        self._serving: dict[str, TemporalWorker] = {}
        self._runs: list[asyncio.Future[None]] = []
        limits = Limits(soft_time_limit or conf.task_soft_time_limit, time_limit or conf.task_time_limit)
        self.tasks = TaskActivity(app, self.pool, self.hostname, limits)
        self._call_defaults = CallDefaults(self.tasks.parts)
        self.tasks.orders.check_rates()
        self.autoscaler = self._make_autoscaler()
        self.on_connected: Callable[[Client], Awaitable[None]] = nothing_more
        """Called before the first task is taken."""
        self.on_ready: Callable[[], None] = lambda: None

    def _make_pool(self) -> Pool:
        if isinstance(self._runner, CeleryRunner):
            return WaitingPool(self._runner, self.concurrency)
        return POOLS[self.pool_name].make(
            PoolOptions(
                self._runner,
                self.concurrency,
                self._process_hooks,
                on_broken=self._pool_broke,
                max_tasks_per_child=self.max_tasks_per_child,
                max_memory_per_child=self.max_memory_per_child,
                proc_alive_timeout=self.app.conf.worker_proc_alive_timeout,
            )
        )

    def _make_autoscaler(self) -> Autoscaler | None:
        if self.autoscale is None:
            return None
        largest, smallest = self.autoscale
        autoscaler = Autoscaler(smallest, largest, self._scaled, lambda: self.tasks.places_wanted)
        self.slots.resize(autoscaler.may_be_taken)
        self.tasks.on_taken = autoscaler.task_taken
        return autoscaler

    def _names_of_activities(self) -> set[str]:
        given = (activity._Definition.must_from_callable(each).name for each in self._native[1])
        found = self.app.native.activity_names() if self.app.native else []
        return {*found, *(name for name in given if name is not None)}

    def start_pool(self) -> None:
        """Start the pool, before the first thread and the Temporal runtime: forked children must have neither."""
        watch_sessions()  # the modules of tasks are imported by now, and the pool forks
        self._process_hooks.before_pool_starts()
        self.pool.start()

    def run(self) -> None:
        """Run in this thread until SIGTERM or SIGINT. A second signal ends the worker at once."""
        self.start_pool()
        try:
            asyncio.run(self._run_with_signals())
        finally:
            self.pool.kill()

    async def _run_with_signals(self) -> None:
        with self._signals():
            await self.serve()

    async def serve(self) -> None:
        """Run on the current event loop until `stop` is called. The pool must have been started."""
        await self.pool.ready()
        if self._runner.receipts is not None:
            await asyncio.to_thread(self._runner.receipts.check)
        self._client = await self.first_client()
        if self._client is None:  # told to stop before the server came
            self.abandoned = True  # an attempt to connect may still be under way
            self._threads.shutdown(wait=False)
            await self.pool.stop()
            return
        self.tasks.parts.consumer = Consumer(State(self, self._client))
        await self._tell_of_lane(self._client)
        await self.on_connected(self._client)
        session = asyncio.ensure_future(self._session())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([session, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await self._last_tasks(session)
        self._threads.shutdown(wait=False)
        if session.done():
            session.result()
            await self.pool.stop()
        elif not self.tasks.stop_now.is_set():
            self.abandoned = True
            log.error(
                "the server at %s does not answer; ending without it. Tasks whose end it was not told run again",
                connection(self.app.conf).address,
            )
        else:
            self.abandoned = True

    async def first_client(self) -> Client | None:
        """Return a client once the server answers; None if the worker stops first."""
        return await client_unless_stopped(self.app, self.hostname, self._stop)

    async def _last_tasks(self, session: asyncio.Future[Any]) -> None:
        """Return when the session has ended. If the server is away, return soon after the last task has ended."""
        killed: asyncio.Future[Any] = asyncio.ensure_future(self.tasks.stop_now.wait())
        while not session.done():
            idle: asyncio.Future[Any] = asyncio.ensure_future(self._until_idle())
            await asyncio.wait([session, killed, idle], return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()
            await asyncio.wait([session, killed], timeout=FAREWELL, return_when=asyncio.FIRST_COMPLETED)
            if killed.done():
                await asyncio.wait([session], timeout=LAST_WORDS)
                break
            if self._is_idle():
                break
        killed.cancel()

    @property
    def running_count(self) -> int:
        """Return how many tasks and hand-written activities run."""
        return self.tasks.places_wanted + len(self._native_activities.running)

    def seen(self) -> Seen:
        """Return what probes are told of this worker."""
        return Seen(
            server_answers=self._server is not None and not self._server.is_lost,
            is_polling=bool(self._serving),
            stops=self._stop.is_set(),
            children=self._children(),
            running=self.running_count,
        )

    def _children(self) -> tuple[int, ...] | None:
        processes = self.pool.info().get("processes")
        return None if processes is None else tuple(processes)

    def _is_idle(self) -> bool:
        return self.tasks.idle.is_set() and self._native_activities.idle.is_set()

    async def _until_idle(self) -> None:
        """Return when no task and no hand-written activity runs."""
        while not self._is_idle():
            await self.tasks.idle.wait()
            await self._native_activities.idle.wait()

    async def _session(self) -> None:
        """Take tasks until `stop` is called. Return when the running tasks have ended."""
        revoked_ids = RevokedIdsReader(self.client)
        paused_types = PausedTypesReader(self.client)
        first_reads = [revoked_ids.read(), paused_types.read()]
        if self.app.conf.worker_enable_remote_control:
            first_reads.append(self._learn_support())
        await asyncio.gather(*first_reads)
        for queue in self.queues:
            self._serve(queue)
        async with (
            self._control(),
            beside(revoked_ids.forever()),
            beside(paused_types.forever()),
            beside(self._beat()),
            beside(self._scale()),
            beside(self._clean_up_receipts()),
            relay_of(self.app),
        ):
            self.on_ready()
            signals.worker_ready.send(sender=self.tasks.parts.consumer)
            log.info("%s ready.", self.hostname)
            await self._stop.wait()
            running = in_workflows(self.tasks.running.values())
            await asyncio.gather(*(worker.shutdown() for worker in self._serving.values()), *self._runs)
            if running:
                await self._finish_workflows(running, self.queues)

    async def _learn_support(self) -> None:
        """Ask what the server can do, beside other first questions. The receiver of control calls needs the answer."""
        await support_of(self.client)

    async def _tell_of_lane(self, client: Client) -> None:
        """Log once if tasks are to run as standalone activities, and the server does not take them."""
        if any(task.lane == ACTIVITY for task in self.app.tasks.values()):
            support = await support_of(client)
            if not support.takes_tasks:
                log.warning(NO_ACTIVITIES, connection(self.app.conf).address, client.namespace)

    async def _beat(self) -> None:
        """Send `heartbeat_sent` while the server answers. Applications see from this signal that a worker is well."""
        self._server = ServerWatch(self.client, connection(self.app.conf).address)
        while True:
            await asyncio.sleep(BEAT_EVERY)
            if await self._server.ask(BEAT_EVERY):
                signals.heartbeat_sent.send(sender=self)

    async def _clean_up_receipts(self) -> None:
        if self._runner.receipts is not None:
            from .receipt_cleanup import ReceiptCleanup  # imports SQLAlchemy, which an application may lack

            await ReceiptCleanup(self.app, self.client).forever()

    async def _scale(self) -> None:
        if self.autoscaler is not None:
            await self.autoscaler.forever()

    def _scaled(self, size: int, may_be_taken: int) -> None:
        self.pool.resize(size)
        self.concurrency = size
        self.slots.resize(may_be_taken)

    def _pool_broke(self) -> None:
        self.exitcode = 1
        self.stop_now()

    @contextlib.asynccontextmanager
    async def _control(self) -> AsyncIterator[None]:
        """Answer control calls until the end of the block: `inspect` still shows tasks that run on after `stop`."""
        if not self.app.conf.worker_enable_remote_control:
            yield
            return
        async with Receiver(self, self.client, code_name(self.app.conf)).open():
            yield

    @property
    def client(self) -> Client:
        if self._client is None:
            raise OperationalError(f"{self.hostname} has no connection to Temporal before it runs")
        return self._client

    def serve_queue(self, queue: str) -> None:
        """Take tasks from one more queue."""
        if checked_queue(queue) in self._serving or self._stop.is_set():
            return
        self._refuse_too_many(queue)
        self._serve(queue)
        self.queues.append(queue)
        log.info("Consuming from %s", queue)

    def _refuse_too_many(self, queue: str) -> None:
        """Raise if the worker serves too many queues already. A dropped queue counts until its last call has ended."""
        self._runs = [run for run in self._runs if not run.done() or run.cancelled() or run.exception()]
        if len(self._runs) >= len(self._own_queues) + MOST_QUEUES_ADDED:
            raise CeleryError(
                f"queue {queue!r} can't be added: the worker serves or leaves {len(self._runs)} queues, and control "
                f"calls may add {MOST_QUEUES_ADDED}; start a worker with -Q for the others"
            )

    def drop_queue(self, queue: str) -> None:
        """Take no more tasks from a queue. Running tasks go on running."""
        worker = self._serving.pop(queue, None)
        if worker is not None:
            self.queues.remove(queue)
            self._runs.append(asyncio.ensure_future(self._drop(worker, queue)))
            log.info("No longer consuming from %s", queue)

    async def _drop(self, worker: TemporalWorker, queue: str) -> None:
        running = in_workflows(taken for taken in self.tasks.running.values() if taken.job.message.queue == queue)
        await worker.shutdown()
        if running:
            await self._finish_workflows(running, [queue])

    def resize(self, concurrency: int) -> None:
        """Run `concurrency` tasks at a time from now on."""
        if self.autoscaler is not None:
            self.autoscaler.resize(concurrency)
        else:
            self._scaled(concurrency, self.slots.size + concurrency - self.concurrency)

    def _serve(self, queue: str) -> None:
        worker = self._serving[queue] = self._temporal_worker(self.client, queue)
        run = asyncio.ensure_future(worker.run())
        self._runs.append(run)

        def ended(run: asyncio.Future[None]) -> None:
            if self._serving.get(queue) is not worker:
                return  # it was told to end
            if queue in self._own_queues:
                self.stop()  # `serve` raises the error
            else:
                self._give_up(queue, run)

        run.add_done_callback(ended)

    def _give_up(self, queue: str, run: asyncio.Future[None]) -> None:
        """Go on without a queue that the server has refused. A control call has added it."""
        del self._serving[queue]
        self.queues.remove(queue)
        self._runs.remove(run)
        error = None if run.cancelled() else run.exception()
        log.error("No longer consuming from %s, which a control call had added: %s", queue, one_line(error))

    async def _finish_workflows(self, task_ids: set[str], queues: Sequence[str]) -> None:
        """Carry the workflows of the last tasks to their end, as no other worker may be there to do it.

        A stopping worker takes no workflow tasks, so nobody would see the results of its last tasks until another
        worker comes. The workers that start here take workflow tasks alone, on a connection of their own.
        """
        with contextlib.suppress(OperationalError, RPCError, asyncio.TimeoutError):
            client = await checked_client(self.app, self.hostname)
            async with contextlib.AsyncExitStack() as stack:
                for queue in queues:
                    last = TemporalWorker(
                        client,
                        task_queue=queue,
                        workflows=self._own_workflows,
                        activities=[self._call_defaults.envelope],
                        no_remote_activities=True,
                        identity=self.hostname,
                        **self._version,
                    )
                    await stack.enter_async_context(last)
                waits = (no_workflow_task(client, task_id) for task_id in task_ids)
                await asyncio.wait_for(asyncio.gather(*waits), LAST_WORDS)

    @functools.cached_property
    def _options(self) -> ClientOptions:
        return self.app.client_options()

    def stop(self) -> None:
        """Take no new tasks, and end when the running tasks have ended."""
        self._stop.set()

    def stop_now(self) -> None:
        """End at once. The running tasks are given back, and run again elsewhere."""
        self._stop.set()
        self.tasks.stop_now.set()

    def _temporal_worker(self, client: Client, queue: str) -> TemporalWorker:
        native = self._native_options(queue)
        return TemporalWorker(
            client,
            task_queue=queue,
            workflows=[*self._own_workflows, *native.pop("workflows")],
            activities=[
                self.tasks.run,
                self._call_defaults.envelope,
                self._driven.ask,
                *native.pop("activities"),
            ],
            interceptors=[self._native_activities, *self._options.worker_interceptors],
            activity_executor=self._threads,
            tuner=tuner(self.app.conf, self.slots, carries_tasks=queue in self._task_queues),
            plugins=self._options.worker_plugins,
            identity=self.hostname,
            max_cached_workflows=self.app.conf.ptemporal_workflow_cache,
            sticky_queue_schedule_to_start_timeout=STICKY,
            graceful_shutdown_timeout=(
                NO_LIMIT if self.graceful_timeout is None else timedelta(seconds=self.graceful_timeout)
            ),
            max_heartbeat_throttle_interval=PROGRESS_INTERVAL,
            default_heartbeat_throttle_interval=PROGRESS_INTERVAL,
            **polling(self.app.conf),
            **self._version,
            **native,
        )

    def _native_options(self, queue: str) -> dict[str, Any]:
        workflows, activities = self._native
        if self.app.native is None:
            return {"workflows": workflows, "activities": activities}
        return self.app.native.options(queue, workflows, activities)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Handle signals: SIGTERM and SIGINT stop the worker; a second signal, or SIGQUIT, ends it at once."""
        loop = asyncio.get_running_loop()

        def received(name: str) -> None:
            if name == "SIGQUIT" or self._stop.is_set():
                self.tell_shutting_down(name, "Cold", 1)
                again = " again" if self._stop.is_set() else ""
                log.warning("%s%s: ending at once; running tasks are given back and run again elsewhere", name, again)
                self.exitcode = 1
                self.stop_now()
            else:
                self.tell_shutting_down(name, "Warm", 0)
                log.warning(
                    "%s: no new tasks; ending when the %d running tasks have (again: at once)", name, self.running_count
                )
                self.stop()

        for name in STOPPED_BY:
            loop.add_signal_handler(getattr(signal, name), received, self.meaning_of(name))
        try:
            yield
        finally:
            for name in STOPPED_BY:
                loop.remove_signal_handler(getattr(signal, name))

    def meaning_of(self, name: str) -> str:
        """Return the name of the signal that `name` stands for."""
        return name

    def tell_shutting_down(self, name: str, how: str, exitcode: int) -> None:
        signals.worker_shutting_down.send(sender=self.hostname, sig=name, how=how, exitcode=exitcode)


# The library names the timeout as a worker begins to end: 365 days, which is NO_LIMIT and tells nobody anything.
hide_lines("temporalio.worker._worker", "Beginning worker shutdown")

STOPPED_BY = ("SIGTERM", "SIGINT", "SIGQUIT")


async def nothing_more(client: Client) -> None:
    """Do nothing before the first task is taken."""


@contextlib.asynccontextmanager
async def beside(what: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine until the end of the block."""
    running = asyncio.ensure_future(what)
    try:
        yield
    finally:
        running.cancel()


@contextlib.asynccontextmanager
async def relay_of(app: AppLike) -> AsyncIterator[None]:
    """Send the messages of the application's outbox, if it has one, until the end of the block."""
    if app.conf["ptemporal.outbox"] is None:
        yield
        return
    from ..outbox.relay import relaying  # only for applications that have an outbox

    async with relaying(app):
        yield


def sorted_bounds(autoscale: tuple[int, int]) -> tuple[int, int]:
    """Return the larger number first, in whichever order they were given."""
    smallest, largest = sorted(autoscale)
    return largest, max(1, smallest)


def checked_queue(name: str) -> str:
    # With a name that the server refuses, the client library would repeat its call for ever.
    if not is_name(name):
        raise ImproperlyConfigured(f"queue {name!r:.60} can't be served; a name is 1 to {LONGEST_ID} printable bytes")
    if not is_queue(name):
        raise ImproperlyConfigured(f"queue {name!r:.60} can't be served; {RESERVED_QUEUES} is the server's own prefix")
    if is_control_queue(name):
        raise ImproperlyConfigured(f"queue {name!r:.60} can't be served; control calls to workers travel there")
    return name


def in_workflows(running: Iterable[TakenTask]) -> set[str]:
    """Return the ids of the tasks that have a workflow."""
    return {taken.job.message.id for taken in running if taken.job.workflow_id is not None}


async def no_workflow_task(client: Client, task_id: str) -> None:
    """Return when the workflow has nothing to do: it has ended, or it waits for its activity or a timer."""
    handle = client.get_workflow_handle(task_id)
    while (await handle.describe()).raw_description.HasField("pending_workflow_task"):  # noqa: ASYNC110  the server's state
        await asyncio.sleep(LOOK_EVERY)
