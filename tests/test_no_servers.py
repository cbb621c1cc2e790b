"""The guard over unit tests: none starts a server, neither in pytest's process nor in a child."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import LONGEST_FILES
from .no_servers import sitecustomize as no_servers


def test_a_server_that_a_unit_test_starts_is_refused_and_noticed() -> None:
    with pytest.raises(no_servers.ServerInUnitTest, match="a unit test starts 'postgres'"):
        subprocess.run(["/usr/lib/postgresql/18/bin/postgres", "-D", "data"], check=False)
    assert no_servers.refused == ["postgres"]
    no_servers.refused.clear()  # else this test fails when it ends


def test_a_server_behind_another_program_is_refused() -> None:
    with pytest.raises(no_servers.ServerInUnitTest, match="a unit test starts 'temporal'"):
        subprocess.run([sys.executable, "-m", "guard", Path("bin/temporal"), "server"], check=False)
    no_servers.refused.clear()


def test_a_server_that_a_child_of_a_unit_test_starts_is_refused() -> None:
    code = "import subprocess; subprocess.run(['temporal', 'server', 'start-dev'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "ServerInUnitTest: a unit test starts 'temporal'" in done.stderr


@pytest.mark.integration
def test_an_integration_test_may_start_a_server(tmp_path: Path) -> None:
    server = tmp_path / "temporal"
    server.write_text("#!/bin/sh\necho started\n")
    server.chmod(0o755)
    assert subprocess.run([server], capture_output=True, text=True).stdout == "started\n"
    code = f"import subprocess; subprocess.run([{str(server)!r}], check=True)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "started\n"


def test_the_files_that_begin_first_are_there() -> None:
    assert [name for name in LONGEST_FILES if not (Path(__file__).parent / name).exists()] == []
