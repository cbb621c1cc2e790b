"""Brings the log lines of Temporal's client library into Python's logging, few and short.

The library is written in Rust. By default it writes to the terminal, past the application's logging. It writes a
coloured line for each repeated call: 66 lines in an outage of 30 seconds. Some lines hold task tokens of several
hundred bytes.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from ..log_lines.text_safety import one_line
from ..log_lines.throttled_log import ThrottledLog

log = logging.getLogger("temporalio.sdk_core")

LONGEST = 300
"""How many characters of a line are kept."""
MOST_KINDS = 100
"""How many kinds of lines have a counter each. Lines of further kinds share a counter for each part of the library."""
VARIES = re.compile(r"gRPC call \w+|\d+")
"""What differs between lines of one kind."""
STATUS = re.compile(r'code: (\w+), message: "([^"]*)"')
"""The code and the message within the library's long text of a failed call."""
SHOWN_FIELDS = ("workflow_id", "run_id", "activity_id", "task_queue", "error")
"""The fields of a line that are shown. The others are tokens, or say nothing to a reader."""
EXPECTED = "Activity not found on completion"
"""The beginning of the line after a task that was revoked while it ran. The worker has logged the task's end itself."""


def telemetry(metrics: PrometheusConfig | None = None) -> TelemetryConfig:
    """Return the configuration of a runtime whose log lines go through the logger `temporalio.sdk_core`.

    Each runtime has its own counters, because a forked process could inherit the lock of one that is in use.
    """
    entrance = logging.Logger(__name__, logging.WARNING)  # known to nobody else, so no other handler sees the raw lines
    entrance.addHandler(Throttled())
    return TelemetryConfig(
        logging=LoggingConfig(
            filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
            forwarding=LogForwardingConfig(
                entrance,
                append_target_to_name=False,
                prepend_target_on_message=False,
                append_log_fields_to_message=False,
            ),
        ),
        metrics=metrics,
    )


def forward_default_runtime(metrics: PrometheusConfig | None = None) -> bool:
    """Give the library's default runtime this log, and serve its metrics if asked to.

    Return False if there is a default runtime already: the application's own, or ours from an earlier call.
    """
    with _making_default:
        try:
            Runtime.prevent_default()  # type: ignore[no-untyped-call]  # raises if there is a default runtime
        except RuntimeError:
            return False
        Runtime.set_default(Runtime(telemetry=telemetry(metrics)))
    return True


_making_default = threading.Lock()


class Throttled(logging.Handler):
    """Logs each kind of line at most once a minute, with the number of lines."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[int, str], ThrottledLog] = {}

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith(EXPECTED):
            log.debug("%s", text_of(record))
            return
        kind = (record.levelno, VARIES.sub("#", message))
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind = (record.levelno, str(getattr(record.__dict__.get("temporal_log"), "target", "")))
        throttled = self._kinds.setdefault(kind, ThrottledLog(log, record.levelno))
        throttled.say("Temporal's client library (lines like this: %d): %s", text_of(record))


def text_of(record: logging.LogRecord) -> str:
    """Return the text of a line of the library, with the fields in `SHOWN_FIELDS`."""
    fields: dict[str, Any] = getattr(record.__dict__.get("temporal_log"), "fields", {})
    shown = [f"{name}={_short(fields[name])}" for name in SHOWN_FIELDS if name in fields]
    return one_line(" ".join([_short(record.getMessage()), *shown]))[:LONGEST]


def _short(value: Any) -> str:
    """Return a value's text, with each failed call in it as its code and message."""
    found = STATUS.search(text := str(value))
    return f"{text[: found.start()].removesuffix('Status { ')}{found[1]}: {found[2]}" if found else text
