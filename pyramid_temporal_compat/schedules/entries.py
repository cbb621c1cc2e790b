"""The periodic tasks that an application declares, as values: `declared_entries` reads every source."""

from __future__ import annotations

import datetime as dt
import difflib
import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..exceptions import CeleryError, ImproperlyConfigured
from ..log_lines.text_safety import one_line
from ..message.ids import prefix_of
from ..message.message import is_name
from ..settings import CrontabFields
from ..settings.config_objects import import_object
from .celery_schedules import BaseSchedule, maybe_schedule

if TYPE_CHECKING:
    from ..interfaces import AppLike

KEYS = frozenset(
    ("task", "schedule", "args", "kwargs", "options", "relative", "enabled", "canvas", "workflow", "queue", "name")
)
POLICY_KEYS = frozenset(("overlap", "catchup_window", "jitter", "offset", "pause_on_failure", "note"))
"""What Temporal's Schedules have beyond Celery's beat. An entry has these keys beside `task`, or among its options."""
OVERLAPS = ("allow_all", "skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other")
NOT_IN_AN_ENTRY = {
    "eta": "each firing would have the same moment; use countdown, which counts from the firing",
    "task_id": "each firing is a task with an id of its own",
    "transaction_manager": "the server starts the task, in no transaction",
}


@dataclass(frozen=True)
class Policy:
    """How the server treats the firings of an entry."""

    overlap: str = "allow_all"
    """What happens while an earlier firing still runs. Celery's beat starts another run."""
    catchup_window: dt.timedelta | None = None
    """How late a firing may be started after the server was away. None: up to one firing is made up for."""
    jitter: dt.timedelta | None = None
    """Each firing is late by a random time, up to this."""
    offset: dt.timedelta | None = None
    """Moves the round times of an interval."""
    pause_on_failure: bool = False
    note: str | None = None
    """Text that the web UI shows beside the schedule."""


@dataclass(frozen=True)
class Entry:
    """One periodic task, checked as far as it can be without the server."""

    name: str
    schedule: BaseSchedule
    task: str
    """The name of the task or workflow, for people."""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    canvas: Any = None
    """The signature of a canvas, which then stands for task, arguments and options."""
    workflow: str | None = None
    """The type of a hand-written workflow, which is started instead of a task."""
    queue: str | None = None
    """The queue of a hand-written workflow."""
    policy: Policy = Policy()


class BadEntry(ImproperlyConfigured):
    """A periodic task can't be scheduled as it is declared. The text begins with the entry's name."""

    def __init__(self, name: object, reason: str) -> None:
        super().__init__(f"periodic task {one_line(repr(name))}: {one_line(reason)}")


def application_name(app: AppLike) -> str:
    """Return the name under which the application owns its schedules."""
    name = app.main
    if not name or name == "__main__" or "/" in name or not is_name(name):
        raise ImproperlyConfigured(
            f"the app is named {name!r}: schedules on the server belong to an application by its name; write "
            'Celery("shop") with a name of its own, without a slash'
        )
    return name


def schedule_id(application: str, entry: str) -> str:
    """Return the id of an entry's Schedule on the server."""
    return f"{prefix_of(application)}{entry}"


def declares_any(app: AppLike) -> bool:
    """Return whether the application declares periodic tasks at all."""
    return bool(app.conf["beat_schedule"] or app.conf["ptemporal.schedules"])


def declared_entries(app: AppLike) -> list[Entry]:
    """Return every periodic task of the application, by name. The task modules must have been imported.

    Raises `BadEntry` for the first entry that can't be scheduled.
    """
    found: dict[str, Entry] = {}
    for name, declared in _enabled(app):
        if name in found:
            raise BadEntry(name, "the name is used twice, in beat_schedule and by ptemporal.schedules")
        found[name] = read_entry(app, name, declared)
    return [found[name] for name in sorted(found)]


def declared_entry(app: AppLike, entry: str) -> Entry | None:
    """Return one periodic task of the application; None if it declares none of this name."""
    return next((read_entry(app, name, declared) for name, declared in _enabled(app) if name == entry), None)


def declared_names(app: AppLike) -> list[str]:
    """Return the names of the application's periodic tasks. The task modules need not have been imported."""
    return [str(name) for name, _ in _enabled(app)]


