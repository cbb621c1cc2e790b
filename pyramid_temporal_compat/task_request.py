"""A Pyramid request for a task, and the transaction around it."""

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
except ImportError:  # an application without it marks no errors

    def is_marked_retryable(error: BaseException) -> bool:
        return False

else:

    def is_marked_retryable(error: BaseException) -> bool:
        # Not pyramid_retry's own question: that one asks about a request's attempts, and a task has its own.
        return isinstance(error, RetryableException) or bool(IRetryableError.providedBy(error))


log = logging.getLogger(__name__)


class Attempt:
    """One transaction around one call, with the request that goes with it."""

    def __init__(self, request: Any, manager: Any) -> None:
        self.request = request
        self._manager = manager
        self._open = True
        self.begun = manager.get()
        """The transaction that it began with."""

    @property
    def transaction(self) -> Any | None:
        """The transaction that `commit` would commit; None if it is doomed, or if there is none and may be none."""
        if not has_begun(self._manager) and self._manager.explicit:
            return None
        current = self._manager.get()
        return None if current.isDoomed() else current

    def begin_anew(self) -> None:
        """End the transaction, in which nothing was written, and begin another one."""
        self._manager.abort()
        self._manager.begin()
        self.begun = self._manager.get()

    def commit(self) -> None:
        """Commit; a transaction that the task has doomed is aborted, as pyramid_tm does."""
        if self._manager.isDoomed():
            self.abort()
            return
        self._deactivate()
        self._manager.commit()
        self._open = False

    def commit_if_begun(self) -> None:
        """Commit, unless the application's own code has already ended the transaction."""
        if has_begun(self._manager):
            self.commit()
        self._open = self._open and has_begun(self._manager)

    def abort(self) -> None:
        self._deactivate()
        if self._open:
            self._open = False
            self._manager.abort()

    def may_retry(self, error: BaseException) -> bool:
        """Whether the data managers, or pyramid_retry, say that the same transaction may succeed next time."""
        managers_say_so = bool(self._manager.get().isRetryableError(error))
        return managers_say_so or is_marked_retryable(error) or conflicts_in_mysql(error)

    def _deactivate(self) -> None:
        for key in ("tm.active", "tm.manager"):
            self.request.environ.pop(key, None)


@contextmanager
def attempt(registry: Any | None) -> Iterator[Attempt]:
    """A fresh request of the application, current in this thread, with `request.tm` begun.

    What is not committed when the block ends is aborted. The request's finished callbacks run last; one that fails
    is logged, since what it would undo is committed.
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
    """Run the request's finished callbacks, each of them whatever the others do."""
    while request.finished_callbacks:
        callback = request.finished_callbacks.popleft()
        try:
            callback(request)
        except Exception:
            log.exception("a finished callback of the task's request failed: %r", callback)


def make_request(registry: Any) -> Any:
    """A request as the application's own factory makes them, for no URL in particular."""
    factory = registry.queryUtility(IRequestFactory, default=Request)
    request = factory.blank("/")
    request.registry = registry
    return request


def begin(request: Any) -> Any:
    """Begin the transaction that pyramid_tm would have begun; an application without it gets the thread's own."""
    manager = getattr(request, "tm", None)
    if manager is None:
        manager = request.tm = transaction.manager
    request.environ["tm.active"] = True
    request.environ["tm.manager"] = manager
    manager.begin()
    return manager


def _bare_registry() -> Any:
    return Registry("pyramid_temporal_compat")
