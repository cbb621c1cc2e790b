"""`ptemporal-compat outbox` and `ptemporal-compat relay`, and the metrics of the outbox."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, inspect
from temporalio.runtime import BUFFERED_METRIC_KIND_GAUGE, MetricBuffer, Runtime, TelemetryConfig

from pyramid_temporal_compat.cli import group
from pyramid_temporal_compat.current import restore_current, save_current, set_current_app
from pyramid_temporal_compat.exporter import Exporter
from pyramid_temporal_compat.outbox.relay import Gauges
from pyramid_temporal_compat.outbox.store import Backlog
from pyramid_temporal_compat.outbox.tables import outbox
from tests.cli.parts import environment, write_ini
from tests.outbox.parts import OutboxSite, without_dispatch
from tests.outbox.test_relay import message, put
from tests.parts import ROOT, fresh_database, wait_until


@pytest.fixture
def ini(outbox_database: str, temporal_address: str, tmp_path: Path) -> Path:
    settings = {
        "sqlalchemy.url": outbox_database,
        "ptemporal.address": temporal_address,
        "ptemporal.outbox": "dbsession",
    }
    return write_ini(tmp_path / "app.ini", settings)


def run(*words: object, status: int = 0, answer: str = "", options: Sequence[object] = ()) -> str:
    before = save_current()
    set_current_app(None)
    try:
        result = CliRunner().invoke(group, list(map(str, [*options, "outbox", *words])), input=answer)
    finally:
        restore_current(before)
    assert result.exit_code == status, result.output
    return result.output


def test_init_makes_the_tables_once(postgres: str, temporal_address: str, tmp_path: Path) -> None:
    with fresh_database(postgres) as url:
        settings = {"sqlalchemy.url": url, "ptemporal.address": temporal_address, "ptemporal.outbox": "dbsession"}
        ini = write_ini(tmp_path / "new.ini", settings)
        missing = run("status", ini, status=2)
        assert "has no table ptemporal_outbox; create it with `ptemporal-compat outbox init app.ini`" in missing
        assert run("init", ini).endswith("created ptemporal_outbox, ptemporal_receipts, ptemporal_switch\n")
        assert run("init", ini).endswith("all tables exist\n")
        engine = create_engine(url)
        indexes = {index["name"] for index in inspect(engine).get_indexes("ptemporal_outbox")}
        engine.dispose()
        assert indexes == {f"ix_ptemporal_outbox_{name}" for name in ("due", "claimed", "parked")}


def test_status_shows_waiting_and_parked_rows(site: OutboxSite, ini: Path) -> None:
    assert "in the table 0 rows, 0 messages\n" in run("status", ini)
    with without_dispatch():
        site.visit(lambda request: [site.app.tasks["tests.enlist.application.analyse"].delay() for _ in range(3)])
    put(site, message(site, "a"))
    parked = put(site, message(site, "b"))
    taken = site.store.claim("one", 30)
    site.store.park("one", parked, "RPCError: Blob data size exceeds limit.")
    site.store.give_back("one", [row.id for row in taken], None)
    said = run("status", ini)
    assert "namespace    default\n" in said
    assert "in the table 2 rows, 4 messages, the oldest for " in said
    assert "waiting      1 rows for a relay" in said
    assert "\n  a: 1\n" in said
    assert f"parked       1 rows\n  {parked}: queue b, 1 messages, since " in said
    assert "Blob data size exceeds limit." in said
    found = json.loads(run("status", ini, "--json"))
    assert (found["namespace"], found["rows"], found["waiting"], found["parked"]) == ("default", 2, 1, 1)
    assert found["last_parked"][0]["id"] == parked


def test_status_escapes_line_breaks_in_a_rows_text(site: OutboxSite, ini: Path) -> None:
    with site.engine.begin() as connection:
        connection.execute(outbox.update().where(outbox.c.id == put(site, message(site))).values(queue="a\nb"))
    parked = put(site, message(site))
    site.store.claim("one", 30)
    site.store.park("one", parked, "told\x1b[2Jto")
    said = run("status", ini)
    assert "\n  a\\nb: 1\n" in said
    assert " UTC: told\\x1b[2Jto\n" in said


def test_retry_takes_ids_or_all(site: OutboxSite, ini: Path) -> None:
    first, second, third = (put(site, message(site)) for _ in range(3))
    site.store.claim("one", 30)
    for row_id in (first, second, third):
        site.store.park("one", row_id, "told to")
    run("retry", ini, status=2)
    run("retry", ini, first, "--all", status=2)
    assert run("retry", ini, first) == "1 rows will be tried again\n"
    assert [row.parked is None for row in site.rows()] == [True, False, False]
    assert run("retry", ini, "--all") == "2 rows will be tried again\n"
    assert site.rows()[2].attempts == 0
    assert run("retry", ini, "--all") == "no parked row matches\n"


def test_purge_asks_before_it_deletes(site: OutboxSite, ini: Path) -> None:
    waits, parked = put(site, message(site), message(site)), put(site, message(site))
    site.store.claim("one", 30)
    site.store.park("one", parked, "told to")
    run("purge", ini, status=2)
    assert "Delete 2 rows with 3 messages? Their tasks will never run" in run(
        "purge", ini, "--all", status=1, answer="n\n"
    )
    assert site.count() == 2
    assert run("purge", ini, "--parked", answer="y\n").endswith("1 rows deleted\n")
    assert [row.id for row in site.rows()] == [waits]
    assert run("purge", ini, waits, "--yes") == "1 rows deleted\n"
    assert run("purge", ini, "--all") == "no row matches\n"


def test_the_commands_take_the_ini_that_stands_before_them(site: OutboxSite, ini: Path) -> None:
    parked = put(site, message(site))
    site.store.claim("one", 30)
    site.store.park("one", parked, "told to")
    options = ("--ini", ini)
    assert "parked       1 rows" in run("status", options=options)
    assert run("retry", parked, options=options) == "1 rows will be tried again\n"
    assert run("purge", "--all", "--yes", options=options) == "1 rows deleted\n"
    assert "Missing argument 'CONFIG'" in run("status", status=2)


def test_the_command_says_that_an_application_has_no_outbox(ini: Path) -> None:
    ini.write_text(ini.read_text().replace("ptemporal.outbox = dbsession\n", ""))
    assert "this application has no outbox; ptemporal.outbox = dbsession names" in run("status", ini, status=2)


def test_relay_is_a_command_that_ends_when_told_to(site: OutboxSite, ini: Path, tmp_path: Path) -> None:
    unit = message(site)
    put(site, unit)
    command = [sys.executable, "-c", "from pyramid_temporal_compat.cli import main; main()", "relay", str(ini)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=log)
    try:
        site.is_empty()
        assert site.has_started(unit.id)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert "namespace default" in (tmp_path / "log").read_text()


def test_the_command_reports_an_unreachable_database_in_one_line(ini: Path) -> None:
    ini.write_text(
        re.sub(r"sqlalchemy.url = .*", "sqlalchemy.url = postgresql+psycopg://u:secret@127.0.0.1:1/d", ini.read_text())
    )
    for command in (["outbox", "status"], ["relay"]):
        ended = subprocess.run(
            [sys.executable, "-c", "from pyramid_temporal_compat.cli import main; main()", *command, str(ini)],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 1
        said = ended.stderr.splitlines()[-1]
        assert said.startswith("ptemporal-compat: the outbox at postgresql+psycopg://u:********@127.0.0.1:1/d: ")
        assert "Traceback" not in ended.stderr
        assert "secret" not in ended.stderr


def test_the_number_of_waiting_rows_is_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = MetricBuffer(100)
    monkeypatch.setattr(Runtime, "default", lambda: Runtime(telemetry=TelemetryConfig(metrics=buffer)))
    Gauges("default").set(Backlog(waiting=3, oldest=61.5, parked=1))
    found: dict[str, Any] = {}
    wait_until(lambda: found.update({u.metric.name: u for u in buffer.retrieve_updates()}) or len(found) == 3)
    assert {name: update.value for name, update in found.items()} == {
        "ptemporal_outbox_waiting": 3,
        "ptemporal_outbox_parked": 1,
        "ptemporal_outbox_oldest_seconds": 61.5,
    }
    waiting = found["ptemporal_outbox_waiting"]
    assert waiting.metric.kind == BUFFERED_METRIC_KIND_GAUGE
    assert waiting.attributes["namespace"] == "default"


def test_the_exporter_shows_the_rows_of_the_outbox(site: OutboxSite) -> None:
    put(site, message(site, "a"))
    parked = put(site, message(site, "b"))
    taken = site.store.claim("one", 30)
    site.store.park("one", parked, "RPCError: Blob data size exceeds limit.")
    site.store.give_back("one", [row.id for row in taken], None)
    exporter = Exporter(site.app, (), worker_timeout=0.1)
    exporter.refresh()

    def figure(name: str, **labels: str) -> float | None:
        return exporter.registry.get_sample_value(name, labels)

    assert figure("ptemporal_exporter_up", source="outbox") == 1.0
    assert figure("ptemporal_outbox_waiting", namespace="default") == 1.0
    assert figure("ptemporal_outbox_parked", namespace="default") == 1.0
    assert (figure("ptemporal_outbox_oldest_seconds", namespace="default") or 0.0) > 0.0
