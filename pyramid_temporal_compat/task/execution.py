"""One run of a task, wherever it runs: the steps around the function, in their order.

    task_prerun, before_start                        in the run's transaction
    the function                                     anew, while the database says that trying again may help
    its result written as bytes, then the commit     or the rollback
    on_success | on_retry | on_failure               in a transaction of their own, with the signal of that name
    after_return, task_postrun

A hook or a receiver that fails is logged. It can't change how the run ended: that is committed.

With receipts on, a run that follows another looks for that one's receipt first, and its commit leaves one. A run that
finds one ends as that says: its function is not called, or was called in vain and is rolled back.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from .. import signals, states
from ..celery_names.einfo import ExceptionInfo
from ..context import Context, running
from ..database_errors import database_is_away
from ..exceptions import Ignore, Reject, Retry, TaskReplaced, TaskStopped, Terminated
from ..task_request import Attempt
from .task import Task
from .trace import traced

log = logging.getLogger(__name__)

Call = Callable[[Callable[[], Any]], Any]
"""Calls the task's function: the pool's way, which may interrupt it."""
NewAttempt = Callable[[], AbstractContextManager[Attempt]]
"""Opens a request with a transaction."""

NOT_A_RETURN = frozenset({states.IGNORED, states.RETRY, states.REJECTED})
"""How a run ends without a return: `after_return` is not called."""


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    state: str
    value: Any = None
    """The result; for another end than SUCCESS, the exception."""
    written: Any = None
    """The result as it was written before the commit."""
    outcome: Any = None
    """What came of the task in an earlier run, where a receipt tells it."""
    called: bool = True
    """Whether the function was called, or was about to be."""

    @property
    def error(self) -> BaseException | None:
        return None if self.state == states.SUCCESS else self.value


class Undecided(Exception):
    """What comes of the task is not for this run to say: so no hook is called."""

    def __init__(self, outcome: Any) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Once(Protocol):
    """Has a task's effects happen once, however often it runs: the receipt of one run."""

    def earlier(self, run: Attempt) -> Ending | None:
        """How an earlier run ended, if this one need not be made. Called with its transaction begun."""

    def leave(self, run: Attempt, ending: Ending) -> None:
        """Write down how the run ends. Called before its commit."""

    def settled(self, ending: Ending, new_attempt: NewAttempt) -> Ending:
        """How the run really ended: as another did, perhaps, if it says that it failed. Called after its end."""


