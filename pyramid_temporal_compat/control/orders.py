"""What control calls have changed for the tasks of this worker: the worker asks before each run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..exceptions import ImproperlyConfigured
from ..message.celery_view import stamps_of
from ..message.message import Message
from . import process_state
from .limits import Limits, Rate, interval_of

if TYPE_CHECKING:
    from ..interfaces import AppLike


class Orders:
    """Says whether, when and for how long a task may run. Belongs to the worker's event loop."""

    def __init__(self, app: AppLike) -> None:
        self._app = app
        self._rates: dict[str, Rate] = {}
        self._limits: dict[str, Limits] = {}

    def refusal(self, message: Message) -> str | None:
        """Return why the task must not run, or None if it was not revoked."""
        if message.id in process_state.revoked or message.id in process_state.revoked_on_server:
            return "revoked"
        if process_state.revoked_stamps and (
            found := process_state.matching_stamps(process_state.revoked_stamps, stamps_of(message))
        ):
            return f"revoked by its stamps {found}"
        return None

    def is_paused(self, message: Message) -> bool:
        """Return whether the tasks of the message's type must not start for now."""
        return message.task in process_state.paused_types

    def wait(self, message: Message) -> float:
        """Return the seconds that the task must wait for its rate limit before it asks again; 0 if it may start now."""
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
        """Raise `ImproperlyConfigured` for an invalid rate limit. Called at start, so that no task fails later."""
        for name in list(self._app.tasks):
            try:
                interval_of(self._declared_rate(name))
            except ValueError as error:
                raise ImproperlyConfigured(f"task {name!r}: rate_limit = {error}") from None

    def limit_rate(self, task: str, rate: Any) -> None:
        """Set a task's rate limit in this worker."""
        self._rates[task] = Rate(interval_of(rate))

    def limits(self, message: Message) -> Limits:
        """Return the time limits of a task's next run."""
        return self._limits.get(message.task) or Limits(message.soft_time_limit, message.time_limit)

    def limit_time(self, task: str, soft: float | None, hard: float | None) -> None:
        """Set a task's time limits in this worker."""
        self._limits[task] = Limits(soft, hard)
