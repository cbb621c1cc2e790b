"""The headers in which monitoring tools send the trace of a call, and the moment of the call, with a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = frozenset({"baggage", "elasticapm", "newrelic", "scout_task_start", "traceparent", "tracestate"})
PREFIXES = ("sentry-", "x-datadog-")
INNER = "headers"
"""The header in which Sentry and Datadog repeat their headers."""


def without_trace(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers without those that belong to one call.

    A periodic task needs this: its message is made once, when the schedules are synchronised, and each firing is a
    trace of its own.
    """
    kept = {name: value for name, value in headers.items() if name not in NAMES and not name.startswith(PREFIXES)}
    inner = kept.pop(INNER, None)
    if isinstance(inner, Mapping):
        inner = without_trace(inner)
    return {**kept, INNER: inner} if inner else kept
