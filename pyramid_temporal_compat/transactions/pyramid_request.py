"""Make a Pyramid request for a task, with a transaction around it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import transaction
from pyramid.interfaces import IRequestFactory
from pyramid.registry import Registry
from pyramid.request import Request, apply_request_extensions
from pyramid.threadlocal import RequestContext

from ..enlist.enlistment import has_begun
from .database_errors import conflicts_in_mysql
from .transaction_blocks import TransactionBlocks

try:
    from pyramid_retry import IRetryableError, RetryableException
except ImportError:  # without pyramid_retry the application can't mark errors

    def is_marked_retryable(error: BaseException) -> bool:
        """Return False: no error is marked."""
        return False

else:

    def is_marked_retryable(error: BaseException) -> bool:
        """Return whether pyramid_retry would retry a request that fails with this error."""
        # pyramid_retry's `is_error_retryable` also counts the request's attempts, and a task has attempts of its own.
        return isinstance(error, RetryableException) or bool(IRetryableError.providedBy(error))


log = logging.getLogger(__name__)


class Attempt:
    """One transaction around one call of a task, with its request."""

    def __init__(self, request: Any, blocks: TransactionBlocks) -> None:
        self.request = request
        self._blocks = blocks
        self._open = True
        self.begun = blocks.get()
        """The transaction at the beginning. The task may have ended it, and begun another."""

    @property
    def transaction(self) -> Any | None:
        """Return the transaction that `commit` would commit; None if it is doomed.

        Also None if an explicit manager has no transaction: `get` would raise there.
        """
        if self._is_ended:
            return None
        current = self._blocks.get()
        return None if current.isDoomed() else current

    @property
    def _is_ended(self) -> bool:
        """Whether the application has ended the transaction, under a manager that begins none by itself."""
        return self._blocks.explicit and not has_begun(self._blocks)

    def begin_anew(self) -> None:
        """Abort the transaction, in which nothing was written, and begin another."""
        self._blocks.roll_back()
        self.begun = self._blocks.offer()

    def keep_last_block(self) -> None:
        """Have the function's last `with request.tm:` commit with the run, and not before."""
        self._blocks.keeps_last_block = True

    def commit_ended_block(self) -> None:
        """Commit the last `with request.tm:`, if its commit waits: the function has failed after it."""
        self._blocks.commit_kept()

    def commit(self) -> None:
        """Commit the transaction. Abort it instead if the task has doomed it, as pyramid_tm does.

        Do nothing if the application's own code has ended it already.
        """
        if has_begun(self._blocks):
            if self._blocks.isDoomed():
                self.abort()
                return
            self._deactivate()
            self._blocks.commit()
        self._open = False

    def abort(self) -> None:
        """Abort the transaction, if it has not ended."""
        self._deactivate()
        if self._open:
            self._open = False
            if not self._is_ended:
                self._blocks.roll_back()

    def may_retry(self, error: BaseException) -> bool:
        """Return whether the same transaction may succeed at the next attempt.

        The data managers decide, or pyramid_retry's marks, or the error is a conflict in MySQL. Once a block of the
        application has committed, its work would be done twice.
        """
        if self._blocks.has_committed:
            return False
        return (
            self._blocks.may_retry(error)
            or (not self._is_ended and bool(self._blocks.get().isRetryableError(error)))
            or is_marked_retryable(error)
            or conflicts_in_mysql(error)
        )

    def _deactivate(self) -> None:
        for key in ("tm.active", "tm.manager"):
            self.request.environ.pop(key, None)


@contextmanager
def attempt(registry: Any | None, *, thread_is_shared: bool = False) -> Iterator[Attempt]:
    """Yield an attempt: a new request of the application, current in this thread, with `request.tm` begun.

    If the thread is shared, as by the tasks of an event loop, the attempt does not use the thread's own transaction.

    The end of the block aborts a transaction that is not committed. The request's finished callbacks run last. A
    callback that fails is only logged, because the transaction is committed by then.
    """
    request = make_request(registry or _bare_registry())
    context = RequestContext(request)
    context.begin()
    try:
        apply_request_extensions(request)
        run = Attempt(request, begin(request, thread_is_shared))
        try:
            yield run
        finally:
            run.abort()
    finally:
        finish(request)
        context.end()


def finish(request: Any) -> None:
    """Run every finished callback of the request, even if another callback fails."""
    while request.finished_callbacks:
        callback = request.finished_callbacks.popleft()
        try:
            callback(request)
        except Exception:
            log.exception("a finished callback of the task's request failed: %r", callback)


def make_request(registry: Any) -> Any:
    """Return a request from the application's own request factory, for the URL `/`."""
    factory = registry.queryUtility(IRequestFactory, default=Request)
    request = factory.blank("/")
    request.registry = registry
    return request


def begin(request: Any, thread_is_shared: bool = False) -> TransactionBlocks:
    """Begin the transaction that pyramid_tm would have begun.

    An application without pyramid_tm gets the thread-local `transaction.manager`. If the thread is shared, a manager of
    its own stands in for the thread-local one.
    """
    manager = getattr(request, "tm", None)
    if manager is None:
        manager = transaction.manager
    if thread_is_shared and isinstance(manager, transaction.ThreadTransactionManager):
        manager = transaction.TransactionManager(explicit=True)
    request.tm = manager
    blocks = TransactionBlocks(manager)
    if blocks.explicit:
        manager = request.tm = blocks
    request.environ["tm.active"] = True
    request.environ["tm.manager"] = manager
    blocks.offer()
    return blocks


def _bare_registry() -> Any:
    return Registry("pyramid_temporal_compat")
