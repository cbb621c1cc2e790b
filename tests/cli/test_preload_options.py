"""Options that an application adds to the command line, and Paste's variables."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pyramid_temporal_compat.cli.common import variables
from pyramid_temporal_compat.cli.user_options import Option
from tests.cli.parts import WorkerProcess, run_worker, write_ini
from tests.cli.project_parts import Project
from tests.worker.shop import Shop

OWN_INI = """
[app:main]
use = call:tests.cli.own_ini:main
pyramid.includes = pyramid_temporal_compat
ptemporal.address = {address}
shop.stage = %(stage)s
"""


@pytest.mark.parametrize("celery", ["3", "4", "5"])
def test_an_application_may_have_an_option_ini_of_its_own(project: Project, tmp_path: Path, celery: str) -> None:
    ini = tmp_path / "dev.ini"
    ini.write_text(OWN_INI.format(address=project.environ["PROJECT_ADDRESS"]))
    arguments = ("-A", "tests.cli.own_ini", "worker", "--ini", ini, "--ini-var", "stage=test", "--loud", "-P", "solo")
    environ = {**project.environ, "OPTIONS_OF": celery}
    with WorkerProcess(None, *arguments, log=tmp_path / "log", environ=environ) as worker:
        worker.is_ready()
        assert "loaded with test True" in worker.said
        assert project.environ["PROJECT_ADDRESS"] in worker.said
        assert "tests.cli.own_ini.add" in worker.said


def test_pastes_variables_are_replaced_in_the_ini(shop: Shop, ini: Path, tmp_path: Path) -> None:
    written = ini.read_text().replace(shop.queue, "%(queue)s")
    ini.write_text(f"{written}\n[celeryroutes]\nother.* = %(queue)s\n")
    with WorkerProcess(ini, "--ini-var", f"queue={shop.queue}", log=tmp_path / "log") as worker:
        worker.is_ready()
        assert shop.queue in worker.said


def test_a_variable_without_a_value_is_an_error_of_one_line(tmp_path: Path) -> None:
    ended = run_worker(write_ini(tmp_path / "a.ini", {}), "--ini-var", "queue")
    assert ended.returncode == 2
    assert "'queue' is not NAME=VALUE, such as port=8080" in ended.stderr


def test_variables_are_separated_by_commas() -> None:
    assert variables("a=1, b=x=y") == {"a": "1", "b": "x=y"}


def test_options_of_older_celerys_become_clicks() -> None:
    @click.command(params=[Option("--no-tm", action="store_false", dest="tm"), Option("--tag", action="append")])
    def command(**options: object) -> None:
        click.echo(sorted(options.items()))

    ran = CliRunner().invoke(command, ["--tag", "a", "--no-tm"])
    assert ran.output == "[('tag', ('a',)), ('tm', False)]\n"
