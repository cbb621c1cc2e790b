"""`ptemporal-compat migrate switch`: no server is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pyramid_temporal_compat.cli import group
from pyramid_temporal_compat.current import restore_current, save_current, set_current_app
from tests.cli.parts import write_ini

SETTINGS = {"sqlalchemy.url": "sqlite://", "ptemporal.celery_broker": "redis://user:secret@127.0.0.1:1/0"}


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    return write_ini(tmp_path / "app.ini", {**SETTINGS, "ptemporal.switch": str(tmp_path / "switch.json")})


def run(command: str, ini: Path, *words: str, status: int = 0) -> str:
    before = save_current()
    set_current_app(None)
    try:
        result = CliRunner().invoke(group, ["migrate", "switch", command, str(ini), *words])
    finally:
        restore_current(before)
    assert result.exit_code == status, result.output
    return result.output


def test_rules_are_set_shown_taken_back_and_removed(ini: Path, tmp_path: Path) -> None:
    assert "all other calls go to Temporal" in run("show", ini)
    run("set", ini, "*", "--to", "celery")
    told = run("set", ini, "reports.*", "--to", "temporal", "--percent", "10")
    assert told.splitlines()[:2] == [
        "reports.*: 10 % to Temporal, 90 % to Celery",
        "*: 0 % to Temporal, 100 % to Celery",
    ]
    assert json.loads(run("show", ini, "--json")) == {
        "where": str(tmp_path / "switch.json"),
        "rules": [{"pattern": "reports.*", "temporal": 10.0}, {"pattern": "*", "temporal": 0.0}],
    }
    assert "reports.*: 0 % to Temporal" in run("back", ini, "reports.*")
    assert "reports" not in run("unset", ini, "reports.*")
    assert "no rule has the pattern 'reports.*'; the rules' patterns: *" in run("unset", ini, "reports.*", status=2)
    run("set", ini, "queue:mail", "--to", "celery", "--percent", "30")
    assert run("back", ini).splitlines()[0] == "*: 0 % to Temporal, 100 % to Celery"
    assert "queue:mail" not in run("show", ini)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    without = write_ini(tmp_path / "without.ini", {"sqlalchemy.url": "sqlite://"})
    assert "ptemporal.switch is not set" in run("show", without, status=2)
    switch = {"sqlalchemy.url": "sqlite://", "ptemporal.switch": str(tmp_path / "switch.json")}
    no_broker = write_ini(tmp_path / "no_broker.ini", switch)
    assert "ptemporal.celery_broker is not set" in run("set", no_broker, "*", "--to", "celery", status=2)
    run("set", no_broker, "*", "--to", "temporal")
    in_memory = write_ini(
        tmp_path / "memory.ini", {**SETTINGS, "ptemporal.switch": "outbox", "ptemporal.outbox": "dbsession"}
    )
    assert "name a file instead" in run("show", in_memory, status=2)
