"""One declared periodic task as a value: `read_entry` checks it, as far as that is possible without the server."""

from __future__ import annotations

import datetime as dt
import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..exceptions import CeleryError, ImproperlyConfigured
from ..log_lines.text_safety import one_line
from ..message.ids import prefix_of
from ..message.message import is_name
from ..settings import CrontabFields
from .celery_schedules import BaseSchedule, ParseException, crontab, maybe_schedule
from .timezones import LONGEST_DURATION

if TYPE_CHECKING:
    from ..interfaces import AppLike

KEYS = frozenset(
    ("task", "schedule", "args", "kwargs", "options", "relative", "enabled", "canvas", "workflow", "queue", "name")
)
POLICY_KEYS = frozenset(("overlap", "catchup_window", "jitter", "offset", "pause_on_failure", "note"))
"""What Temporal's Schedules have beyond Celery's beat. An entry has these keys beside `task`, or among its options."""
LONGEST_SHOWN_NAME = 120
"""Characters of a bad name in an error."""
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
        shown = one_line(repr(name))
        if len(shown) > LONGEST_SHOWN_NAME:
            shown = f"{shown[:LONGEST_SHOWN_NAME]}…"
        super().__init__(f"periodic task {shown}: {one_line(reason)}")


def application_name(app: AppLike) -> str:
    """Return the name under which the application owns its schedules."""
    name = app.conf["ptemporal.application"] or app.main
    if not name or name == "__main__" or "/" in name or not is_name(name):
        raise ImproperlyConfigured(
            f"the app is named {name!r}: schedules on the server belong to an application by its name; set "
            'ptemporal.application, or write Celery("shop"), with a name of its own, without a slash'
        )
    return str(name)


def schedule_id(application: str, entry: str) -> str:
    """Return the id of an entry's Schedule on the server."""
    return f"{prefix_of(application)}{entry}"


def read_entry(app: AppLike, name: Any, declared: Mapping[str, Any]) -> Entry:
    """Return one declared entry, checked."""
    if not isinstance(name, str) or not is_name(name) or len(name.encode()) > 500:
        raise BadEntry(name, "a name is a text of 1 to 500 printable bytes")
    try:
        return _read(app, name, declared)
    except BadEntry:
        raise
    except (CeleryError, ParseException, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise BadEntry(name, f"{type(error).__name__}: {error}") from error


def _read(app: AppLike, name: str, declared: Mapping[str, Any]) -> Entry:
    _refuse_unknown_keys(name, declared)
    options = _read_mapping(name, declared, "options")
    policy = _read_policy(name, {key: _taken(key, declared, options) for key in POLICY_KEYS})
    for option, reason in NOT_IN_AN_ENTRY.items():
        if options.get(option) is not None:
            raise BadEntry(name, f"it has the option {option}: {reason}")
    canvas, workflow = declared.get("canvas"), declared.get("workflow")
    task: Any = workflow_name(workflow) if workflow else declared.get("task") or getattr(canvas, "name", "")
    if canvas is not None and not isinstance(canvas, Mapping):
        raise BadEntry(name, f"its canvas is {canvas!r}; it takes a signature, such as a chain")
    if not workflow and canvas is None:
        _check_task(app, name, task)
    return Entry(
        name,
        _read_schedule(app, name, declared),
        task,
        _read_args(name, declared),
        _read_mapping(name, declared, "kwargs"),
        options,
        canvas,
        task if workflow else None,
        declared.get("queue") or options.get("queue"),
        policy,
    )


def _refuse_unknown_keys(name: str, declared: Mapping[str, Any]) -> None:
    if unknown := sorted(set(map(str, declared)) - KEYS - POLICY_KEYS):
        near = difflib.get_close_matches(unknown[0], KEYS | POLICY_KEYS, n=1, cutoff=0.0)
        raise BadEntry(name, f"it has {unknown[0]!r}; the nearest that an entry takes is {near[0]!r}")


def _taken(key: str, declared: Mapping[str, Any], options: dict[str, Any]) -> Any:
    """Return the value of a key that stands beside `task`, or among the options, which then lose it."""
    among_options = options.pop(key, None)
    return declared.get(key) if among_options is None else among_options


def _read_schedule(app: AppLike, name: str, declared: Mapping[str, Any]) -> BaseSchedule:
    given = declared.get("schedule")
    if given is None:
        raise BadEntry(name, "it has no schedule")
    if isinstance(given, str):
        return _read_crontab_line(app, name, given)
    if isinstance(given, bool) or not isinstance(given, (int, float, dt.timedelta, BaseSchedule, CrontabFields)):
        raise BadEntry(name, f"its schedule is {given!r}; it takes seconds, a timedelta, a crontab or a schedule")
    if isinstance(given, (int, float)) and not abs(given) <= LONGEST_DURATION.total_seconds():
        raise BadEntry(name, f"its schedule is {given!r} seconds; it takes {LONGEST_DURATION.days:,} days at most")
    found: BaseSchedule = maybe_schedule(given, bool(declared.get("relative")), app=app)
    return found


def _read_crontab_line(app: AppLike, name: str, line: str) -> BaseSchedule:
    """Return the schedule of a text such as `0 3 * * mon`, which a table may hold."""
    fields = line.split()
    if len(fields) != 5:
        raise BadEntry(
            name,
            f"its schedule is {line!r}; as a text, it takes the five fields of a crontab: minute, hour, day of the "
            "month, month, day of the week",
        )
    found = crontab.from_string(" ".join(fields))
    found.app = app
    return found


def _read_args(name: str, declared: Mapping[str, Any]) -> tuple[Any, ...]:
    given = declared.get("args") or ()
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise BadEntry(name, f"its args are {given!r}; they take a tuple or a list, such as ({given!r},)")
    return tuple(given)


def _read_mapping(name: str, declared: Mapping[str, Any], key: str) -> dict[str, Any]:
    given = declared.get(key) or {}
    if not isinstance(given, Mapping):
        raise BadEntry(name, f"its {key} are {given!r}; they take a dict")
    return dict(given)


def _check_task(app: AppLike, name: str, task: Any) -> None:
    if not task:
        raise BadEntry(name, "it has no task")
    if not isinstance(task, str):
        raise BadEntry(name, f"its task is {task!r}; it takes the name of a task")
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
    if not isinstance(values.get("note", ""), str):
        raise BadEntry(name, f"note = {values['note']!r}; it takes a text")
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
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else value
    if not 0 <= seconds <= LONGEST_DURATION.total_seconds():
        raise BadEntry(name, f"{key} = {value!r}; it takes 0 seconds to {LONGEST_DURATION.days:,} days")
    return dt.timedelta(seconds=seconds)
