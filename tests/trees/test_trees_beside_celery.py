"""Random trees end on Temporal as they end on Celery with Redis. To run more: `python -m tests.trees 0 300`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(80)


@pytest.fixture(scope="module")
def compared(temporal_address: str) -> dict[int, str]:
    """Return the differences between the two systems, for each seed."""
    command = [sys.executable, "-m", "tests.trees", str(SEEDS.start), str(SEEDS.stop), "--address", temporal_address]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return {found["seed"]: found["differs"] for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tree_ends_as_it_does_in_celery(compared: dict[int, str], seed: int) -> None:
    assert not compared[seed], compared[seed]
