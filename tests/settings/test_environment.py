"""Settings that environment variables give."""

from __future__ import annotations

import pytest

from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.settings import Settings, connection


def test_environment_wins_over_files_and_code_wins_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_TASK_QUEUE", "from-environment")
    monkeypatch.setenv("TEMPORAL_MAX_CONCURRENT_ACTIVITIES", "7")
    conf = Settings()
    conf.add_ini({"task_default_queue": "from-ini"})
    assert conf["task_default_queue"] == "from-environment"
    assert conf.origin("task_default_queue") == "environment"
    assert conf.value_set_for("task_default_queue")
    assert conf["ptemporal.max_concurrent_activities"] == 7
    conf.task_default_queue = "from-code"
    assert conf["task_default_queue"] == "from-code"


def test_value_that_can_not_be_read_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_MAX_CONCURRENT_WORKFLOWS", "many")
    with pytest.raises(ImproperlyConfigured, match="TEMPORAL_MAX_CONCURRENT_WORKFLOWS = 'many' can't be read"):
        Settings()["task_default_queue"]


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({"TEMPORAL_HOST": "temporal.internal"}, "temporal.internal:7233"),
        ({"TEMPORAL_HOST": "temporal.internal:7300"}, "temporal.internal:7300"),
        ({"TEMPORAL_HOST": "a:1", "TEMPORAL_ADDRESS": "b:2"}, "b:2"),
    ],
)
def test_temporal_host_names_the_server(environ: dict[str, str], address: str) -> None:
    assert connection(Settings(), environ).address == address


@pytest.mark.parametrize(
    ("name", "value"), [("pollers", "1"), ("pollers", "some"), ("slots_cpu", "0"), ("slots_memory", "1.5")]
)
def test_numbers_that_no_worker_can_use_are_refused(name: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"ptemporal.{name} = '{value}' can't be read"):
        Settings({f"ptemporal.{name}": value})["ptemporal.address"]
