"""One execution of an activity: a Pyramid request of its own, current while it runs, with a transaction around it."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

from temporalio import activity
from temporalio.exceptions import CancelledError

from ..transactions.pyramid_request import Attempt, attempt
from . import current_requests
from .context import ActivityContext, running


class UnitOfWork:
    """A context manager around one execution. It commits if the block returns, and aborts if the block raises.

    It begins and ends on the thread that runs the activity.
    """

    def __init__(self, registry: Any, *, on_event_loop: bool) -> None:
        """
        :param on_event_loop: whether the activity is `async def`: other executions take turns with it on its thread.
        """
        self._registry = registry
        self._on_event_loop = on_event_loop
        self._undo = ExitStack()
        self._attempt: Attempt

    def __enter__(self) -> ActivityContext:
        if self._on_event_loop:
            current_requests.keep_apart()
        with activity.shield_thread_cancel_exception():
            self._attempt = self._undo.enter_context(attempt(self._registry, thread_is_shared=self._on_event_loop))
            context = ActivityContext(self._attempt.request)
            token = running.set(context)
            self._undo.callback(running.reset, token)
        return context

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        committed = False
        try:
            with activity.shield_thread_cancel_exception(), self._undo:
                if error is None:
                    self._attempt.commit()
                    committed = True
        except CancelledError:
            # A cancellation that arrived during the commit comes too late: the work is done.
            if not committed:
                raise
