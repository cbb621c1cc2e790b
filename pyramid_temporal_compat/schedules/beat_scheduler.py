"""The classes of `celery.beat`, for code that reads the declared entries and for tools that watch what beat sends.

The server fires the declared entries, so nothing here runs a loop. In `Scheduler.apply_entry`, Celery's beat sends a
task, and monitoring tools hook in there. A worker calls it when it takes a task that the server has fired: see
`worker/runs/fired_task.py`.
"""

from __future__ import annotations

import copy
import datetime as dt
import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import total_ordering
from typing import TYPE_CHECKING, Any

from .celery_schedules import SchedulingError, maybe_schedule

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger("celery.beat")

LONGEST_PAUSE = 300
EARLY = 0.01
"""Seconds by which Celery's beat wakes before a run is due."""
EDITABLE = ("task", "schedule", "args", "kwargs", "options")
"""The fields of an entry that a changed declaration changes."""


@total_ordering
class ScheduleEntry:
    """One periodic task as Celery's beat knows it, with its last run."""

    def __init__(
        self,
        name: str | None = None,
        task: str | None = None,
        last_run_at: dt.datetime | None = None,
        total_run_count: int | None = None,
        schedule: Any = None,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        relative: bool = False,
        app: AppLike | None = None,
    ) -> None:
        self.app = app
        self.name = name
        self.task = task
        self.args = args
        self.kwargs = kwargs or {}
        self.options: Any = options or {}
        self.schedule = maybe_schedule(schedule, relative, app=app)
        self.last_run_at = last_run_at or self.default_now()
        self.total_run_count = total_run_count or 0

    def default_now(self) -> Any:
        """Return the present time by the clock of the schedule, or of the app."""
        clock: Any = self.schedule or self.app
        return clock.now()

    def next(self, last_run_at: dt.datetime | None = None) -> ScheduleEntry:
        """Return the entry after one more run."""
        run = {"last_run_at": last_run_at or self.default_now(), "total_run_count": self.total_run_count + 1}
        return type(self)(**{**dict(self), **run})

    __next__ = _next_instance = next

    def update(self, other: ScheduleEntry) -> None:
        """Take what may change in a declaration from another entry."""
        for field in EDITABLE:
            setattr(self, field, getattr(other, field))

    def is_due(self) -> Any:
        return self.schedule.is_due(self.last_run_at)

    def editable_fields_equal(self, other: ScheduleEntry) -> bool:
        return all(getattr(self, field) == getattr(other, field) for field in EDITABLE)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def __eq__(self, other: object) -> bool:
        return self.editable_fields_equal(other) if isinstance(other, ScheduleEntry) else NotImplemented

    def __lt__(self, other: object) -> bool:
        # Entries stand behind their time in a heap. Any order will do between entries of the same time.
        return id(self) < id(other) if isinstance(other, ScheduleEntry) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        run = (self.name, self.task, self.last_run_at, self.total_run_count)
        return type(self), (*run, self.schedule, self.args, self.kwargs, self.options)

    def __repr__(self) -> str:
        arguments = [*map(repr, self.args or ()), *(f"{key}={value!r}" for key, value in self.kwargs.items())]
        return f"<{type(self).__name__}: {self.name} {self.task}({', '.join(arguments)}) {self.schedule}>"


