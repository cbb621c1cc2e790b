"""Workers are killed at random moments while trees run. Every tree ends as it does without kills."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.parts import wait_until

from .on_ours import READY, on_ours, without_worker, worker_of
from .specs import some_tree

SPECS = {seed: some_tree(seed) for seed in range(25)}
KILLS = int(os.environ.get("TREES_KILLS", 2))
"""Trees for each pool; run more by hand."""
BATCH = 3
"""Tasks of a group or chain in one workflow: so few that many trees are several workflows."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, temporal_address: str) -> Any:
    with on_ours(tmp_path_factory.mktemp("undisturbed"), temporal_address) as ours:
        ours.app.conf["ptemporal.canvas_batch"] = BATCH
        return ours.run(SPECS)


@pytest.mark.parametrize(("pool", "spread"), [("prefork", "1"), ("threads", "1"), ("threads", "16")])
def test_every_tree_ends_right_though_workers_are_killed(
    temporal_address: str, tmp_path: Path, undisturbed: Any, pool: str, spread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREES_PAUSE", "0.02")
    monkeypatch.setenv("TREES_SPREAD", spread)  # with 1, all members that are ready share slices
    dice = random.Random()
    with without_worker(tmp_path, temporal_address) as ours:
        ours.app.conf["ptemporal.canvas_batch"] = BATCH
        results, refused = ours.ask(SPECS)
        for _ in range(KILLS):
            with worker_of(ours, temporal_address, "-P", pool, "-c", "4", "-l", "critical") as worker:
                worker.wait_for_line(READY)
                wait_for_lines(ours, results, more=dice.randint(1, 40))
                os.killpg(worker.pid, signal.SIGKILL)
        with worker_of(ours, temporal_address, "-P", pool, "-c", "4", "-l", "critical"):
            found = ours.look(results, refused)
    for seed, expected in undisturbed.items():
        assert steady(found[seed]) == steady(expected), f"tree {seed}"
        for n, runs in expected.get("runs", {}).items():
            assert told(runs) == told(found[seed]["runs"][n]), f"tree {seed}, task {n}"


def wait_for_lines(ours: Any, results: dict[int, Any], more: int) -> None:
    """Wait until so many more runs have begun, or nothing is left to disturb."""
    enough = len(ours.log.read_text().splitlines()) + more
    wait_until(lambda: len(ours.log.read_text().splitlines()) >= enough or over(results))


def over(results: dict[int, Any]) -> bool:
    return all(result.ready() for result in results.values())


def steady(seen: Any) -> Any:
    """Return the outcome without the parts that depend on which of several members came first."""
    found = json.loads(json.dumps(seen))
    for key in ("order", "runs", "gives"):
        found.pop(key, None)
    return found | {"ran": sorted(seen.get("runs", {}))}


def told(runs: Any) -> set[str]:
    """Return the arguments of a run: a lost run is repeated with the same arguments.

    The number of retries is left out. If a task loses its worker, and then loses the next worker before its first
    heartbeat, the first loss counts as a retry: see `client/attempt_counts.py`. `tests.faults` counts retries between
    kills.
    """
    return {json.dumps({key: run[key] for key in run if key != "retries"}, sort_keys=True) for run in runs}
