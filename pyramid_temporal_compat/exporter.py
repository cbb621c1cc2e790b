"""Metrics that belong to no single worker: queues, workers, outbox, schedules. `ptemporal-compat exporter` serves them.

One process serves them. If every worker did, a dashboard's sum would count each queue once for each worker. The names
are those of celery-exporter where it has the figure.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from temporalio.client import Client, ScheduleDescription, ScheduleListDescription

from .client.for_each import for_each
from .control.waiting_tasks import queue_state
from .log_lines.text_safety import one_line
from .log_lines.throttled_log import ThrottledLog
from .monitoring.http_server import Page
from .monitoring.task_metrics import prometheus
from .monitoring.worker_pages import METRICS_TYPE
from .schedules.entries import application_name
from .schedules.sync import AT_ONCE, owned

if TYPE_CHECKING:
    from .interfaces import AppLike
    from .outbox.store import Store

log = logging.getLogger(__name__)

ANSWER_TIMEOUT = 10.0
"""Seconds for the server's answer to one round of questions."""
FORGET_AFTER = 600.0
"""Seconds after which a worker that is gone has no metric any more. Until then `celery_worker_up` is 0."""
LATE_AFTER = dt.timedelta(seconds=5)
"""A schedule whose next time lies further back than this is late."""
MISSED_EVERY = 60.0
"""Seconds between two rounds of one question for each schedule."""


