"""Signed arguments of a periodic task are signed once, for all runs of its entry and for no other task."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exceptions import SecurityError
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.payload.serializers import unregister
from pyramid_temporal_compat.security.signed_places import check_body
from tests.schedules.parts import on_server, rewrite, synchronise, trigger
from tests.security.test_signing import write_pair
from tests.worker.shop import WorkerThread

BODY = {"task": "add", "id": "shop:nightly", "chord": None}


def message(task_id: str) -> Message:
    return Message("add", task_id, (), "q", scheduled="nightly")


def test_a_firing_is_run_with_the_arguments_that_its_entry_was_signed_with() -> None:
    check_body(message("shop:nightly-2026-11-28T03:00:00Z"), BODY)


@pytest.mark.parametrize("other", ["shop:nightly-x", "shop:nightly2-2026-11-28T03:00:00Z", "2026-11-28T03:00:00Z"])
def test_another_task_is_not_run_with_them(other: str) -> None:
    with pytest.raises(SecurityError, match="were signed for"):
        check_body(message(other), BODY)


def test_a_signed_entry_runs_and_the_arguments_of_another_entry_do_not(temporal_address: str, tmp_path: Path) -> None:
    key, certificate = write_pair(tmp_path, "worker")
    app = Celery(f"signed-{uuid.uuid4().hex[:8]}", **{"ptemporal.address": temporal_address})
    app.conf.update(
        security_key=key,
        security_certificate=certificate,
        security_cert_store=str(tmp_path / "*.pem"),
        task_serializer="auth",
        accept_content=["auth"],
        result_serializer="auth",
        task_default_queue=str(app.main),
    )
    app.setup_security()

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    app.conf.beat_schedule = {
        "small": {"task": "add", "schedule": 86400, "args": (1, 2)},
        "large": {"task": "add", "schedule": 86400, "args": (10, 20)},
    }
    try:
        synchronise(app)
        assert not synchronise(app).differences
        with WorkerThread(app, str(app.main)):
            assert app.AsyncResult(trigger(app, "small")).get(timeout=60) == 3
            other = on_server(app, "large").raw_description.schedule.action.start_workflow.input
            rewrite(app, "small", lambda held: held.schedule.action.start_workflow.input.CopyFrom(other))
            with pytest.raises(SecurityError):
                app.AsyncResult(trigger(app, "small")).get(timeout=60)
    finally:
        app.conf["beat_schedule"].clear()
        synchronise(app)
        app.close()
        unregister("auth")
