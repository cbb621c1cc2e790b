"""`ptemporal-compat dev`: server, site and worker together, and how they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pyramid_temporal_compat.cli import dev as dev_command
from pyramid_temporal_compat.monitoring.sdk_metrics import free_port
from tests.cli.parts import SCRIPT, environment
from tests.parts import pid_exists, wait_until

HERE = Path(__file__).parent
INI = """\
[app:main]
use = call:dev_site:main
pyramid.includes = pyramid_temporal_compat
ptemporal.address = 127.0.0.1:{server}
ptemporal.include = dev_site
[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{web}
"""


def get(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            return str(answer.read().decode())
    except OSError as error:
        return str(error)


@contextmanager
def dev(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    environ = environment()
    environ["PYTHONPATH"] = os.pathsep.join([str(folder), environ["PYTHONPATH"]])
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*SCRIPT, "dev", "app.ini", *options], cwd=folder, env=environ, stdout=log, stderr=subprocess.STDOUT
        )
    family = psutil.Process(process.pid)
    try:
        yield process
    finally:
        left = family.children(recursive=True) if process.poll() is None else []
        for each in [*left, process]:
            each.kill()
        process.wait()


def reloads_after_a_touch(site: Path, said: Path) -> bool:
    """Touch a file. Return whether both reloaders, of the site and of the worker, have seen it."""
    site.touch()
    return all(f"{part} | {site} changed" in said.read_text() for part in ("web   ", "worker"))


@pytest.mark.integration
def test_one_command_runs_all_three_and_one_ctrl_c_ends_them(tmp_path: Path) -> None:
    shutil.copy(HERE / "dev_site.py", tmp_path)
    (tmp_path / "version.txt").write_text("one")
    web = free_port()
    (tmp_path / "app.ini").write_text(INI.format(server=free_port(), web=web))
    with dev(tmp_path) as process:
        said = tmp_path / "log"
        wait_until(lambda: "ready." in said.read_text(), message=said.read_text())
        wait_until(lambda: get(web) == "one")
        site = tmp_path / "dev_site.py"
        site.write_text((HERE / "dev_site.py").read_text().replace(".strip()", ".upper()"))
        # The reloaders look once a second, and know a file from their first look on.
        wait_until(lambda: reloads_after_a_touch(site, said))
        wait_until(lambda: get(web) == "ONE")
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 5
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, said.read_text()
        wait_until(lambda: not any(pid_exists(child.pid) for child in children))
    assert "the pool forks while" not in said.read_text()


@pytest.mark.integration
def test_a_broken_application_waits_for_the_file_that_mends_it(tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_text(INI.format(server=free_port(), web=free_port()))  # there is no dev_site
    with dev(tmp_path, "--no-server", "--no-web") as process:
        said = tmp_path / "log"
        wait_until(lambda: "Waiting for a file to change" in said.read_text())
        assert "No module named 'dev_site'" in said.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_dev_says_what_it_needs(tmp_path: Path) -> None:
    def refused(*options: str) -> str:
        found = subprocess.run(
            [*SCRIPT, "dev", *options], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert found.returncode in (1, 2)
        return found.stderr

    assert "there is no file 'nope.ini'; name the application's ini file" in refused("nope.ini")
    (tmp_path / "bare.ini").write_text("[app:main]\nuse = call:dev_site:main\n")
    assert "bare.ini has no [server:main], so there is no site to start" in refused("bare.ini")
    (tmp_path / "bad.ini").write_text("[app:main]\nptemporal.adress = x:1\n[server:main]\n")
    assert "ptemporal.address" in refused("bad.ini")


def test_the_parts_end_with_a_dev_that_was_killed() -> None:
    part = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 60 & wait"], start_new_session=True)
    guard = subprocess.Popen([sys.executable, "-I", "-S", dev_command.GUARD], stdin=subprocess.PIPE)
    try:
        assert guard.stdin is not None
        guard.stdin.write(b"%d\n" % part.pid)
        guard.stdin.flush()
        assert part.poll() is None
        guard.stdin.close()  # what the end of `dev` does
        assert part.wait(60) == -signal.SIGKILL
        assert guard.wait(60) == 0
    finally:
        guard.kill()
