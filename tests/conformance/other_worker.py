"""A second worker, for tests of the suite that play one by writing states into Celery's result backend."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from pyramid_temporal_compat import Celery, shared_task, states
from pyramid_temporal_compat.as_celery.backend import Backend
from pyramid_temporal_compat.testing.celery_app import test_app
from pyramid_temporal_compat.testing.celery_worker import start_worker
from tests.parts import wait_until

QUEUE = "elsewhere"
_may_end = threading.Event()


@shared_task(bind=True, name="tests.conformance.shows")
def shows(self: Any, state: str, meta: Any) -> None:
    if state != states.STARTED:
        self.update_state(state=state, meta=meta)
    _may_end.wait(30)


@contextmanager
def other_worker(server: Any) -> Iterator[None]:
    """Inside the block, `store_result` for a task that does not run starts a task that shows this state."""
    with ExitStack() as stack:
        before: list[Celery] = []

        def app() -> Celery:
            # Start the worker only when a test needs it: most tests count the workers, or wait until all are idle.
            if not before:
                _may_end.clear()
                settings = {"task_default_queue": QUEUE, "worker_enable_remote_control": False}
                made = stack.enter_context(test_app(server, settings, {}, logging=False, trap=False))
                stack.enter_context(start_worker(made, hostname="other@host", concurrency=4, pool="threads"))
                stack.callback(_may_end.set)
                before.append(made)
            return before[0]

        def store_result(self: Backend, task_id: str, result: Any, state: str, **kwargs: Any) -> Any:
            app().send_task(shows.name, (state, result), task_id=task_id)
            wait_until(lambda: self.get_state(task_id) == state)
            return result

        stack.enter_context(mock.patch.object(Backend, "store_result", store_result))
        yield
