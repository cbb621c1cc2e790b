"""The trace that a call belongs to, as OpenTelemetry writes it in headers: from the caller to the run of the task.

A process that has not loaded OpenTelemetry has no traces: then nothing happens here.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

TRACE = "traceparent"
"""The header that names a trace and a span of it, by W3C's standard."""


def trace_carrier() -> dict[str, str]:
    """Return the headers that name the current trace. They are empty without one."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry import propagate  # an optional dependency

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


@contextlib.contextmanager
def trace_continued(headers: Mapping[str, Any]) -> Iterator[None]:
    """While this lasts, the trace that the headers name is the current one."""
    if TRACE not in headers or "opentelemetry.trace" not in sys.modules:
        yield
        return
    from opentelemetry import context, propagate  # an optional dependency

    token = context.attach(propagate.extract(headers))
    try:
        yield
    finally:
        context.detach(token)
