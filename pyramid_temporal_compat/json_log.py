"""Log lines as JSON: an object for each line, for programs that collect logs."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from typing import Any

from .context import worker_frame

LONGEST = 100_000
"""How many characters of a text a line keeps. Collectors cut longer lines in the middle, and then they are no JSON."""

OF_EVERY_RECORD = {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName"}
DETAILS_OF_THE_CLIENT_LIBRARY = ("temporal_workflow", "temporal_activity")
"""Extras of `workflow.logger` and `activity.logger`: ids, which are fields of their own."""
NO_EXTRAS = OF_EVERY_RECORD | {"data", "temporal_log", *DETAILS_OF_THE_CLIENT_LIBRARY}
"""Attributes of a record that get no field of their name: other fields or the message have their content."""


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object. `ptemporal.log_format = json` uses it, and an ini can: `class = …`.

    The fields of `extra={…}` become fields of the object, unless the object has a field of that name already.
    """

    def format(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception as error:
            message = f"<Unrepresentable {type(record.msg)!r}: {error!r}>"
        for name in DETAILS_OF_THE_CLIENT_LIBRARY:  # its loggers also write them behind the message
            if (details := vars(record).get(name)) is not None:
                message = message.removesuffix(f" ({details})")
        fields: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
            "process": record.process,
            **about_the_task(record),
            **about_the_trace(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            fields["error"] = record.exc_info[0].__qualname__
            fields["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        fields |= {key: value for key, value in extras(record).items() if key not in fields}
        written = (f"{json.dumps(str(key))}: {_written(value)}" for key, value in fields.items() if value is not None)
        return "{" + ", ".join(written) + "}"


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller has added to a record: `log.info("…", extra={"item": 5})`."""
    return {key: value for key, value in vars(record).items() if key not in NO_EXTRAS}


def about_the_task(record: logging.LogRecord) -> dict[str, Any]:
    """Return the task, the workflow and the run that a line belongs to."""
    frame = worker_frame()
    if frame is not None:
        task, request = frame
        return {
            "task_id": request.id,
            "task_name": task.name,
            "workflow_id": request.workflow_id or request.id,
            "run_id": request.workflow_run_id,
            "retries": request.retries,
        }
    data = getattr(record, "data", None)
    if isinstance(data, dict) and "id" in data and "name" in data:  # the worker's own lines about a task
        return {"task_id": data["id"], "task_name": data["name"], **_about_the_activity()}
    return _about_the_activity() or _about_the_workflow()


def _about_the_activity() -> dict[str, Any]:
    """Return the workflow of the activity that runs here, if the client library is in use at all."""
    activity = sys.modules.get("temporalio.activity")
    if activity is None or not activity.in_activity():
        return {}
    info = activity.info()
    return {"workflow_id": info.workflow_id, "run_id": info.workflow_run_id, "activity": info.activity_type}


def _about_the_workflow() -> dict[str, Any]:
    """Return the hand-written workflow whose code runs here."""
    workflow = sys.modules.get("temporalio.workflow")
    if workflow is None or not workflow.in_workflow():
        return {}
    info = workflow.info()
    return {"workflow_id": info.workflow_id, "run_id": info.run_id, "workflow": info.workflow_type}


def about_the_trace() -> dict[str, Any]:
    """Return the ids of OpenTelemetry's current span, if the application uses OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _written(value: Any) -> str:
    """Return a value as JSON; what JSON can't hold, as the text that `repr` gives."""
    try:
        text = json.dumps(value, default=repr, allow_nan=False)
    except Exception:  # a circle, a key that is no text, NaN, a `__repr__` that raises
        text = json.dumps(_described(value))
    if len(text) <= LONGEST:
        return text
    shown = value if isinstance(value, str) else text
    return json.dumps(f"{shown[:LONGEST]}...")


def _described(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: its repr raises {type(error).__name__}>"
