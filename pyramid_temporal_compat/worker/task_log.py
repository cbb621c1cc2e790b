"""Logs what happens to each task: Celery's lines, from Celery's loggers, each with its `data`."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Mapping
from typing import Any

from .. import states
from ..celery_names.einfo import ExceptionInfo
from ..log import get_logger
from ..log_lines.text_safety import one_line
from ..message.message import Message
from ..task.execution import Ending
from ..task.task import Task

received_log = get_logger("celery.worker.strategy")
ended_log = get_logger("celery.app.trace")

LOG_RECEIVED = "Task %(name)s[%(id)s] received"
LOG_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s"
LOG_ANSWERED = "Task %(name)s[%(id)s] was done before: its receipt says how it ended"
LOG_FAILURE = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
LOG_IGNORED = "Task %(name)s[%(id)s] %(description)s"
LOG_REJECTED = "Task %(name)s[%(id)s] %(exc)s"
LOG_RETRY = "Task %(name)s[%(id)s] retry: %(exc)s"


def received(message: Message) -> None:
    """Log that the worker has taken a task."""
    data = {**about(message), "eta": message.eta}
    received_log.info(LOG_RECEIVED, data, extra={"data": data})


def ended(task: Task, message: Message, ending: Ending, seconds: float, hostname: str) -> None:
    """Log how a run ended. Called where the run was made: in the pool."""
    error = ending.error
    if error is None:
        text = one_line(shortened(safe_repr(ending.value), task.resultrepr_maxsize))
        _info(LOG_SUCCESS, {**about(message), "return_value": text, "runtime": seconds})
    elif ending.state == states.RETRY:
        _info(LOG_RETRY, {**about(message), "exc": one_line(error)})
    elif ending.state == states.IGNORED:
        _error(logging.INFO, LOG_IGNORED, "ignored", message, error, hostname)
    elif ending.state == states.REJECTED:
        _error(logging.WARNING, LOG_REJECTED, "rejected", message, error, hostname)
    elif isinstance(error, tuple(task.throws)):
        _error(logging.INFO, LOG_FAILURE, "raised expected", message, error, hostname)
    else:
        _error(logging.ERROR, LOG_FAILURE, "raised unexpected", message, error, hostname)


def answered(message: Message) -> None:
    """Log that a run found the receipt of an earlier run, and did nothing."""
    data = about(message)
    ended_log.info(LOG_ANSWERED, data, extra={"data": data})


def failed(message: Message, error: BaseException, hostname: str) -> None:
    """Log that a run failed before its function was called."""
    _error(logging.ERROR, LOG_FAILURE, "raised unexpected", message, error, hostname)


def about(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "name": message.shadow or message.task,
        "args": message.argsrepr,
        "kwargs": message.kwargsrepr,
    }


def _info(line: str, data: Mapping[str, Any]) -> None:
    ended_log.info(line, data, extra={"data": data})


def _error(level: int, line: str, description: str, message: Message, error: BaseException, hostname: str) -> None:
    if not ended_log.isEnabledFor(level):
        return
    einfo = ExceptionInfo(error)
    data = {
        **about(message),
        "hostname": hostname,
        "exc": one_line(safe_repr(error)),
        "traceback": einfo.traceback,
        "description": description,
        "internal": False,
    }
    shown = einfo.exc_info if level > logging.INFO else None
    ended_log.log(level, line, data, exc_info=shown, extra={"data": data})


def safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<unrepresentable {type(value).__name__}: {reprlib.repr(error)}>"


def shortened(text: str, limit: int | None) -> str:
    return text if not limit or len(text) <= limit else f"{text[:limit]}..."
