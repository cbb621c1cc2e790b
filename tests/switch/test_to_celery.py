"""A worker that publishes its tasks to Celery and waits for their results."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pyramid_temporal_compat import chain, group
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.worker.to_celery import CeleryRunner, waiting_pool
from tests.outbox.parts import unique
from tests.parts import ROOT, wait_until
from tests.switch.conftest import CelerySide

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def here(celery_side: CelerySide, temporal_address: str) -> Iterator[Any]:
    """Yield the module of the application on this side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HERE_ADDRESS", temporal_address)
        patch.setenv("HERE_BACKEND", celery_side.backend)
        from tests.switch import here as module

        yield module
        module.app.close()


def worker(queues: str, *options: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "pyramid_temporal_compat.cli",
        "-A",
        "tests.switch.here",
        "worker",
        "-n",
        f"{unique()}@%h",
    ]
    return subprocess.Popen([*command, "-q", "-Q", queues, *options], cwd=ROOT, env=dict(os.environ))


@pytest.fixture(scope="module")
def own_queue(here: Any) -> Iterator[str]:
    """Yield a queue with a worker that runs tasks here."""
    queue = unique()
    process = worker(queue, "-P", "threads", "-c", "2")
    yield queue
    process.terminate()
    process.wait(60)


def test_a_canvas_mixes_both_sides_and_a_killed_worker_publishes_nothing_twice(
    here: Any, celery_side: CelerySide, own_queue: str
) -> None:
    # Celery's queue has the same name on this side, so a worker for it takes the tasks that are called here.
    queue = celery_side.queue
    to_celery = worker(queue, "--to-celery", celery_side.broker)
    try:
        on_celery = {"queue": queue}
        mixed = chain(
            here.add.s(1, 2).set(**on_celery),
            here.double.s().set(queue=own_queue),
            group(here.add.s(1).set(**on_celery), here.double.s().set(queue=own_queue)),
            here.double.s().set(queue=own_queue),
        ).delay()
        assert mixed.get(timeout=60) == [7, 12, 7, 12]
        failed = here.fail.apply_async(("here",), **on_celery)
        with pytest.raises(KeyError, match="here"):
            failed.get(timeout=60)
        assert "celery_shop.py" in failed.traceback
        waits = here.held.apply_async(("one",), **on_celery)
        wait_until(lambda: "held one" in celery_side.effects())
        to_celery.kill()
        to_celery.wait()
        to_celery = worker(queue, "--to-celery", celery_side.broker)
        celery_side.redis.rpush("go one", "go")
        assert waits.get(timeout=90) == "one"
        assert celery_side.effects().count("held one") == 1
    finally:
        to_celery.kill()
        to_celery.wait()


def test_a_worker_says_what_it_needs(here: Any, celery_side: CelerySide) -> None:
    with pytest.raises(ImproperlyConfigured, match="it takes a broker in Redis"):
        CeleryRunner(here.app, "amqp://guest:guest@localhost//")
    with pytest.raises(ImproperlyConfigured, match="leave out -P prefork"):
        waiting_pool("prefork")
    app = type(here.app)("alone", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match=r"ptemporal\.old_result_backend is not set"):
        CeleryRunner(app, celery_side.broker)
