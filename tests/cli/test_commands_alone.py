"""What commands do without a server: lists, refusals, completion, the shell, commands of other packages."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from pyramid_temporal_compat import as_celery
from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.celery_names.kombu_queues import Exchange, Queue
from pyramid_temporal_compat.cli import group, plugins
from pyramid_temporal_compat.cli.common import Common
from pyramid_temporal_compat.current import set_current_app
from tests.cli.parts import write_ini
from tests.cli.project.celery import app as project

Run = Callable[..., Result]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    monkeypatch.setattr("pyramid_temporal_compat.app.shared._shared", {})  # the shared tasks of other tests
    app = Celery("counter", set_as_current=False, ptemporal_address="127.0.0.1:1")
    app.conf.task_queues = [Queue("fast", Exchange("main"), routing_key="quick"), Queue("slow")]

    @app.task(name="counter.add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return app


@pytest.fixture
def run(app: Celery) -> Run:
    def run(*words: str, code: int = 0, **options: Any) -> Result:
        done = CliRunner().invoke(group, words, obj=Common(app), **options)
        assert done.exit_code == code, (done.output, done.exception)
        return done

    return run


@pytest.fixture(autouse=True)
def no_real_celery() -> Iterator[None]:
    """Hide the real Celery, which other tests may have imported, from `install_as_celery()`."""
    roots = ("celery", "kombu", "billiard")
    real = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in roots}
    for name in real:
        del sys.modules[name]
    yield
    as_celery.uninstall()
    sys.modules.update(real)


def test_list_shows_tasks_queues_and_bindings(run: Run) -> None:
    assert run("list", "tasks").output == "counter.add\n"
    assert json.loads(run("list", "queues", "--json").output) == ["fast", "slow"]
    rows = [line.split() for line in run("list", "bindings").output.splitlines()]
    assert rows[2:] == [["fast", "main", "quick"], ["slow", "slow", "slow"]]


def test_report_as_json_masks_what_the_text_masks(run: Run, app: Celery) -> None:
    app.conf["ptemporal.api_key"] = "secret-key"
    told = run("report", "--json").output
    assert "secret-key" not in told
    assert json.loads(told)["server"]["address"] == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("words", "use"),
    [
        (["amqp", "queue.purge", "celery"], "ptemporal-compat purge"),
        (["multi", "start", "3", "-c", "3", "--pidfile=/run/%n.pid"], "ptemporal-compat worker -n NAME"),
        (["logtool", "stats", "celery.log"], "tasks list --failed"),
        (["upgrade", "settings", "conf.py", "--django"], "migrate rewrite"),
        (["events"], "events --dump"),
        (["events", "--camera", "shop.Camera"], "AsyncResult"),
        (["graph", "workers"], "ptemporal-compat status"),
        (["migrate", "redis://a", "redis://b", "-n", "3"], "migrate bridge --from URL"),
        (["control", "enable_events"], "The server"),
        (["inspect", "objgraph"], "memray"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_refused_command_says_in_one_line_what_to_use(run: Run, words: list[str], use: str) -> None:
    told = run(*words, code=2).output
    assert told.startswith("Error: ")
    assert told.count("\n") == 1
    assert use.lower() in told.lower()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["inspect"], "Missing argument 'COMMAND'; inspect --list shows the commands"),
        (["inspect", "shutdown"], "Command shutdown not recognized. Available inspect commands: active, "),
        (["control", "rate_limit", "counter.add"], "takes arguments: <task_name> <rate_limit"),
        (["control", "pool_grow", "two"], "'two' is no value of 'n'"),
        (["control", "shutdown", "now"], "takes arguments: none, not now"),
        (["call", "counter.add", "-a", '{"x": 1}'], "is not a JSON array such as [1, 2]"),
        (["call", "counter.add", "--eta", "soon"], "'soon' is no moment such as 2026-01-31T08:00:00+00:00"),
        (["call", "counter.add", "--exchange", "other"], "no queue of task_queues is bound to exchange 'other'"),
        (["result", "some-id", "-t", "counter.ad"], "the application has no such task"),
        (["shell", "--gevent"], "a shell with gevent would run tasks as no worker does"),
    ],
)
def test_a_mistyped_command_is_told_what_it_takes(run: Run, words: list[str], told: str) -> None:
    assert told in run(*words, code=2).output


def test_the_lists_of_commands_need_no_application() -> None:
    for kind, name in (("inspect", "query_task [id1 [id2 [... [idN]]]]"), ("control", "pool_shrink [N=1]")):
        done = CliRunner().invoke(group, [kind, "--list"])
        assert done.output.startswith(f"{kind.capitalize()} Commands:")
        assert name in done.output


@pytest.fixture
def ini_of_a_shop(tmp_path: Path) -> Path:
    """Return the ini file of a Pyramid application that needs no server."""
    set_current_app(None)  # else the ini adopts the app that another test has made
    return write_ini(tmp_path / "shop.ini", {"sqlalchemy.url": "sqlite://", "celery.task_default_queue": "of-shop"})


def test_an_application_is_named_before_or_behind_a_command(ini_of_a_shop: Path) -> None:
    named = str(ini_of_a_shop)
    for words in (
        ["--ini", named, "list", "queues"],
        ["list", "queues", "--ini", named],
        ["list", "queues", named],
        ["list", "queues", "-A", "tests.cli.project"],
        ["-A", "tests.cli.project", "list", "queues"],
    ):
        done = CliRunner().invoke(group, words)
        expected = project.conf.task_default_queue if "-A" in words else "of-shop"
        assert done.output == f"{expected}\n", words


@pytest.mark.parametrize(
    ("words", "begun", "found"),
    [
        ([], "insp", ["inspect"]),
        (["inspect"], "acti", ["active", "active_queues"]),
        (["control", "rate_limit"], "", ["counter.add"]),
        (["control", "add_consumer"], "f", ["fast"]),
        (["call"], "counter", ["counter.add"]),
        (["purge", "-Q"], "fast,s", ["fast,slow"]),
        (["status", "-d"], "w", []),  # the server is away
        (["control", "no_such"], "", []),
    ],
)
def test_the_shell_completes_words(app: Celery, words: list[str], begun: str, found: list[str]) -> None:
    complete = ShellComplete(group, {"obj": Common(app)}, "ptemporal-compat", "_COMPLETE")
    assert [item.value for item in complete.get_completions(words, begun)] == found


def test_the_shell_has_the_tasks_and_the_canvas(run: Run) -> None:
    told = run("shell", "--python", input="print(app.main, add.name, chain(add.s(1), add.s(2)))\n").output
    assert "counter counter.add counter.add(1) | add(2)" in told
    assert "request" not in told
    told = run("shell", "--python", "-T", input="add\n").output
    assert "NameError: name 'add' is not defined" in told


def test_the_shell_of_a_pyramid_application_has_a_request_in_a_transaction(ini_of_a_shop: Path) -> None:
    lines = (
        "print('begun', tm is request.tm, tm.get().status)",
        "tm.abort(); tm.begin(); print(request.registry is registry)",
    )
    told = CliRunner().invoke(group, ["shell", str(ini_of_a_shop), "--python"], input="\n".join((*lines, ""))).output
    assert "begun True Active" in told
    assert "\nTrue\n" in told
    assert "count with tm.commit()" in told


def test_commands_of_other_packages_load_and_a_broken_one_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    @click.argument("n", type=int)
    @click.pass_context
    def hello(ctx: click.Context, n: int) -> None:
        """Say hello."""
        ctx.obj.echo(f"{ctx.obj.OK} {ctx.obj.app.main} {n}")

    module = ModuleType("tests_hello_plugin")
    module.__dict__.update(hello=hello, none=SimpleNamespace())
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entries = [
        EntryPoint("hello", "tests_hello_plugin:hello", plugins.GROUP),
        EntryPoint("broken", "tests_no_such_module:command", plugins.GROUP),
        EntryPoint("none", "tests_hello_plugin:none", plugins.GROUP),
        EntryPoint("worker", "tests_hello_plugin:hello", plugins.GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    plugins.plugin_commands.cache_clear()
    try:
        assert run("hello", "5").output == "OK counter 5\n"
        told = run("--help").output
        assert "Commands of other packages:\n  hello  Say hello." in told
        warnings = [line for line in told.splitlines() if line.startswith("warning:")]
        assert len(warnings) == 2
        assert "'broken' of tests_no_such_module:command can't be loaded: ModuleNotFoundError" in warnings[0]
        assert run("list", "tasks").output == "counter.add\n"
        assert "No such command 'broken'" in run("broken", code=2).output
    finally:
        plugins.plugin_commands.cache_clear()
