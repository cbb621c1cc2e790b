"""The errors of `ptemporal-compat worker` when it can't start: one line, and an exit code for its kind."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.parts import SCRIPT, environment, run_worker, write_ini

USER, SURROUNDINGS = 2, 1


@dataclass(frozen=True)
class Case:
    """Settings and options that can't work, and the expected error."""

    name: str
    says: Sequence[str]
    code: int = USER
    settings: dict[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    config: str = "{ini}"
    change: tuple[str, str] = ("", "")
    """A part of the ini, and what stands in its place."""


CASES = [
    Case("no such file", ["there is no file", "nowhere.ini"], config="nowhere.ini"),
    Case("a directory", ["there is no file"], config="{directory}"),
    Case("no such section", ["nobody"], config="{ini}#nobody"),
    Case("not an ini", ["can't be loaded", "no section headers"], change=("[app:main]", "app:main]")),
    Case("no such application", ["no_such_module"], change=("call:tests.worker.shop:main", "call:no_such_module:main")),
    Case("no such main", ["no_main"], change=("call:tests.worker.shop:main", "call:tests.worker.shop:no_main")),
    Case(
        "main raises", ["RuntimeError: no oven, no cakes"], change=("tests.worker.shop:main", "tests.cli.broken:main")
    ),
    Case(
        "main has a typo",
        ["AttributeError", "ovens"],
        change=("tests.worker.shop:main", "tests.cli.broken:main_with_a_typo"),
    ),
    Case(
        "not included",
        ["does not include pyramid_temporal_compat", "pyramid.includes"],
        change=("pyramid_tm pyramid_temporal_compat", "pyramid_tm"),
    ),
    Case("not Pyramid", ["does not include"], change=("tests.worker.shop:main", "tests.cli.broken:plain")),
    Case("own setting", ["ptemporal.adress", "ptemporal.address"], settings={"ptemporal.adress": "x:1"}),
    Case("Celery's setting", ["task_default_queu", "task_default_queue"], settings={"celery.task_default_queu": "x"}),
    Case("a value", ["ptemporal.enlist", "sometimes"], settings={"ptemporal.enlist": "sometimes"}),
    Case("a module", ["ptemporal.include", "no_such_tasks"], settings={"ptemporal.include": "no_such_tasks"}),
    Case(
        "a module's import",
        ["tests.cli.imports_what_is_not_there", "not_there_at_all"],
        settings={"ptemporal.include": "tests.cli.imports_what_is_not_there"},
    ),
    Case("an address", ["no-port-here"], settings={"ptemporal.address": "no-port-here:x"}),
    Case(
        "no server",
        ["{closed}", "can't be reached: connection refused", "ptemporal-compat server"],
        SURROUNDINGS,
        {"ptemporal.address": "{closed}", "celery.broker_connection_retry_on_startup": "false"},
    ),
    Case(
        "silent server",
        ["{silent}", "can't be reached"],
        SURROUNDINGS,
        {"ptemporal.address": "{silent}", "ptemporal.connect_timeout": "1", "celery.broker_connection_retry": "false"},
    ),
    Case(
        "no namespace",
        ["no namespace 'moon'", "temporal operator namespace create"],
        SURROUNDINGS,
        {"ptemporal.namespace": "moon"},
    ),
    Case("a pool", ["gevent", "threads"], options=["-P", "gevent"]),
    Case("a level", ["LOUD", "info"], options=["-l", "LOUD"]),
    Case("no concurrency", ["concurrency"], options=["-c", "0"]),
    Case("a concurrency", ["concurrency", "many"], options=["-c", "many"]),
    Case("a queue's name", ["queue"], options=["-Q", "x" * 2000]),
    Case("queues without a name", ["-Q", "holds no name"], options=["-Q", ","]),
    Case("a time zone", ["celery.timezone", "Mars/Phobos"], settings={"celery.timezone": "Mars/Phobos"}),
    Case("an option", ["--no-such"], options=["--no-such"]),
]


@pytest.fixture(scope="module")
def outcomes(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str, Case]]:
    """Run every case, four at a time, because each process takes a second to import its modules."""
    directory = tmp_path_factory.mktemp("errors")
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        names = {
            "closed": f"127.0.0.1:{closed.getsockname()[1]}",
            "silent": f"127.0.0.1:{silent.getsockname()[1]}",
            "directory": str(directory),
        }

        def run(case: Case) -> tuple[int, str, str, Case]:
            settings = {"sqlalchemy.url": "sqlite://", "ptemporal.address": temporal_address}
            settings |= {key: value.format(**names) for key, value in case.settings.items()}
            ini = write_ini(directory / f"{case.name.replace(' ', '-')}.ini", settings)
            ini.write_text(ini.read_text().replace(*case.change) if case.change[0] else ini.read_text())
            done = run_worker(case.config.format(ini=ini, **names), *case.options, cwd=directory)
            return done.returncode, done.stdout, done.stderr, case

        with ThreadPoolExecutor(4) as pool:
            found = {case.name: outcome for case, outcome in zip(CASES, pool.map(run, CASES), strict=True)}
    found["names"] = (0, str(names), "", CASES[0])
    for key, value in names.items():
        found[f"{{{key}}}"] = (0, value, "", CASES[0])
    return found


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_what_cant_work_is_an_error_of_one_line(outcomes: dict[str, tuple[int, str, str, Case]], name: str) -> None:
    code, stdout, stderr, case = outcomes[name]
    assert "Traceback" not in stdout + stderr
    for text in case.says:
        wanted = outcomes[text][1] if text in outcomes else text
        assert wanted in stderr, stderr
    assert code == case.code, stderr
    told = [line for line in stderr.splitlines() if not line.startswith(("Usage:", "Try "))]
    assert len([line for line in told if line.strip()]) == 1, stderr
    assert stdout == ""


def test_the_broker_of_the_command_line_is_the_server(tmp_path: Path) -> None:
    ini = write_ini(tmp_path / "app.ini", {"sqlalchemy.url": "sqlite://", "ptemporal.address": "ini.example:1"})
    for option, said in (
        ("temporal://here.example:2", "server here.example:2,"),
        ("redis://", "server ini.example:1,"),
    ):
        command = [*SCRIPT, "-b", option, "report", str(ini)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=30)
        assert said in done.stdout, done.stderr
        assert ("CELERY_BROKER_URL = redis:// is not used" in done.stderr) == (option == "redis://")
