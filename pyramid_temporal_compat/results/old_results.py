"""Results of tasks that Celery has run: the state of a task in Celery's result backend, as a `Status`."""

from __future__ import annotations

import builtins
import datetime
import os
from collections.abc import Collection, Mapping
from typing import Any

from .. import states
from ..celery_side.result_store import ResultStore, open_store
from ..client.read_status import written_results
from ..client.status import Status
from ..payload.serializers import serialize
from ..payload.types import read_datetime

SETTING = "ptemporal.old_result_backend"


class OldResults:
    """Celery's result backend, asked for tasks that the server does not know. Every thread may use it."""

    def __init__(self, url: str, accept: Collection[str]) -> None:
        self._url = url
        self._accept = accept
        self._opened: tuple[int, ResultStore] | None = None
        """The process that has opened the backend: a forked process opens it anew."""

    def status(self, task_id: str) -> Status | None:
        """Return the status of a task; None if Celery has stored nothing about it."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), open_store(self._url, SETTING, self._accept)
        meta = self._opened[1].meta(task_id)
        return None if meta is None else self._status(meta)

    def _status(self, meta: Mapping[str, Any]) -> Status:
        state = str(meta.get("status") or states.PENDING)
        value = meta.get("result")
        is_error, is_result = state in states.EXCEPTION_STATES, state == states.SUCCESS
        serializer = "pickle" if "pickle" in self._accept else "json"
        return Status(
            state,
            result=serialize(value, serializer, None, "result") if is_result else None,
            error=error_of(value, meta.get("traceback")) if is_error else None,
            meta=None if is_error or is_result else value,
            name=meta.get("name"),
            queue=meta.get("queue"),
            retries=int(meta.get("retries") or 0),
            worker=meta.get("worker"),
            ended=state in states.READY_STATES,
            ended_at=_moment(meta.get("date_done")),
            children=written_results(meta.get("children")),
        )


def error_of(written: Any, traceback: Any) -> dict[str, Any]:
    """Return the error of a task, as `payload.errors` writes it, from what Celery has stored."""
    if isinstance(written, BaseException):  # from a pickle
        module, name, args = type(written).__module__, type(written).__qualname__, tuple(written.args)
    elif isinstance(written, Mapping):
        module, name = str(written.get("exc_module") or ""), str(written.get("exc_type") or "Exception")
        message = written.get("exc_message")
        args = tuple(message) if isinstance(message, (list, tuple)) else (message,)
    else:
        module, name, args = "builtins", "Exception", (str(written),)
    return {
        "module": module,
        "type": name,
        "text": _text_of(module, name, args),
        "args": [{"value": each} if is_plain(each) else {"repr": repr(each)} for each in args],
        "traceback": traceback if isinstance(traceback, str) else None,
    }


def is_plain(value: Any) -> bool:
    """Return whether JSON has the value as it is."""
    return isinstance(value, (str, int, float, bool, list, dict, type(None)))


def _text_of(module: str, name: str, args: tuple[Any, ...]) -> str:
    """Return the text of an error. Celery has not stored it, so it is what the class makes of the arguments.

    Only Python's own classes are called, because others may do more than keep their arguments.
    """
    cls = vars(builtins).get(name) if module == "builtins" else Exception
    if not isinstance(cls, type) or not issubclass(cls, Exception):
        cls = Exception
    try:
        return str(cls(*args))
    except Exception:
        return str(Exception(*args))


def _moment(value: Any) -> datetime.datetime | None:
    """Return a time of Celery's, which is in UTC if it names no zone."""
    try:
        found = read_datetime(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(found, datetime.datetime):
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)
