"""One execution of an activity: a Pyramid request of its own, current while it runs, with a transaction around it."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

import transaction
from temporalio import activity
from temporalio.activity import _CompleteAsyncError  # there is no public name for this exception
from temporalio.exceptions import CancelledError

from ..enlist.enlistment import has_begun
from ..exceptions import ImproperlyConfigured
from ..transactions.pyramid_request import Attempt, attempt
from . import current_requests
from .context import ActivityContext


class UnitOfWork:
    """A context manager around one execution. It commits if the block returns, and aborts if the block raises.

    It begins and ends on the thread that runs the activity. `close` has to be called after the block: temporalio
    cancels a `def` activity by an exception that it raises in this thread, at any instruction. It may raise it between
    the end of the block and the first instruction of `__exit__`.
    """

    def __init__(self, registry: Any, *, on_event_loop: bool) -> None:
        """
        :param on_event_loop: whether the activity is `async def`: other executions take turns with it on its thread.
        """
        self._registry = registry
        self._on_event_loop = on_event_loop
        self._undo = ExitStack()
        self._attempt: Attempt
        self._joined_before = 0

    def __enter__(self) -> ActivityContext:
        if self._on_event_loop:
            current_requests.keep_apart()
            self._joined_before = _joined_to_the_thread()
        with activity.shield_thread_cancel_exception():
            self._attempt = self._undo.enter_context(attempt(self._registry, thread_is_shared=self._on_event_loop))
            return ActivityContext(self._attempt.request)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        committed = False
        try:
            # An exception that a cancellation raises in this thread must not interrupt the commit or the abort.
            with activity.shield_thread_cancel_exception(), self._undo:
                # After raise_complete_async(), somebody else completes the activity, and may need what it has written.
                if error is None or isinstance(error, _CompleteAsyncError):
                    self._refuse_lost_work()
                    self._attempt.commit()
                    committed = True
        except CancelledError:
            # A cancellation that arrived during the commit comes too late: the work is done.
            if not committed:
                raise

    def close(self) -> None:
        """Abort, if the block has not ended in order."""
        self._undo.close()

    def _refuse_lost_work(self) -> None:
        """Raise if the activity has used a session of the thread's transaction, which nobody would commit."""
        if self._on_event_loop and _joined_to_the_thread() > self._joined_before:
            transaction.abort()
            raise ImproperlyConfigured(
                f"activity {activity.info().activity_type!r} is `async def`, and used a session that takes part in the "
                "thread's transaction, which all activities of the event loop share; register the session with the "
                "request's (zope.sqlalchemy.register(session, transaction_manager=request.tm)), or write the activity "
                "as `def`"
            )


def _joined_to_the_thread() -> int:
    """Return how many sessions and other members the thread's own transaction has."""
    return len(transaction.manager.get()._resources) if has_begun(transaction.manager) else 0
