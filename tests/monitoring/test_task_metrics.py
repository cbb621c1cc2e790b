"""The counters of a worker's tasks, held against the queries of celery-exporter's public dashboards."""

from __future__ import annotations

from typing import Any

import prometheus_client
import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.monitoring import task_metrics
from pyramid_temporal_compat.monitoring.task_metrics import TaskMetrics
from pyramid_temporal_compat.task.call_options import make_message

LABELS = {"name": "shop.pay", "hostname": "w1@here", "queue_name": "money"}


@pytest.fixture
def registry() -> Any:
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def metrics(registry: Any) -> TaskMetrics:
    return TaskMetrics(registry, "w1@here", {"shop.pay"}.__contains__)


def message(name: str = "shop.pay") -> Message:
    return make_message(Celery("shop", set_as_current=False), name, (), {}, {"queue": "money"}, None)


def test_names_and_labels_are_those_of_celery_exporter(registry: Any, metrics: TaskMetrics) -> None:
    paid = message()
    metrics.received(paid, 0.2)
    metrics.started(paid)
    metrics.succeeded(paid, 1.5)
    metrics.failed(paid, "shop.errors.NoMoney")
    metrics.retried(paid)
    metrics.rejected(paid)
    metrics.revoked(paid)
    for name in ("received", "started", "succeeded", "retried", "rejected", "revoked"):
        assert registry.get_sample_value(f"celery_task_{name}_total", LABELS) == 1, name
    assert registry.get_sample_value("celery_task_failed_total", {**LABELS, "exception": "NoMoney"}) == 1
    assert registry.get_sample_value("celery_task_runtime_sum", LABELS) == 1.5
    assert registry.get_sample_value("celery_task_runtime_bucket", {**LABELS, "le": "2.5"}) == 1
    assert registry.get_sample_value("celery_task_queue_wait_time_sum", LABELS) == 0.2


def test_counters_are_there_from_the_first_attempt_on(registry: Any, metrics: TaskMetrics) -> None:
    metrics.received(message(), 0.2)
    for name in ("started", "succeeded", "retried", "rejected", "revoked"):
        assert registry.get_sample_value(f"celery_task_{name}_total", LABELS) == 0, name
    assert registry.get_sample_value("celery_task_failed_total", {**LABELS, "exception": ""}) == 0


def test_receipts_are_counted(registry: Any, metrics: TaskMetrics) -> None:
    metrics.left_receipt(message())
    metrics.found_receipt(message())
    for name in ("left", "found"):
        assert registry.get_sample_value(f"ptemporal_receipts_{name}_total", LABELS) == 1


def test_names_from_outside_do_not_grow_without_bound(
    registry: Any, metrics: TaskMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_metrics, "MOST_EXCEPTIONS", 2)
    for number in range(5):
        metrics.revoked(message(f"made.up.{number}"))
        metrics.failed(message(), f"Error{number}")
    assert registry.get_sample_value("celery_task_revoked_total", {**LABELS, "name": "unknown"}) == 5
    assert registry.get_sample_value("celery_task_failed_total", {**LABELS, "exception": "other"}) == 3
