"""One run of a task, in a worker or in the caller's process, with the steps around the function in order:

    task_prerun, before_start                        in the run's transaction
    the function                                     again, if the database says that another attempt may succeed
    the result is encoded, then the commit           or the rollback
    on_success | on_retry | on_failure               in a transaction of their own, with the signal of the same name
    after_return, task_postrun

An error in a hook or a receiver is logged. It can't change how the run ended, because the run has committed.

With receipts on, a repeated run first looks for the receipt of an earlier run, and the commit of a run writes a
receipt. A run that finds a receipt ends as the receipt says. Its function is not called, or its effects are rolled
back.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .. import signals, states
from ..celery_names.einfo import ExceptionInfo
from ..context import Context, running
from ..exceptions import Ignore, Reject, Retry, StoppedAtLimit, TaskReplaced, TaskStopped, Terminated
from ..transactions.database_errors import database_is_away
from ..transactions.pyramid_request import Attempt
from .task import Task
from .trace import traced

log = logging.getLogger(__name__)

Call = Callable[[Callable[[], Any]], Any]
"""Calls the task's function, as the pool does it: the pool may interrupt the call."""
E = TypeVar("E", bound=BaseException)
NewAttempt = Callable[[], AbstractContextManager[Attempt]]
"""Opens a Pyramid request with a transaction of its own."""

NOT_A_RETURN = frozenset({states.IGNORED, states.RETRY, states.REJECTED})
"""States in which the task has not returned, so that `after_return` is not called."""


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    state: str
    value: Any = None
    """The result after SUCCESS; the exception in every other state."""
    written: Any = None
    """The result as it was encoded before the commit."""
    outcome: Any = None
    """The outcome of the task in an earlier run, if a receipt has it."""
    called: bool = True
    """Whether the run came as far as calling the function."""

    @property
    def error(self) -> BaseException | None:
        """Return the exception that ended the run; None after SUCCESS."""
        return None if self.state == states.SUCCESS else self.value


class Undecided(Exception):
    """Raised when this run can't know the outcome of its task, so no hook is called."""

    def __init__(self, outcome: Any) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class ReceiptLike(Protocol):
    """The receipt of one run. It makes the effects of a task happen once, even if the task runs several times."""

    @property
    def was_left(self) -> bool:
        """Whether the run has written its receipt."""

    def earlier(self, run: Attempt) -> Ending | None:
        """Return how an earlier run ended; None if this run is needed. Called in this run's transaction."""

    def leave(self, run: Attempt, ending: Ending) -> None:
        """Write the receipt with the run's outcome. Called before the commit."""

    def settled(self, ending: Ending, new_attempt: NewAttempt) -> Ending:
        """Return how the task ended. A run that failed may find that another run has succeeded. Called at the end."""


