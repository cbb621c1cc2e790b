"""Time to import the package in fresh interpreters, beside Celery."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from . import parts
from .table import Figure

NAME = "import"
TITLE = "Import time"

STATEMENTS = (
    ("import the package", "import pyramid_temporal_compat", "import celery"),
    (
        "import shared_task, Celery",
        "from pyramid_temporal_compat import shared_task, Celery",
        "from celery import shared_task, Celery",
    ),
    (
        "the same, and a first task",
        "from pyramid_temporal_compat import shared_task, Celery\n@shared_task\ndef add(x, y): return x + y\nadd.name",
        "from celery import shared_task, Celery\n@shared_task\ndef add(x, y): return x + y\nadd.name",
    ),
)


def run(quick: bool) -> list[Figure]:
    times = 5 if quick else 15
    figures = []
    with parts.directory() as cache:
        for what, ours, theirs in STATEMENTS:
            pairs = [(milliseconds(ours, cache), milliseconds(theirs, cache)) for _ in range(times + 1)]
            here, there = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
            figures.append(Figure(NAME, what, here, there, "ms", "Celery"))
    return figures


def milliseconds(statements: str, cache: Path) -> float:
    """Return the milliseconds that the statements take. `cache` keeps compiled modules, as an installation does."""
    program = f"import time\nbegan = time.perf_counter()\n{statements}\nprint(time.perf_counter() - began)"
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(parts.ROOT), **compiled},
        capture_output=True,
        text=True,
        check=True,
        timeout=parts.START_TIMEOUT,
    )
    return float(done.stdout) * 1e3