class Exporter:
    """Asks the server, the workers and the database, and keeps the answers as gauges."""

    def __init__(self, app: AppLike, queues: Iterable[str], worker_timeout: float) -> None:
        self._app, self._queues, self._worker_timeout = app, list(queues), worker_timeout
        self._last_seen: dict[str, float] = {}
        self._failures = ThrottledLog(log, logging.WARNING)
        self._store: Store | None = None
        self._next_missed = 0.0
        library = prometheus()
        self.registry = library.CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Any:
            return library.Gauge(name, text, labels, registry=self.registry)

        self._up = gauge("celery_worker_up", "1 for a worker that answers, 0 for one that has gone.", "hostname")
        self._length = gauge("celery_queue_length", "Tasks that wait in a queue, about.", "queue_name")
        self._consumers = gauge("celery_active_consumer_count", "Processes that poll a queue.", "queue_name")
        self._workers = gauge("celery_active_worker_count", "Workers that serve a queue.", "queue_name")
        self._places = gauge("celery_active_process_count", "Places in the pools of a queue's workers.", "queue_name")
        self._waiting = gauge("ptemporal_outbox_waiting", "Rows of the outbox that wait for a relay.", "namespace")
        self._oldest = gauge("ptemporal_outbox_oldest_seconds", "Age of the oldest waiting row.", "namespace")
        self._parked = gauge("ptemporal_outbox_parked", "Rows of the outbox that are set aside.", "namespace")
        self._lag = gauge("ptemporal_schedule_lag_seconds", "How late the next run of a schedule is.", "schedule")
        self._paused = gauge("ptemporal_schedule_paused", "1 for a schedule that is paused.", "schedule")
        self._missed = gauge("ptemporal_schedule_missed", "Runs that the server was away for.", "schedule")
        self._skipped = gauge(
            "ptemporal_schedule_skipped", "Runs left out because the run before still went on.", "schedule"
        )
        self._good = gauge("ptemporal_exporter_up", "1 if the last round of questions had answers.", "source")

    def page(self) -> Page:
        """Return the answers of the last round."""
        written: bytes = prometheus().generate_latest(self.registry)
        return Page(200, written.decode(), METRICS_TYPE)

    def refresh(self) -> None:
        """Ask everybody once. What does not answer keeps its last figures, and `ptemporal_exporter_up` is 0 for it."""
        sources = {"workers": self._ask_workers, "queues": self._ask_queues, "schedules": self._ask_schedules}
        if self._app.conf["ptemporal.outbox"] is not None:
            sources["outbox"] = self._ask_outbox
        for name, ask in sources.items():
            try:
                ask()
            except Exception as error:  # an absence of any kind: the next round asks again
                self._good.labels(source=name).set(0)
                self._failures.say(
                    "no figures this time (%d times since the last such line) of %s: %s", name, one_line(error)
                )
            else:
                self._good.labels(source=name).set(1)

    def _ask_workers(self) -> None:
        inspect = self._app.control.inspect(timeout=self._worker_timeout)
        stats, served = inspect.stats() or {}, inspect.active_queues() or {}
        self._note_workers(stats)
        workers, places = Counter[str](), Counter[str]()
        for hostname, queues in served.items():
            for queue in {each["name"] for each in queues}:
                workers[queue] += 1
                places[queue] += size_of_pool(stats.get(hostname, {}))
        for queue in {*self._queues, *workers}:
            self._workers.labels(queue_name=queue).set(workers[queue])
            self._places.labels(queue_name=queue).set(places[queue])
        self._queues.extend(queue for queue in workers if queue not in self._queues)

    def _note_workers(self, answered: Iterable[str]) -> None:
        now = time.monotonic()
        self._last_seen.update(dict.fromkeys(answered, now))
        for hostname, seen in list(self._last_seen.items()):
            if now - seen > FORGET_AFTER:
                del self._last_seen[hostname]
                self._up.remove(hostname)
            else:
                self._up.labels(hostname=hostname).set(1 if seen == now else 0)

    def _ask_queues(self) -> None:
        async def question(client: Client) -> list[Any]:
            return [await queue_state(client, queue) for queue in self._queues]

        for state in self._app.temporal.call(question, ANSWER_TIMEOUT):
            self._length.labels(queue_name=state.queue).set(state.message_count)
            self._consumers.labels(queue_name=state.queue).set(state.consumer_count)

    def _ask_schedules(self) -> None:
        application = application_name(self._app)

        async def question(client: Client) -> list[ScheduleListDescription]:
            return [each async for each in owned(client, application)]

        found, now = self._app.temporal.call(question, ANSWER_TIMEOUT), dt.datetime.now(dt.timezone.utc)
        show(self._lag, {name_of(each): lag(each, now) for each in found})
        show(self._paused, {name_of(each): float(is_paused(each)) for each in found})
        if time.monotonic() >= self._next_missed:
            self._ask_missed([each.id for each in found])
            self._next_missed = time.monotonic() + MISSED_EVERY

    def _ask_missed(self, ids: Sequence[str]) -> None:
        """Ask for each schedule by itself: the server's list does not have the counts."""

        async def question(client: Client) -> list[ScheduleDescription]:
            return await for_each(ids, lambda id: client.get_schedule_handle(id).describe(), AT_ONCE)

        found = self._app.temporal.call(question, ANSWER_TIMEOUT)
        show(self._missed, {name_of(each): float(each.info.num_actions_missed_catchup_window) for each in found})
        show(self._skipped, {name_of(each): float(each.info.num_actions_skipped_overlap) for each in found})

    def _ask_outbox(self) -> None:
        if self._store is None:
            from .outbox.sessions import app_engine
            from .outbox.store import Store

            self._store = Store(app_engine(self._app), self._app.temporal.settings.namespace)
        backlog, namespace = self._store.backlog(), self._store.namespace
        self._waiting.labels(namespace=namespace).set(backlog.waiting)
        self._oldest.labels(namespace=namespace).set(max(0.0, backlog.oldest))
        self._parked.labels(namespace=namespace).set(backlog.parked)


def size_of_pool(stats: Mapping[str, Any]) -> int:
    """Return how many tasks a worker runs at a time."""
    return int(stats.get("pool", {}).get("max-concurrency") or 0)


def show(gauge: Any, figures: Mapping[str, float]) -> None:
    """Give a gauge of schedules these figures, and take away schedules that have none.

    A scrape at the same time sees no gap, because nothing is cleared before it is set.
    """
    for name, figure in figures.items():
        gauge.labels(schedule=name).set(figure)
    for metric in gauge.collect():
        for sample in metric.samples:
            if (name := sample.labels["schedule"]) not in figures:
                gauge.remove(name)


def name_of(found: ScheduleListDescription | ScheduleDescription) -> str:
    """Return the entry's name, which follows the application's in the id of a schedule."""
    return found.id.partition("/")[2]


def is_paused(found: ScheduleListDescription) -> bool:
    return bool(found.schedule and found.schedule.state.paused)


def lag(found: Any, now: dt.datetime) -> float:
    """Return how many seconds ago the next run of a schedule should have begun; 0 if its time is still to come."""
    times = found.info.next_action_times if found.info else ()
    if not times or is_paused(found):
        return 0.0
    late = now - times[0]
    return late.total_seconds() if late > LATE_AFTER else 0.0
