"""Helps tests to wait for workers; Celery's `celery.contrib.testing.manager`."""

from __future__ import annotations

import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .. import states
from ..app import Celery
from ..exceptions import ContentDisallowed, OperationalError, TimeoutError
from ..results.result_sets import ResultSet

__all__ = ["Manager", "ManagerMixin", "Sentinel"]

Catch = type[BaseException] | tuple[type[BaseException], ...]


class Sentinel(Exception):
    """The event that a test waits for has not happened yet."""


class ManagerMixin:
    """The manager's methods, for a class that has an `app`."""

    app: Celery

    def _init_manager(
        self, block_timeout: float = 30 * 60.0, no_join: bool = False, stdout: Any = None, stderr: Any = None
    ) -> None:
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self.connerrors = (OperationalError,)
        self.block_timeout = block_timeout
        self.no_join = no_join

    def remark(self, s: str, sep: str = "-") -> None:
        print(f"{sep}{s}", file=self.stdout)

    def warn(self, s: str) -> None:
        self.stderr.write(f"{s}\n")

    # --- waiting -----------------------------------------------------------------------------------

    def wait_for(
        self,
        fun: Callable[..., Any],
        catch: Catch,
        desc: str = "thing",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        errback: Callable[[BaseException, float, int], Any] | None = None,
        max_retries: int | None = 10,
        interval_start: float = 0.1,
        interval_step: float = 0.5,
        interval_max: float = 5.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> Any:
        """Call `fun` until it raises no error in `catch`. After `max_retries` retries, raise the last error."""

        def on_error(error: BaseException, interval: float, retries: int) -> None:
            if emit_warning:
                self.warn(f"Still waiting for {desc}.  Trying again in {interval:g} seconds: {error!r}")
            if errback is not None:
                errback(error, interval, retries)

        return self.retry_over_time(
            fun, catch, args, kwargs, on_error, max_retries, interval_start, interval_step, interval_max
        )

    def retry_over_time(
        self,
        fun: Callable[..., Any],
        catch: Catch,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        errback: Callable[[BaseException, float, int], Any] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2,
        interval_step: float = 2,
        interval_max: float = 30,
    ) -> Any:
        errors = catch if isinstance(catch, tuple) else tuple(catch) if isinstance(catch, list) else (catch,)
        for retries in itertools.count():
            try:
                return fun(*args, **(kwargs or {}))
            except errors as error:
                if max_retries is not None and retries >= max_retries:
                    raise
                interval = min(interval_start + interval_step * retries, interval_max)
                if errback is not None:
                    errback(error, interval, retries)
                time.sleep(interval)
        raise AssertionError("unreachable")

    def ensure_not_for_a_while(
        self,
        fun: Callable[..., Any],
        catch: Catch,
        desc: str = "thing",
        max_retries: int = 20,
        interval_start: float = 0.1,
        interval_step: float = 0.02,
        interval_max: float = 1.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> None:
        """Raise `AssertionError` if a call of `fun` raises no error of the classes in `catch`."""
        try:
            self.wait_for(
                fun,
                catch,
                desc=desc,
                max_retries=max_retries,
                interval_start=interval_start,
                interval_step=interval_step,
                interval_max=interval_max,
                emit_warning=emit_warning,
            )
        except catch:
            return
        raise AssertionError(f"Should not have happened: {desc}")

    def join(self, r: Any, propagate: bool = False, max_retries: int | None = 10, **kwargs: Any) -> Any:
        """Return the results of one or several calls. Ask up to `max_retries` times while some are missing."""
        if self.no_join:
            return None
        results = r if isinstance(r, ResultSet) else self.app.ResultSet([r])
        for _ in range(max_retries) if max_retries else itertools.count():
            received: list[str] = []
            try:
                return results.get(callback=lambda id, _, to=received: to.append(id), propagate=propagate, **kwargs)
            except TimeoutError as error:
                missing = [result.id for result in results.results if result.id not in received]
                self.remark(f"Still waiting for {len(missing)}/{len(results)}: [{', '.join(missing)}]: {error!r}", "!")
            except self.connerrors as error:
                self.remark(f"join: connection lost: {error!r}", "!")
        raise AssertionError("Test failed: Missing task results")

    def missing_results(self, r: Iterable[Any]) -> list[str]:
        return [result.id for result in r if not result.ready()]

    def wait_until_idle(self) -> None:
        """End the tasks that wait in the queues, and wait until no worker runs a task."""
        control = self.app.control
        while control.purge():
            pass
        while True:
            try:
                if not any((control.inspect().active() or {}).values()):
                    return
            except ContentDisallowed:
                return

    # --- asking workers ----------------------------------------------------------------------------

    def inspect(self, timeout: float = 3.0) -> Any:
        return self.app.control.inspect(timeout=timeout)

    def query_tasks(self, ids: Sequence[str], timeout: float = 0.5) -> Iterator[tuple[str, Any]]:
        yield from (self.inspect(timeout).query_task(*ids) or {}).items()

    def query_task_states(self, ids: Sequence[str], timeout: float = 0.5) -> dict[str, set[str]]:
        found: defaultdict[str, set[str]] = defaultdict(set)
        for _, reply in self.query_tasks(ids, timeout=timeout):
            for task_id, (state, _) in reply.items():
                found[state].add(task_id)
        return found

    def assert_accepted(
        self, ids: Sequence[str], interval: float = 0.5, desc: str = "waiting for tasks to be accepted", **policy: Any
    ) -> Any:
        return self.assert_task_worker_state(self.is_accepted, ids, interval=interval, desc=desc, **policy)

    def assert_received(
        self, ids: Sequence[str], interval: float = 0.5, desc: str = "waiting for tasks to be received", **policy: Any
    ) -> Any:
        return self.assert_task_worker_state(self.is_received, ids, interval=interval, desc=desc, **policy)

    def assert_result_tasks_in_progress_or_completed(
        self,
        async_results: Sequence[Any],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be started or completed",
        **policy: Any,
    ) -> Any:
        return self.assert_task_state_from_result(
            self.is_result_task_in_progress, async_results, interval=interval, desc=desc, **policy
        )

    def assert_task_state_from_result(
        self, fun: Callable[..., Any], results: Sequence[Any], interval: float = 0.5, **policy: Any
    ) -> Any:
        return self.wait_for(lambda: self.true_or_raise(fun, results, timeout=interval), Sentinel, **policy)

    def assert_task_worker_state(
        self, fun: Callable[..., Any], ids: Sequence[str], interval: float = 0.5, **policy: Any
    ) -> Any:
        return self.wait_for(lambda: self.true_or_raise(fun, ids, timeout=interval), Sentinel, **policy)

    @staticmethod
    def is_result_task_in_progress(results: Iterable[Any], **kwargs: Any) -> bool:
        return all(result.state in (states.STARTED, states.SUCCESS) for result in results)

    def is_received(self, ids: Sequence[str], **kwargs: Any) -> bool:
        return self._are_in(("reserved", "active", "ready"), ids, **kwargs)

    def is_accepted(self, ids: Sequence[str], **kwargs: Any) -> bool:
        return self._are_in(("active", "ready"), ids, **kwargs)

    def _are_in(self, expected: Iterable[str], ids: Sequence[str], timeout: float = 0.5) -> bool:
        found = self.query_task_states(ids, timeout=timeout)
        return set(ids) <= set().union(*(found[state] for state in expected))

    def true_or_raise(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not (result := fun(*args, **kwargs)):
            raise Sentinel
        return result


class Manager(ManagerMixin):
    """Helps a test to wait for what the workers of an app do."""

    def __init__(self, app: Celery, **options: Any) -> None:
        self.app = app
        self._init_manager(**options)
