"""`python -m tests.trees FIRST LAST`: run the trees of these seeds on both systems, and print the differences.

It needs its own process: Celery has one current app per process, and other tests change it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path

from pyramid_temporal_compat.server import EmbeddedServer
from pyramid_temporal_compat.worker.workflows import slice_plan

from .comparing import differences, out_of_order
from .on_celery import on_celery
from .on_ours import on_ours
from .specs import some_tree

BATCHES = (250, 2)
"""`canvas_batch`: tasks of a group or chain in one workflow. Half of the trees run with each number."""
SPREADS = (slice_plan.SPREAD, 1)
"""With 1, all members that are ready share slices. With the usual number, groups as small as these have none."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.trees")
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int, help="the first seed that is left out")
    parser.add_argument("--address", help="a Temporal server; without it, one is started")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.last)
    if arguments.address:
        compare(seeds, arguments.address)
    else:
        with EmbeddedServer(headless=True) as server:
            compare(seeds, server.address)


def compare(seeds: range, address: str) -> None:
    """Print a line of JSON for each seed, with the differences between the two systems, if any."""
    specs = {seed: some_tree(seed) for seed in seeds}
    with tempfile.TemporaryDirectory() as path:
        with on_celery(Path(path)) as celery:
            expected = celery.run(specs)
        with on_ours(Path(path), address) as ours:
            found = {}
            ways = list(itertools.product(SPREADS, BATCHES))
            for rest, (spread, batch) in enumerate(ways):
                slice_plan.SPREAD = spread  # the worker is in this process
                ours.app.conf["ptemporal.canvas_batch"] = batch
                found |= ours.run({seed: spec for seed, spec in specs.items() if seed % len(ways) == rest})
    for seed, spec in specs.items():
        wrong = [differences(spec, expected[seed], found[seed]), *out_of_order(spec, found[seed].get("order", ()))]
        told = "\n".join(filter(None, wrong))
        print(json.dumps({"seed": seed, "differs": told} | ({"tree": spec} if told else {})))


if __name__ == "__main__":
    main()
