"""The client in processes that fork, and in processes that end."""

import os
import subprocess
import sys

import pytest

from tests.client import forking
from tests.client.client_parts import TIMEOUT, client_app, silent_server, started


def run(case, address, **more):
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", forking.__file__, case],
        # Pyramid's import of pkg_resources warns. The tests compare all other output of the process.
        env={**os.environ, "TEMPORAL_ADDRESS": address, "PYTHONWARNINGS": "ignore:pkg_resources is deprecated", **more},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("case", forking.CASES)
def test_every_process_starts_its_tasks_and_exits_with_status_0(temporal_address, case):
    ended = run(case, temporal_address)
    assert (ended.returncode, ended.stderr) == (0, "")
    ids = ended.stdout.split()
    with client_app(temporal_address) as app:
        assert started(app, ids) == set(ids)
    assert len(ids) >= 2


@pytest.mark.parametrize("case", ["background, then the end", "background in multiprocessing"])
def test_a_process_that_ends_logs_the_messages_it_could_not_send(case):
    with silent_server() as address:
        ended = run(case, address, DISPATCH_TIMEOUT=str(TIMEOUT))
    ids = ended.stdout.split()
    assert (ended.returncode, len(ids)) == (0, 20)
    lost = [line for line in ended.stderr.splitlines() if line.startswith("ERROR committed, but not started: buy(")]
    assert all(any(task_id in line for line in lost) for task_id in ids), ended.stderr
