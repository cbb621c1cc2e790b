"""Make `with request.tm:` in a task the task's unit of work, as the application wrote it.

A task starts with a transaction begun. An application under `pyramid_tm.explicit_manager` that opens its own
transaction, with `with request.tm:` or `request.tm.begin()`, would meet `AlreadyInTransaction`. Such a block takes the
task's transaction over instead, and ends it as the application says. Under a thread-local manager nothing is changed:
there, `begin()` has always replaced the transaction that had begun.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from transaction import TransactionManager


class TransactionBlocks:
    """A task's `request.tm`, if the application's manager is explicit. All other attributes are the manager's own.

    A run ends its transaction through this class under every kind of manager. An instance belongs to one run of one
    task, and to the thread of that run.
    """

    def __init__(self, manager: Any) -> None:
        # A ThreadTransactionManager wraps one manager for each thread. This one has the same attribute, so that a
        # reader finds the manager that a transaction itself names.
        self.manager = getattr(manager, "manager", manager)
        self.keeps_last_block = False
        """Whether the commit of a block waits for the next block or for the end of the run. With receipts it does,
        because the receipt has to be in the transaction of the last block."""
        self.has_committed = False
        """Whether the application has committed. Then the function must not be called again for a transient error."""
        self._offered: Any = None
        """The run's own transaction, while no block has taken it over."""
        self._kept: Any = None
        """The transaction of the last block, whose commit waits."""
        self._may_retry: BaseException | None = None
        """The last error of a block that its data managers call transient."""

    @property
    def explicit(self) -> bool:
        """Whether only `begin` begins a transaction."""
        return bool(self.manager.explicit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.manager, name)

    # --- what the application calls --------------------------------------------------------------

    def begin(self) -> Any:
        """Take the run's own transaction over; begin another if the run's own is over."""
        self.commit_kept()
        offered, self._offered = self._offered, None
        if offered is not None and offered is self.manager._txn:
            return offered
        return self.manager.begin()

    def commit(self) -> None:
        """Commit the current transaction, at once."""
        self._kept = None
        try:
            self.manager.commit()
        except BaseException as error:
            self._remember(error)
            raise
        self.has_committed = True

    def abort(self) -> None:
        """Abort the current transaction. A block that ended before stays committed."""
        self.commit_kept()
        self.manager.abort()

    def __enter__(self) -> Any:
        return self.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._remember(error)
            self.manager.abort()
        elif self.keeps_last_block and not self.manager.isDoomed():
            self._kept = self.manager.get()
        else:
            self.commit()

    # Both call `begin`, `commit` and `abort` of this class.
    attempts = TransactionManager.attempts
    run = TransactionManager.run

    # --- what the run calls ----------------------------------------------------------------------

    def offer(self) -> Any:
        """Begin the run's own transaction, which the application's first block takes over."""
        self._offered = self.manager.begin()
        return self._offered

    def roll_back(self) -> None:
        """Abort the current transaction, even if the commit of a block waits for the end of the run."""
        self._kept = None
        self.manager.abort()

    def commit_kept(self) -> None:
        """Commit the last block, if its commit waits and the application has not ended it since."""
        kept, self._kept = self._kept, None
        if kept is not None and kept is self.manager._txn:
            self.commit()

    def may_retry(self, error: BaseException) -> bool:
        """Return whether a block that has ended failed with this error, and its data managers call it transient."""
        return error is self._may_retry

    def _remember(self, error: BaseException) -> None:
        transaction = self.manager._txn
        if transaction is not None and transaction.isRetryableError(error):
            self._may_retry = error
