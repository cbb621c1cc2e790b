"""Runs the shop under each agent, once with each way of moving over."""

from __future__ import annotations

import importlib.metadata
import json
import re
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.agents.collector import Collector, running_collector
from tests.cli.parts import ROOT, WorkerProcess, environment

PAGE = ROOT / "migration_guide" / "tracing.md"
INI = """\
[app:main]
use = call:tests.agents.shop:main
pyramid.includes = pyramid_tm pyramid_temporal_compat
tm.manager_hook = pyramid_tm.explicit_manager
ptemporal.address = {address}
celery.task_default_queue = {queue}
"""


@dataclass(frozen=True)
class Shopping:
    """What came of one call of the view, after the worker has ended."""

    collector: Collector
    home: Path
    ids: dict[str, str]
    """The ids of the tasks, by their names."""


DISTRIBUTIONS = (
    "sentry-sdk",
    "opentelemetry-instrumentation-celery",
    "ddtrace",
    "newrelic",
    "elastic-apm",
    "scout-apm",
)


def needs_agents() -> None:
    """Skip the module unless all agents are installed. Their modules can't be asked, because they look for Celery."""
    for agent in DISTRIBUTIONS:
        try:
            importlib.metadata.distribution(agent)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{agent} is not installed; `make agents` has an environment for it", allow_module_level=True)


def block_of(agent: str, language: str = "python") -> str:
    """Return the code or the settings that the guide shows for an agent."""
    _, _, section = PAGE.read_text().partition(f"\n## {agent}\n")
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, f"the page has no {language} for {agent}"
    return found[1]


def environ_of(agent: str, collector: Collector, home: Path) -> dict[str, str]:
    """Return the variables that send an agent to the collector, in long intervals: only a flush sends in time."""
    return {
        "Sentry": {"SENTRY_DSN": f"http://key@{collector.http}/1"},
        "OpenTelemetry": {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.http}",
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
        },
        "Datadog": {
            "DD_TRACE_AGENT_URL": f"http://{collector.http}",
            "DD_CELERY_DISTRIBUTED_TRACING": "true",
            "DD_TRACE_WRITER_INTERVAL_SECONDS": "60",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "DD_TRACE_API_VERSION": "v0.4",
        },
        "New Relic": {
            "NEW_RELIC_APP_NAME": "shop",
            "NEW_RELIC_LICENSE_KEY": "0" * 40,
            "NEW_RELIC_DEVELOPER_MODE": "true",
            "NEW_RELIC_AUDIT_LOG": str(home / "audit.log"),
            "NEW_RELIC_CONFIG_FILE": str(home / "newrelic.ini"),
            "NEW_RELIC_STARTUP_TIMEOUT": "10",
        },
        "Elastic": {
            "ELASTIC_APM_SERVER_URL": f"http://{collector.http}",
            "ELASTIC_APM_SERVICE_NAME": "shop",
            "ELASTIC_APM_API_REQUEST_TIME": "60s",
            "ELASTIC_APM_CLOUD_PROVIDER": "none",
            "ELASTIC_APM_CENTRAL_CONFIG": "false",
        },
        "Scout": {
            "SCOUT_MONITOR": "true",
            "SCOUT_KEY": "key",
            "SCOUT_NAME": "shop",
            "SCOUT_CORE_AGENT_DOWNLOAD": "false",
            "SCOUT_CORE_AGENT_LAUNCH": "false",
            "SCOUT_CORE_AGENT_SOCKET_PATH": f"tcp://{collector.core_agent}",
            "SCOUT_ERRORS_ENABLED": "true",
            "SCOUT_ERRORS_HOST": f"http://{collector.http}",
        },
    }[agent]


@pytest.fixture(scope="module", params=["celery", "pyramid_temporal_compat"])
def shopping(request: pytest.FixtureRequest, temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Call the view and run its tasks in a worker with one child, then end the worker."""
    agent = request.module.AGENT
    home = tmp_path_factory.mktemp("shop")
    (home / "tracing.py").write_text(block_of(agent))
    (home / "newrelic.ini").write_text(block_of("New Relic", "ini"))
    ini = home / "shop.ini"
    ini.write_text(INI.format(address=temporal_address, queue=f"agents-{uuid.uuid4().hex[:8]}"))
    with running_collector() as collector:
        environ = environment() | environ_of(agent, collector, home)
        environ |= {"SHOP_AGENT": agent, "SHOP_IMPORTS": request.param}
        environ["PYTHONPATH"] += f":{home}"
        with WorkerProcess(ini, "-c", "1", log=home / "worker.log", environ=environ) as worker:
            called = subprocess.run(
                [sys.executable, "-m", "tests.agents.shop", ini],
                env=environ,
                capture_output=True,
                text=True,
                timeout=90,
            )
            assert called.returncode == 0, called.stderr + worker.said
            assert "Failed to detach context" not in called.stderr + worker.said
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0, worker.said
        ended = json.loads(called.stdout.splitlines()[-1])
        assert {name: state for name, (_, state) in ended.items()} == {
            "pack": "SUCCESS",
            "drop": "FAILURE",
            "weigh": "SUCCESS",
        }
        yield Shopping(collector, home, {name: task_id for name, (task_id, _) in ended.items()})