def _enabled(app: AppLike) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yield every entry that is not switched off, with its name."""
    for name, declared in itertools.chain(app.conf["beat_schedule"].items(), _from_callable(app)):
        if not isinstance(declared, Mapping):
            raise BadEntry(name, f"it is {declared!r}, and an entry is a dict with a task and a schedule")
        if declared.get("enabled", True):
            yield name, declared


def _from_callable(app: AppLike) -> Iterator[tuple[Any, Any]]:
    """Yield the entries of the callable that `ptemporal.schedules` names."""
    name = app.conf["ptemporal.schedules"]
    if name is None:
        return
    given: Any = import_object(name)(app)
    if isinstance(given, Mapping):
        yield from given.items()
    elif isinstance(given, Iterable):
        seen: set[Any] = set()
        for each in given:
            if not isinstance(each, Mapping) or "name" not in each:
                raise ImproperlyConfigured(f"ptemporal.schedules = {name} gives {each!r}, which has no name")
            if each["name"] in seen:
                raise BadEntry(each["name"], f"ptemporal.schedules = {name} gives the name twice")
            seen.add(each["name"])
            yield each["name"], each
    else:
        raise ImproperlyConfigured(f"ptemporal.schedules = {name} gives {given!r}, and not a mapping or a list")


def read_entry(app: AppLike, name: Any, declared: Mapping[str, Any]) -> Entry:
    """Return one declared entry, checked."""
    if not isinstance(name, str) or not is_name(name) or len(name.encode()) > 500:
        raise BadEntry(name, "a name is up to 500 printable bytes")
    try:
        return _read(app, name, declared)
    except BadEntry:
        raise
    except (CeleryError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise BadEntry(name, f"{type(error).__name__}: {error}") from error


def _read(app: AppLike, name: str, declared: Mapping[str, Any]) -> Entry:
    if unknown := sorted(set(map(str, declared)) - KEYS - POLICY_KEYS):
        near = difflib.get_close_matches(unknown[0], KEYS | POLICY_KEYS, n=1, cutoff=0.0)
        raise BadEntry(name, f"it has {unknown[0]!r}; the nearest that an entry takes is {near[0]!r}")
    if declared.get("schedule") is None:
        raise BadEntry(name, "it has no schedule")
    given = declared["schedule"]
    if isinstance(given, bool) or not isinstance(given, (int, float, dt.timedelta, BaseSchedule, CrontabFields)):
        raise BadEntry(name, f"its schedule is {given!r}; it takes seconds, a timedelta, a crontab or a schedule")
    schedule: BaseSchedule = maybe_schedule(given, bool(declared.get("relative")), app=app)
    options = dict(declared.get("options") or {})
    policy = {key: declared[key] for key in POLICY_KEYS & set(declared)}
    policy |= {key: options.pop(key) for key in POLICY_KEYS & set(options)}
    for option, reason in NOT_IN_AN_ENTRY.items():
        if options.get(option) is not None:
            raise BadEntry(name, f"it has the option {option}: {reason}")
    canvas, workflow = declared.get("canvas"), declared.get("workflow")
    task = str(workflow_name(workflow) if workflow else declared.get("task") or getattr(canvas, "name", ""))
    if not workflow and canvas is None:
        _check_task(app, name, task)
    return Entry(
        name,
        schedule,
        task,
        tuple(declared.get("args") or ()),
        dict(declared.get("kwargs") or {}),
        options,
        canvas,
        task if workflow else None,
        declared.get("queue") or options.get("queue"),
        _read_policy(name, policy),
    )


def _check_task(app: AppLike, name: str, task: str) -> None:
    if not task:
        raise BadEntry(name, "it has no task")
    if task not in app.tasks:
        near = difflib.get_close_matches(task, app.tasks, n=1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise BadEntry(
            name,
            f"its task {task!r} is not a task of this application, which has {len(app.tasks.own())}{hint}; "
            "add the task's module to ptemporal.include",
        )


def is_workflow(found: Any) -> bool:
    """Return whether this is the class of a hand-written workflow, or its run method."""
    return hasattr(found, WORKFLOW_DEFINITION) or hasattr(found, WORKFLOW_RUN)


def workflow_name(workflow: Any) -> str:
    """Return the type of a hand-written workflow: a name, a class under `@workflow.defn`, or its run method."""
    if isinstance(workflow, str):
        return workflow
    definition = getattr(workflow, WORKFLOW_DEFINITION, None)
    if definition is None and hasattr(workflow, WORKFLOW_RUN):
        cls = inspect.getmodule(workflow)
        for part in workflow.__qualname__.split(".")[:-1]:
            cls = getattr(cls, part, None)
        definition = getattr(cls, WORKFLOW_DEFINITION, None)
    if definition is None or not definition.name:
        raise ValueError(f"workflow = {workflow!r} is no workflow: name its type, or give its class")
    return str(definition.name)


WORKFLOW_DEFINITION, WORKFLOW_RUN = "__temporal_workflow_definition", "__temporal_workflow_run"
"""The attributes that temporalio gives the class of a workflow, and its run method."""


def _read_policy(name: str, given: Mapping[str, Any]) -> Policy:
    values = {key: value for key, value in given.items() if value is not None}
    for key in ("catchup_window", "jitter", "offset"):
        if key in values:
            values[key] = _duration(name, key, values[key])
    overlap = values.get("overlap", Policy.overlap)
    if overlap not in OVERLAPS:
        raise BadEntry(name, f"overlap = {overlap!r}; it takes {', '.join(OVERLAPS)}")
    if values.get("pause_on_failure") and overlap == "allow_all":
        others = ", ".join(OVERLAPS[1:])
        raise BadEntry(name, f"pause_on_failure needs an overlap other than allow_all: one of {others}")
    return Policy(**values)


def _duration(name: str, key: str, value: Any) -> dt.timedelta:
    if isinstance(value, bool) or not isinstance(value, (int, float, dt.timedelta)):
        raise BadEntry(name, f"{key} = {value!r}; it takes seconds or a timedelta")
    found = value if isinstance(value, dt.timedelta) else dt.timedelta(seconds=value)
    if found < dt.timedelta(0):
        raise BadEntry(name, f"{key} = {value!r} is less than 0")
    return found


__all__ = ["BadEntry", "Entry", "Policy", "application_name", "declared_entries", "schedule_id"]