@dataclass(frozen=True)
class Execution:
    """A run to make."""

    task: Task
    request: Context
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    attempts: int
    new_attempt: NewAttempt
    write: Callable[[Any], Any]
    """Turns the result into what leaves. It raises for one that can't, and then the run has failed."""
    call: Call = lambda function: function()
    once: Once | None = None
    again: Callable[[BaseException], Any] | None = None
    """What comes of a run whose database went away; without it, such a run fails."""

    def run(self) -> Ending:
        return traced(self, self._run)

    def _run(self) -> Ending:
        with running(self.task, self.request):
            ending = self._transact()
            if self.once is not None:
                ending = self.once.settled(ending, self.new_attempt)
            if self.again is not None and ending.error is not None and database_is_away(ending.error):
                raise Undecided(self.again(ending.error))
            self._afterwards(ending, self._tell)
        return ending

    def _transact(self) -> Ending:
        try:
            return self._attempts()
        except Retry as asked:
            return Ending(states.RETRY, in_the_application(asked))
        except Ignore as ignored:
            return Ending(states.IGNORED, ignored)
        except Reject as rejected:
            return Ending(states.REJECTED if rejected.requeue else states.FAILURE, rejected)
        except (TaskStopped, Terminated, Undecided):
            raise  # by the pool: what comes of the task is not this run's to say, so no hook is called
        except (Exception, SystemExit) as error:
            return Ending(states.FAILURE, in_the_application(error))
        except BaseException as error:
            # A KeyboardInterrupt, a cancelled coroutine, a testing tool's own. In a worker nothing but the function
            # raises them: the process is not ending, and the same would happen in the next one, again and again.
            if self.request.is_eager:
                raise
            return Ending(states.FAILURE, in_the_application(error))

    def _attempts(self) -> Ending:
        for number in range(1, self.attempts + 1):
            with self.new_attempt() as run:
                self.request.pyramid_request = run.request
                if self.once is not None:
                    run.keep_last_block()
                try:
                    if self.once is not None and (ending := self.once.earlier(run)) is not None:
                        return ending if number > 1 else replace(ending, called=False)
                    if number == 1:
                        self._send(signals.task_prerun, task=self.task)
                    self.task.before_start(str(self.request.id), self.args, self.kwargs)
                    try:
                        value = self._value()
                    except TaskReplaced as replaced:  # to the task it is a return
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
                    log.warning("%s[%s]: transaction attempt %d: %r", self.task.name, self.request.id, number, error)
                    self.request.children = None
        raise AssertionError("unreachable")

    def _may_succeed(self, run: Attempt, error: Exception) -> bool:
        """Whether the same may go well at once."""
        return run.may_retry(error) or (self.again is not None and database_is_away(error))

    def _commit(self, run: Attempt, ending: Ending) -> Ending:
        if self.once is not None:
            self.once.leave(run, ending)
        run.commit()
        return ending

    def _value(self) -> Any:
        """Call the function; what `autoretry_for` names becomes a retry."""
        task = self.task
        # As Celery does: a subclass's own __call__ runs, the plain one would only stand in between.
        around = type(task).__call__ is not Task.__call__
        function = task if around else task.run
        self.request.entered = not around
        try:
            return self.call(lambda: to_value(function(*self.args, **self.kwargs)))
        except (Retry, Ignore, Reject, Terminated):
            raise
        except Exception as error:
            asked = task.autoretry(error)
            if asked is None:
                raise
            raise asked from error

    def follow(self, error: Exception) -> Ending:
        """What follows a run that was ended from outside, as Celery has it: `on_failure` and `task_failure` alone.

        A run that had committed before has ended as its receipt says.
        """
        ending = Ending(states.FAILURE, error)
        with running(self.task, self.request):
            if self.once is not None:
                ending = self.once.settled(ending, self.new_attempt)
            self._afterwards(ending, self._tell_failure if ending.outcome is None else self._tell)
        return ending

    def _tell_failure(self, ending: Ending) -> None:
        error = ending.value
        einfo = ExceptionInfo(error)
        self.task.on_failure(error, str(self.request.id), self.args, self.kwargs, einfo)
        self._send(signals.task_failure, exception=error, traceback=error.__traceback__, einfo=einfo)

    def _afterwards(self, ending: Ending, tell: Callable[[Ending], None]) -> None:
        if not self._someone_listens():
            return
        try:
            with self.new_attempt() as run:
                self.request.pyramid_request = run.request
                tell(ending)
                run.commit()
        except Exception as error:
            log.exception("%s[%s] ended %s; what was to follow failed", self.task.name, self.request.id, ending.state)
            details = {"request": self.request, "exception": error, "traceback": error.__traceback__}
            self._send(signals.task_internal_error, einfo=ExceptionInfo(error, internal=True), **details)

    def _someone_listens(self) -> bool:
        cls = type(self.task)
        return any(getattr(cls, hook) is not getattr(Task, hook) for hook in HOOKS) or any(
            signal.receivers for signal in SIGNALS
        )

    def _tell(self, ending: Ending) -> None:
        task, request, error = self.task, self.request, ending.error
        about = (str(request.id), self.args, self.kwargs)
        einfo = None if error is None else ExceptionInfo(error)
        try:
            if ending.state == states.SUCCESS:
                task.on_success(ending.value, *about)
                signals.task_success.send(sender=task, result=ending.value)
            elif isinstance(error, Retry):
                task.on_retry(error.exc, *about, einfo)
                signals.task_retry.send(sender=task, request=request, reason=error, einfo=einfo)
            elif ending.state == states.FAILURE and error is not None:
                task.on_failure(error, *about, einfo)
                self._send(signals.task_failure, exception=error, traceback=error.__traceback__, einfo=einfo)
            if ending.state not in NOT_A_RETURN:
                task.after_return(ending.state, ending.value, *about, einfo)
        finally:
            if ending.called:
                self._send(signals.task_postrun, task=task, retval=ending.value, state=ending.state)

    def _send(self, signal: signals.Signal, **details: Any) -> None:
        signal.send(sender=self.task, task_id=self.request.id, args=self.args, kwargs=self.kwargs, **details)


HOOKS = ("on_success", "on_retry", "on_failure", "after_return")
SIGNALS = (signals.task_success, signals.task_retry, signals.task_failure, signals.task_postrun)


def to_value(value: Any) -> Any:
    """An `async def` task gets an event loop of its own, so that its request and transaction stay its own too."""
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def in_the_application(error: BaseException) -> BaseException:
    """The error with a traceback that begins in the application's code: the way there is ours, and always the same."""
    steps = error.__traceback__
    while steps is not None and steps.tb_frame.f_code.co_filename.startswith(OUR_CODE):
        steps = steps.tb_next
    return error.with_traceback(steps) if steps is not None else error


OUR_CODE = str(Path(__file__).resolve().parent.parent)