@dataclass(frozen=True)
class Execution:
    """One run of a task. `run()` makes it and returns how it ended."""

    task: Task
    request: Context
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    attempts: int
    new_attempt: NewAttempt
    write: Callable[[Any], Any]
    """Encodes the result. An error here, for a result that can't be encoded, makes the run fail."""
    call: Call = lambda function: function()
    receipt: ReceiptLike | None = None
    """The receipt of this run; None if receipts are off."""
    on_database_away: Callable[[BaseException], Any] | None = None
    """Returns the outcome of a run whose database is unreachable. If this is None, such a run fails."""
    wrapped_task: Any = None
    """The task inside the wrapper of a monitoring tool, which is called in the task's place; None without one."""

    def run(self) -> Ending:
        """Make the run, inside the tracer of a monitoring tool if there is one."""
        return traced(self, self._run_as)

    def _run_as(self, task: Any) -> Ending:
        return (self if task is self.task else replace(self, wrapped_task=task))._run()

    def _run(self) -> Ending:
        with running(self.task, self.request):
            ending = self._transact()
            if self.receipt is not None:
                ending = self.receipt.settled(ending, self.new_attempt)
            if self.on_database_away is not None and ending.error is not None and database_is_away(ending.error):
                raise Undecided(self.on_database_away(ending.error))
            self._in_own_transaction(ending, self._call_hooks)
        return ending

    def _transact(self) -> Ending:
        try:
            return self._attempts()
        except Retry as asked:
            return Ending(states.RETRY, without_our_frames(asked))
        except Ignore as ignored:
            return Ending(states.IGNORED, ignored)
        except Reject as rejected:
            return Ending(states.REJECTED if rejected.requeue else states.FAILURE, rejected)
        except (TaskStopped, StoppedAtLimit, Terminated, Undecided):
            raise  # the pool stopped the run, and decides what happens to the task: no hook is called
        except (Exception, SystemExit) as error:
            return Ending(states.FAILURE, without_our_frames(error))
        except BaseException as error:
            # A KeyboardInterrupt, a cancelled coroutine, an exception of a testing tool. In a worker, only the function
            # raises these: the process goes on, and another process would meet the same error again and again.
            if self.request.is_eager:
                raise
            return Ending(states.FAILURE, without_our_frames(error))

    def _attempts(self) -> Ending:
        for number in range(1, self.attempts + 1):
            with self.new_attempt() as run:
                self.request.pyramid_request = run.request
                if self.receipt is not None:
                    run.keep_last_block()
                try:
                    if self.receipt is not None and (ending := self.receipt.earlier(run)) is not None:
                        return ending if number > 1 else replace(ending, called=False)
                    if number == 1:
                        self._send(signals.task_prerun, task=self.task)
                    self.task.before_start(str(self.request.id), self.args, self.kwargs)
                    try:
                        value = self._value()
                    except TaskReplaced as replaced:  # for the task itself, this is a return
                        return self._commit(run, Ending(states.IGNORED, replaced))
                    except BaseException:
                        run.commit_ended_block()
                        raise
                    written = self.write(value)
                    if self.request.retry_asked is not None:
                        raise self.request.retry_asked
                    return self._commit(run, Ending(states.SUCCESS, value, written))
                except Exception as error:
                    if number == self.attempts or not self._may_succeed(run, error):
                        raise
                    log.warning(
                        "%s[%s]: transaction attempt %d failed and is repeated: %r",
                        self.task.name,
                        self.request.id,
                        number,
                        error,
                    )
                    self.request.children = None
        raise AssertionError("unreachable")

    def _may_succeed(self, run: Attempt, error: Exception) -> bool:
        """Return whether another attempt may succeed at once."""
        return run.may_retry(error) or (self.on_database_away is not None and database_is_away(error))

    def _commit(self, run: Attempt, ending: Ending) -> Ending:
        if self.receipt is not None:
            self.receipt.leave(run, ending)
        run.commit()
        return ending

    def _value(self) -> Any:
        """Call the function. An error that `autoretry_for` names becomes a retry."""
        task = self.task
        called = task if self.wrapped_task is None else self.wrapped_task
        # As in Celery: only a subclass's own __call__ is called. The inherited one would add nothing.
        around = type(called).__call__ is not Task.__call__
        function = called if around else called.run
        self.request.entered = not around
        try:
            return self.call(lambda: run_if_coroutine(function(*self.args, **self.kwargs)))
        except (Retry, Ignore, Reject, StoppedAtLimit, Terminated):
            raise
        except Exception as error:
            asked = task.autoretry(error)
            if asked is None:
                raise
            raise asked from error

    def follow(self, error: Exception) -> Ending:
        """Call the hooks of a run that was stopped from outside: `on_failure` and `task_failure` only, as in Celery.

        If the run had committed before, its receipt says how it ended, and all hooks are called.
        """
        ending = Ending(states.FAILURE, error)
        with running(self.task, self.request):
            if self.receipt is not None:
                ending = self.receipt.settled(ending, self.new_attempt)
            self._in_own_transaction(ending, self._call_failure_hooks if ending.outcome is None else self._call_hooks)
        return ending

    def _call_failure_hooks(self, ending: Ending) -> None:
        while_handling(ending.value, self._tell_of_failure)

    def _tell_of_failure(self, error: BaseException) -> None:
        einfo = ExceptionInfo(error)
        self.task.on_failure(error, str(self.request.id), self.args, self.kwargs, einfo)
        self._send(signals.task_failure, exception=error, traceback=error.__traceback__, einfo=einfo)

    def _tell_of_retry(self, asked: Retry) -> None:
        einfo = ExceptionInfo(asked)
        self.task.on_retry(asked.exc, str(self.request.id), self.args, self.kwargs, einfo)
        signals.task_retry.send(sender=self.task, request=self.request, reason=asked, einfo=einfo)

    def _in_own_transaction(self, ending: Ending, tell: Callable[[Ending], None]) -> None:
        if not self._has_listeners():
            return
        try:
            with self.new_attempt() as run:
                self.request.pyramid_request = run.request
                tell(ending)
                run.commit()
        except Exception as error:
            log.exception(
                "%s[%s] ended %s, and then a hook or a signal receiver failed",
                self.task.name,
                self.request.id,
                ending.state,
            )
            details = {"request": self.request, "exception": error, "traceback": error.__traceback__}
            self._send(signals.task_internal_error, einfo=ExceptionInfo(error, internal=True), **details)

    def _has_listeners(self) -> bool:
        cls = type(self.task)
        return any(getattr(cls, hook) is not getattr(Task, hook) for hook in HOOKS) or any(
            signal.receivers for signal in SIGNALS
        )

    def _call_hooks(self, ending: Ending) -> None:
        task, error = self.task, ending.error
        about = (str(self.request.id), self.args, self.kwargs)
        try:
            if ending.state == states.SUCCESS:
                task.on_success(ending.value, *about)
                signals.task_success.send(sender=task, result=ending.value)
            elif isinstance(error, Retry):
                while_handling(error, self._tell_of_retry)
            elif ending.state == states.FAILURE and error is not None:
                while_handling(error, self._tell_of_failure)
            if ending.state not in NOT_A_RETURN:
                task.after_return(ending.state, ending.value, *about, None if error is None else ExceptionInfo(error))
        finally:
            if ending.called:
                self._send(signals.task_postrun, task=task, retval=ending.value, state=ending.state)

    def _send(self, signal: signals.Signal, **details: Any) -> None:
        signal.send(sender=self.task, task_id=self.request.id, args=self.args, kwargs=self.kwargs, **details)


HOOKS = ("on_success", "on_retry", "on_failure", "after_return")
SIGNALS = (signals.task_success, signals.task_retry, signals.task_failure, signals.task_postrun)


def while_handling(error: E, tell: Callable[[E], None]) -> None:
    """Call `tell(error)` as if in the `except` block that caught the error: `sys.exc_info()` returns the error.

    Monitoring tools read the error there, because Celery calls the hooks of a failure in such a block.
    """
    traceback, context = error.__traceback__, error.__context__
    try:
        raise error
    except BaseException:
        error.__traceback__, error.__context__ = traceback, context  # without the marks of this `raise`
        tell(error)


def run_if_coroutine(value: Any) -> Any:
    """Return the value. Run a coroutine first, in an event loop of its own: its request and transaction stay apart."""
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def without_our_frames(error: BaseException) -> BaseException:
    """Return the error with a traceback that begins in the application's code. Our own frames are always the same."""
    steps = error.__traceback__
    while steps is not None and steps.tb_frame.f_code.co_filename.startswith(OUR_CODE):
        steps = steps.tb_next
    return error.with_traceback(steps) if steps is not None else error


OUR_CODE = str(Path(__file__).resolve().parent.parent)
