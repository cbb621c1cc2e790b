"""The shipped dashboard and alert rules ask for metrics that exist, with labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exporter import Exporter
from pyramid_temporal_compat.monitoring.task_metrics import TaskMetrics

FOLDER = Path(__file__).parent.parent.parent / "migration_guide" / "monitoring"
NAME = re.compile(r"\b((?:celery|ptemporal)_\w+)")


def expressions() -> list[str]:
    panels = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    rules: Any = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [
        *(target["expr"] for panel in panels for target in panel["targets"]),
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
    ]


def served() -> set[str]:
    registry = prometheus_client.CollectorRegistry()
    TaskMetrics(registry, "w1@here", lambda name: True)
    exporter = Exporter(Celery("dashboard", set_as_current=False), ["celery"], 1.0)
    names = {"celery_worker_tasks_active"}
    for metric in (*registry.collect(), *exporter.registry.collect()):
        kind = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        names |= {metric.name + ending for ending in kind}
    return names


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_of_the_dashboard_is_served(expression: str) -> None:
    assert {name for name in NAME.findall(expression) if not name.endswith("_name")} <= served()