class Scheduler:
    """The declared entries of an app, and the moment at which one is sent."""

    Entry = ScheduleEntry
    max_interval: float = LONGEST_PAUSE

    def __init__(
        self,
        app: AppLike,
        schedule: Any = None,
        max_interval: float | None = None,
        Producer: Any = None,
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **options: Any,
    ) -> None:
        self.app = app
        self.data: MutableMapping[str, ScheduleEntry] = {} if schedule is None else schedule
        self.max_interval = max_interval or app.conf.beat_max_loop_interval or self.max_interval
        if not lazy:
            self.setup_schedule()

    # --- the entries -------------------------------------------------------------------------------

    def setup_schedule(self) -> None:
        """Read the declared entries."""
        self.merge_inplace(self.app.conf.beat_schedule)

    def get_schedule(self) -> MutableMapping[str, ScheduleEntry]:
        return self.data

    def set_schedule(self, schedule: MutableMapping[str, ScheduleEntry]) -> None:
        self.data = schedule

    schedule = property(get_schedule, set_schedule)

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Make the entries equal to the declared ones, and keep their last runs."""
        known = self.schedule
        for name in set(known) - set(b):
            del known[name]
        for name, declared in b.items():
            entry = self._maybe_entry(name, declared)
            if known.get(name):
                known[name].update(entry)
            else:
                known[name] = entry

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        self.schedule.update({name: self._maybe_entry(name, entry) for name, entry in dict_.items()})

    def add(self, **kwargs: Any) -> ScheduleEntry:
        entry: ScheduleEntry = self.Entry(app=self.app, **kwargs)
        self.schedule[entry.name] = entry
        return entry

    def _maybe_entry(self, name: str, entry: Any) -> ScheduleEntry:
        if isinstance(entry, self.Entry):
            entry.app = self.app
            return entry
        celerys = {key: value for key, value in dict(entry).items() if key in FIELDS}
        return self.Entry(**{**celerys, "name": name, "app": self.app})

    def schedules_equal(
        self, old_schedules: Mapping[str, ScheduleEntry] | None, new_schedules: Mapping[str, ScheduleEntry] | None
    ) -> bool:
        if old_schedules is None or new_schedules is None:
            return old_schedules is new_schedules
        return dict(old_schedules) == dict(new_schedules)

    @property
    def info(self) -> str:
        return ""

    # --- a firing ----------------------------------------------------------------------------------

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send the task of an entry. An error is logged."""
        log.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
        try:
            result = self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:
            log.error("Message Error: %s", error, exc_info=True)
            return
        if hasattr(result, "id"):
            log.debug("%s sent. id->%s", entry.task, result.id)
        else:
            log.debug("%s sent.", entry.task)

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Call the task of an entry now, and return its result object."""
        entry = self.reserve(entry) if advance else entry
        task = self.app.tasks.get(entry.task)
        args, kwargs_, options = list(entry.args or ()), dict(entry.kwargs or {}), copy.copy(entry.options)
        try:
            if task:
                return task.apply_async(args, kwargs_, producer=producer, **options)
            return self.send_task(entry.task, args, kwargs_, producer=producer, **options)
        except Exception as error:
            raise SchedulingError(f"Couldn't apply scheduled task {entry.name}: {error}") from error

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        app: Any = self.app
        return app.send_task(*args, **kwargs)

    def reserve(self, entry: ScheduleEntry) -> ScheduleEntry:
        """Count one more run of an entry."""
        following: ScheduleEntry = next(entry)
        self.schedule[entry.name] = following
        return following

    def is_due(self, entry: ScheduleEntry) -> Any:
        return entry.is_due()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Return the seconds until a run is due, at most `max_interval`. Send nothing: the server fires the entries."""
        return min([self.max_interval, *map(self._pause, self.schedule.values())])

    def _pause(self, entry: ScheduleEntry) -> float:
        due: bool
        pause: float | None
        due, pause = self.is_due(entry)
        if due:
            return 0
        if pause is None:  # the schedule does not know
            return self.max_interval
        return pause - EARLY if pause > 0 else pause

    def sync(self) -> None:
        """Write nothing: the server remembers the last runs."""

    def close(self) -> None:
        self.sync()


FIELDS = frozenset(("task", "last_run_at", "total_run_count", "schedule", "args", "kwargs", "options", "relative"))
"""The keys of a declared entry that Celery's beat has. The others are for the server."""


class PersistentScheduler(Scheduler):
    """A `Scheduler`. It writes no file, because the server remembers the last runs."""

    def __init__(self, *args: Any, schedule_filename: str | None = None, **kwargs: Any) -> None:
        self.schedule_filename = schedule_filename
        super().__init__(*args, **kwargs)


class Service:
    """Beat as a service. As `ptemporal-compat beat`, `start` copies the declared entries to the server and ends."""

    scheduler_cls: type[Scheduler] = PersistentScheduler

    def __init__(
        self,
        app: AppLike,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: type[Scheduler] | None = None,
        **options: Any,
    ) -> None:
        self.app = app
        self.max_interval = max_interval or app.conf.beat_max_loop_interval
        self.schedule_filename = schedule_filename or app.conf.beat_schedule_filename
        self.scheduler_cls = scheduler_cls or self.scheduler_cls
        self._scheduler: Scheduler | None = None

    def get_scheduler(self, lazy: bool = False, **options: Any) -> Scheduler:
        return self.scheduler_cls(
            self.app, schedule_filename=self.schedule_filename, max_interval=self.max_interval, lazy=lazy
        )

    @property
    def scheduler(self) -> Scheduler:
        if self._scheduler is None:
            self._scheduler = self.get_scheduler()
        return self._scheduler

    def start(self, embedded_process: bool = False) -> None:
        """Make the server's schedules equal to the declared ones, and return."""
        from .sync import synchronise_app  # the client library: 0.4 s, and not for the other classes

        synchronise_app(self.app)

    def sync(self) -> None:
        self.scheduler.sync()

    def stop(self, wait: bool = False) -> None:
        """Do nothing: no loop runs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.app, self.max_interval, self.schedule_filename, self.scheduler_cls)


OWN_APPLY_ENTRY: Callable[..., None] = Scheduler.apply_entry
"""What `Scheduler.apply_entry` is as long as no tool has wrapped it."""
