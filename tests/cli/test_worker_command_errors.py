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
    Case("not an ini", ["can't be read", "stands before the first [section]"], change=("[app:main]", "app:main]")),
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
    Case("a port", ["localhost:99999", "99999 is no port"], settings={"ptemporal.address": "localhost:99999"}),
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
    Case(
        "a misspelled word", ["worker_concurency=3", "nearest is worker_concurrency"], options=["worker_concurency=3"]
    ),
    Case("an included module", ["-I", "no_such_tasks", "no such module"], options=["-I", "no_such_tasks"]),
    Case("a log file", ["the log file /nodir/x can't be written", "No such file"], options=["-f", "/nodir/x"]),
    Case("a syntax error", ["broken_syntax.py:2", "SyntaxError"], settings={"ptemporal.include": "broken_syntax"}),
]


@pytest.fixture(scope="module")
def outcomes(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str, Case]]:
    """Run every case, four at a time, because each process takes a second to import its modules."""
    directory = tmp_path_factory.mktemp("errors")
    (directory / "broken_syntax.py").write_text("\ndef bake(:\n")
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
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
        assert said in done.stdout, done.stderr
        assert ("-b redis:// is not used" in done.stderr) == (option == "redis://")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-b", "foo"], "-b 'foo' names no Temporal server: it takes host:port"),
        (["-b", "foo://x"], "-b 'foo://x' is the URL of no Temporal server"),
        (["-b", "localhost:99999"], "99999 is no port; ports are 1 to 65535"),
        (
            ["-A", "bakery"],
            "bakery is a Pyramid application (bakery.main), so name its ini file in place of -A: "
            "ptemporal-compat worker bakery.ini",
        ),
        (["-A", "bakery.ovens"], "so name its ini file in place of -A"),
        (["-A", "bakery.ini"], "an ini file is named without -A: ptemporal-compat worker bakery.ini"),
        (["-A", "bakery.broken"], "broken.py:1; -l debug prints the traceback)"),
        (["--ini-var", "who"], "--ini-var who: it takes KEY=VALUE"),
    ],
    ids=" ".join,
)
def test_a_global_option_that_cant_work_is_an_error_of_one_line(tmp_path: Path, options: list[str], says: str) -> None:
    package = tmp_path / "bakery"
    package.mkdir()
    (package / "__init__.py").write_text("def main(global_config, **settings):\n    raise RuntimeError\n")
    (package / "ovens.py").touch()
    (package / "broken.py").write_text("def bake(:\n")
    (tmp_path / "bakery.ini").write_text("[app:main]\nuse = egg:bakery\n")
    (tmp_path / "other.ini").write_text("[app:main]\nuse = egg:other\n")
    done = subprocess.run(
        [*SCRIPT, *options, "worker"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    told = [line for line in done.stderr.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert (done.returncode, len(told)) == (USER, 1), done.stderr
    assert says in told[0]


def test_a_worker_of_a_pyramid_application_without_its_ini_is_told_of_the_ini(tmp_path: Path) -> None:
    package = tmp_path / "bakery"
    package.mkdir()
    (package / "__init__.py").write_text("def main(global_config, **settings):\n    raise RuntimeError\n")
    (package / "celery.py").write_text("from celery import Celery\n\napp = Celery('bakery')\n")
    (tmp_path / "bakery.ini").write_text("[app:main]\nuse = egg:bakery\n")

    def told(*words: str) -> str:
        done = subprocess.run(
            [*SCRIPT, *words], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == USER  # there is no such user
        return done.stderr

    worker = ("-A", "bakery", "worker", "--uid", "no-such-user")
    assert "bakery is a Pyramid application (bakery.main)" in told(*worker)
    assert "add --ini bakery.ini\n" in told(*worker)
    assert "--ini" not in told(*worker, "-q")
    (tmp_path / "bakery.ini").unlink()
    assert "--ini" not in told(*worker)


@pytest.mark.parametrize("command", [["list", "tasks"], ["report"]], ids=" ".join)
def test_other_commands_take_the_global_options_and_fail_in_one_line(tmp_path: Path, command: list[str]) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SCRIPT, *words], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
        )

    ini = write_ini(tmp_path / "shop.ini", {"sqlalchemy.url": "sqlite://", "ptemporal.include": "tests.worker.shop"})
    for words in (["--ini", str(ini), *command], [*command, str(ini)], ["-A", "tests.cli.project", *command]):
        done = run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        if command == ["list", "tasks"]:
            assert ".add\n" in done.stdout
    ini.write_text(ini.read_text().replace("tests.worker.shop:main", "tests.cli.broken:main"))
    done = run(*command, str(ini))
    assert done.returncode == USER
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "RuntimeError: no oven, no cakes" in done.stderr


def test_help_imports_no_command_and_not_the_client_library() -> None:
    watch = (
        "import sys; from pyramid_temporal_compat.cli import group; group(['--help'], standalone_mode=False); "
        "heavy = [name for name in sys.modules if name.partition('.')[0] in ('temporalio', 'pyramid', 'sqlalchemy')"
        " or name.startswith('pyramid_temporal_compat.cli.')]; print('imported:', *heavy)"
    )
    done = subprocess.run([SCRIPT[0], "-c", watch], env=environment(), capture_output=True, text=True, timeout=60)
    light = "imported: pyramid_temporal_compat.cli.common pyramid_temporal_compat.cli.plugins\n"
    assert light in done.stdout, done.stdout + done.stderr
    assert "Run the tasks of an application." in done.stdout


def test_a_broker_that_is_not_used_is_reported_by_the_name_that_the_user_wrote(tmp_path: Path) -> None:
    ini = write_ini(tmp_path / "app.ini", {"sqlalchemy.url": "sqlite://"})
    environ = environment()
    environ.pop("CELERY_BROKER_URL", None)
    done = subprocess.run(
        [*SCRIPT, "report", str(ini)],
        env={**environ, "BROKER_URL": "amqp://guest:secret@x"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.startswith("BROKER_URL = amqp://guest:********@x is not used"), done.stderr
