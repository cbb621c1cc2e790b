"""By hand: `python -m tests.trees FIRST LAST` compares the trees of these seeds, and shows where they differ."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from pyramid_temporal_compat.server import EmbeddedServer

from .comparing import differences, out_of_order
from .sides import on_celery, on_ours
from .specs import some_tree


def main() -> None:
    first, last = int(sys.argv[1]), int(sys.argv[2])
    specs = {seed: some_tree(seed) for seed in range(first, last)}
    with tempfile.TemporaryDirectory() as path, EmbeddedServer(headless=True) as server:
        began = time.monotonic()
        with on_celery(Path(path)) as celery:
            expected = celery.run(specs)
        print(f"Celery: {time.monotonic() - began:.1f} s", flush=True)
        began = time.monotonic()
        with on_ours(Path(path), server.address) as ours:
            found = ours.run(specs)
        print(f"ours: {time.monotonic() - began:.1f} s", flush=True)
    different = 0
    for seed, spec in specs.items():
        wrong = [
            f"{name}: {each}"
            for name, side in (("Celery", expected), ("ours", found))
            for each in out_of_order(spec, side[seed].get("order", ()))
        ]
        told = "\n".join([*filter(None, [differences(spec, expected[seed], found[seed])]), *wrong])
        if told:
            different += 1
            print(f"--- {seed}: {json.dumps(spec)}\n{told}")
    print(f"{different} of {len(specs)} differ")


if __name__ == "__main__":
    main()
