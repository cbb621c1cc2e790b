"""The options that an application adds to the commands."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from pyramid_temporal_compat import Celery, signals
from pyramid_temporal_compat.celery_names.user_options import Option, own_options
from pyramid_temporal_compat.cli import group
from pyramid_temporal_compat.cli.common import Common
from pyramid_temporal_compat.current import set_current_app
from tests.cli.parts import WorkerProcess
from tests.parts import wait_until


def with_argparse(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-Z", "--template", default="plain", help="The template.")
    parser.add_argument("--loud", action="store_true", default=False)
    parser.add_argument("--size", type=int)


def with_options(app: Celery) -> None:
    for option in (
        click.Option(("-Z", "--template"), default="plain"),
        click.Option(("--loud",), is_flag=True),
        click.Option(("--size",), type=int),
    ):
        app.user_options["preload"].add(option)


def with_old_options(app: Celery) -> None:
    app.user_options["preload"].add(Option("-Z", "--template", default="plain", help="The template."))
    app.user_options["preload"].add(Option("--loud", action="store_true", default=False))
    app.user_options["preload"].add(Option("--size", type="int"))


@pytest.fixture
def app() -> Celery:
    return Celery("optional", set_as_current=False)


@pytest.fixture
def sent() -> Iterator[list[dict[str, Any]]]:
    """Return the options of each `user_preload_options` signal."""
    found: list[dict[str, Any]] = []

    def receive(options: dict[str, Any], **kwargs: Any) -> None:
        found.append(options)

    signals.user_preload_options.connect(receive)
    yield found
    signals.user_preload_options.disconnect(receive)


@pytest.mark.parametrize(
    "add",
    [with_options, with_old_options, lambda app: app.user_options["preload"].add(with_argparse)],
    ids=["click", "celery.bin", "argparse"],
)
def test_options_of_every_age_are_read_and_sent(
    app: Celery, sent: list[dict[str, Any]], add: Callable[[Celery], Any]
) -> None:
    add(app)
    words = ["--template", "x", "--loud", "--size", "3"]
    group.main(["report", *words], obj=Common(app), standalone_mode=False)  # type: ignore[call-overload]
    group.main(["list", "tasks"], obj=Common(app), standalone_mode=False)  # type: ignore[call-overload]
    assert sent == [
        {"template": "x", "loud": True, "size": 3},
        {"template": "plain", "loud": False, "size": None},
    ]


def test_celerys_module_has_its_old_option_class(app: Celery) -> None:
    found = own_options(app, "preload")
    assert found == []
    option = Option("--data_dir", dest="directory", default="")
    assert (option.name, option.opts, option.default) == ("directory", ["--data_dir"], "")
    assert Option(["--ini"], default="a.ini").name == "ini"  # with click's arguments


def test_no_signal_is_sent_for_an_app_without_options(app: Celery, sent: list[dict[str, Any]]) -> None:
    group.main(["report"], obj=Common(app), standalone_mode=False)  # type: ignore[call-overload]
    assert sent == []


@pytest.mark.parametrize(
    "words",
    [("-A", "tests.cli.glue", "worker"), ("worker", "-A", "tests.cli.glue"), ("worker", "--app=tests.cli.glue")],
    ids=" ".join,
)
@pytest.mark.integration
def test_an_ini_option_of_the_application_is_the_applications(
    temporal_address: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    ini = tmp_path / "glue.ini"
    ini.write_text("[app:main]\nuse = call:tests.cli.glue:main\nqueue = glue-%(who)s\ngreeting = hello %(who)s\n")
    who = f"{tmp_path.name}-{len(words)}"
    options = (*words, "--ini", ini, "--ini-var", f"who={who}", "-c", 1, "-P", "solo")
    with WorkerProcess(None, *options, log=tmp_path / "log", environ={"PROJECT_ADDRESS": temporal_address}) as worker:
        worker.says(f"glue-{who}")
        with Celery("caller", set_as_current=False, ptemporal_address=temporal_address) as caller:
            result = caller.send_task("tests.cli.glue.greeting", queue=f"glue-{who}")
            assert result.get(timeout=30) == f"hello {who}"
        worker.signal(signal.SIGTERM)
        wait_until(lambda: worker.process.poll() is not None)
        assert worker.ends() == 0, worker.said


def test_a_variable_of_the_ini_can_be_given(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    set_current_app(None)  # else the ini adopts the app that another test has made
    ini = tmp_path / "shop.ini"
    ini.write_text(
        "[app:main]\nuse = call:tests.worker.shop:main\npyramid.includes = pyramid_tm pyramid_temporal_compat\n"
        "tm.manager_hook = pyramid_tm.explicit_manager\nsqlalchemy.url = sqlite://\n"
        "celery.task_default_queue = of-%(who)s-%(where)s\n"
    )
    line = ["--ini", str(ini), "--ini-var", "who=me,where=here"]
    group.main([*line, "report"], standalone_mode=False)  # type: ignore[call-overload]
    assert "of-me-here" in capfd.readouterr().out
    with pytest.raises(SystemExit):
        group.main([*line[:2], "--ini-var", "who=me", "report"], standalone_mode=False)  # type: ignore[call-overload]
    assert f"{ini} uses %(where)s, which has no value; give it: --ini-var where=VALUE" in capfd.readouterr().err
