"""What control calls have changed about the tasks of this worker, asked before each run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..exceptions import ImproperlyConfigured
from ..message.celery_view import stamps_of
from ..message.message import Message
from ..message.time_limits import Limits
from . import state
from .rate_limits import Rate, interval_of

if TYPE_CHECKING:
    from ..interfaces import AppLike


class Orders:
    """Revoked tasks, rate limits and time limits. Belongs to the worker's event loop."""

    def __init__(self, app: AppLike) -> None:
        self._app = app
        self._rates: dict[str, Rate] = {}
        self._limits: dict[str, Limits] = {}

    def refusal(self, message: Message) -> str | None:
        """Why the task is not to run, if it was revoked."""
        if message.id in state.revoked or message.id in state.revoked_beforehand:
            return "revoked"
        if state.revoked_stamps and (found := state.matching_stamps(state.revoked_stamps, stamps_of(message))):
            return f"revoked by its stamps {found}"
        return None

    def wait(self, message: Message) -> float:
        """Seconds that the task's rate limit has it wait before it asks again; 0: it starts now."""
        rate = self._rate(message.task)
        return rate.wait(message.id, time.monotonic()) if rate.interval else 0.0

    def _rate(self, task: str) -> Rate:
        rate = self._rates.get(task)
        if rate is None:
            rate = self._rates[task] = Rate(interval_of(self._declared_rate(task)))
        return rate

    def _declared_rate(self, task: str) -> Any:
        if self._app.conf.worker_disable_rate_limits:
            return None
        declared = self._app.tasks[task].rate_limit
        return self._app.conf.task_default_rate_limit if declared is None else declared

    def check_rates(self) -> None:
        """Raise for a task whose rate limit is none: better now than at each of its runs."""
        for name in list(self._app.tasks):
            try:
                interval_of(self._declared_rate(name))
            except ValueError as error:
                raise ImproperlyConfigured(f"task {name!r}: rate_limit = {error}") from None

    def limit_rate(self, task: str, rate: Any) -> None:
        self._rates[task] = Rate(interval_of(rate))

    def limits(self, message: Message) -> Limits:
        return self._limits.get(message.task) or Limits(message.soft_time_limit, message.time_limit)

    def limit_time(self, task: str, soft: float | None, hard: float | None) -> None:
        self._limits[task] = Limits(soft, hard)
