"""A script that ends while calls to the server are under way ends cleanly."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys, time
from pyramid_temporal_compat import Celery
app = Celery("ends", broker=sys.argv[1])
result = app.send_task("nobody.knows.it", queue="nobodys")
connection = app.temporal if hasattr(app.temporal, "submit") else app.temporal.connection

async def wait_for_result():
    await (await connection.client()).get_workflow_handle(result.id).result()

waiting = [connection.submit(wait_for_result) for _ in range(300)]
time.sleep(0.5)
"""


@pytest.mark.integration
def test_a_script_with_300_calls_under_way_ends_with_code_0(temporal_address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, temporal_address], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
