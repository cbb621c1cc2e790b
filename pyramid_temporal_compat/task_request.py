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

from .database_errors import conflicts_in_mysql
from .enlist.enlistment import has_begun

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

    def __init__(self, request: Any, manager: Any) -> None:
        self.request = request
        self._manager = manager
        self._open = True
        self.begun = manager.get()
        """The transaction at the beginning. The task may have ended it, and begun another."""

    @property
    def transaction(self) -> Any | None:
        """Return the transaction that `commit` would commit; None if it is doomed.

        Also None if an explicit manager has no transaction: `get` would raise there.
        """
        if not has_begun(self._manager) and self._manager.explicit:
            return None
        current = self._manager.get()
        return None if current.isDoomed() else current

    def begin_anew(self) -> None:
        """Abort the transaction, in which nothing was written, and begin another."""
        self._manager.abort()
        self._manager.begin()
        self.begun = self._manager.get()

    def commit(self) -> None:
        """Commit the transaction. Abort it instead if the task has doomed it, as pyramid_tm does."""
        if self._manager.isDoomed():
            self.abort()
            return
        self._deactivate()
        self._manager.commit()
        self._open = False

    def commit_if_begun(self) -> None:
        """Commit the transaction, unless the application's own code has ended it already."""
        if has_begun(self._manager):
            self.commit()
        self._open = self._open and has_begun(self._manager)

    def abort(self) -> None:
        """Abort the transaction, if it is not committed."""
        self._deactivate()
        if self._open:
            self._open = False
            self._manager.abort()

    def may_retry(self, error: BaseException) -> bool:
        """Return whether the same transaction may succeed at the next attempt.

        The data managers decide, or pyramid_retry's marks, or the error is a conflict in MySQL.
        """
        managers_say_so = bool(self._manager.get().isRetryableError(error))
        return managers_say_so or is_marked_retryable(error) or conflicts_in_mysql(error)

    def _deactivate(self) -> None:
        for key in ("tm.active", "tm.manager"):
            self.request.environ.pop(key, None)


@contextmanager
def attempt(registry: Any | None) -> Iterator[Attempt]:
    """Yield an attempt: a new request of the application, current in this thread, with `request.tm` begun.

    The end of the block aborts a transaction that is not committed. The request's finished callbacks run last. A
    callback that fails is only logged, because the transaction is committed by then.
    """
    request = make_request(registry or _bare_registry())
    context = RequestContext(request)
    context.begin()
    try:
        apply_request_extensions(request)
        run = Attempt(request, begin(request))
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


def begin(request: Any) -> Any:
    """Begin the transaction that pyramid_tm would have begun, and return its manager.

    An application without pyramid_tm gets the thread-local `transaction.manager`.
    """
    manager = getattr(request, "tm", None)
    if manager is None:
        manager = request.tm = transaction.manager
    request.environ["tm.active"] = True
    request.environ["tm.manager"] = manager
    manager.begin()
    return manager


def _bare_registry() -> Any:
    return Registry("pyramid_temporal_compat")
