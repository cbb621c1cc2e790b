"""How a task failed: Celery's state and error, read from the failure of a workflow or activity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError

from .. import exceptions, states
from ..exceptions import TaskRevokedError, WorkerLostError
from ..payload.errors import to_wire
from . import wire_names as wire


def how_it_failed(cause: BaseException | None) -> tuple[str, Mapping[str, Any]]:
    """Return the state and the error, as `payload.errors` writes it, of a workflow or activity that failed."""
    if isinstance(cause, (CancelledError, TerminatedError)):
        reason = "revoked" if isinstance(cause, CancelledError) else "terminated"
        return states.REVOKED, error_of(TaskRevokedError(str(cause.message) or reason))
    if isinstance(cause, ApplicationError):
        if cause.type == wire.REVOKED:
            return states.REVOKED, error_of(TaskRevokedError(cause.message))
        if cause.details and isinstance(cause.details[0], Mapping) and "type" in cause.details[0]:
            return states.FAILURE, cause.details[0]
        named = {"type": cause.type or "Exception", "module": exceptions.__name__}
        return states.FAILURE, {**error_of(Exception(cause.message)), **named}
    return states.FAILURE, error_of(WorkerLostError(str(cause)))


def error_of(error: Exception) -> dict[str, Any]:
    """Return the error as `payload.errors` writes it, without a traceback."""
    return {**to_wire(error), "traceback": None}  # there is none: the server or our own worker ended the task
