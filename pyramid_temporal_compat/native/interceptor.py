"""The same unit of work for activities that take no context."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from .binding import in_unit_of_work


class TransactionInterceptor(Interceptor):
    """Runs each plain activity of a worker in a unit of work, as pyramid_tm does for views.

    A plain activity is a function under temporalio's own `@activity.defn`. While it runs, `get_current_request()`
    returns a request of the application, whose transaction has begun. It commits when the activity returns, and aborts
    when it raises. Nothing changes for context activities and tasks, which have a unit of work already.

    Give it to a worker: `Worker(client, registry, …, interceptors=[TransactionInterceptor(registry)])`. No worker has
    it by default.
    """

    def __init__(self, registry: Any, names: Collection[str] | None = None) -> None:
        """
        :param names: the names of the activities that get a unit of work. None means all.
        """
        self._registry = registry
        self._names = names

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Return the interceptor of one execution."""
        return _Transacted(next, self._registry, self._names)


class _Transacted(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, registry: Any, names: Collection[str] | None) -> None:
        super().__init__(next)
        self._registry = registry
        self._names = names

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if not has_unit_of_work(input.fn) and (self._names is None or activity.info().activity_type in self._names):
            input.fn = in_unit_of_work(self._registry, input.fn, passes_context=False)
        return await super().execute_activity(input)


def has_unit_of_work(fn: Callable[..., Any]) -> bool:
    """Return whether an activity of a worker makes its own unit of work: a bound context activity, or a task.

    The functions of both are made by this package.
    """
    return fn.__module__.partition(".")[0] == __name__.partition(".")[0]
