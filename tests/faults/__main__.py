"""`python -m tests.faults [FAULT ...] [--short] [--seed N]`: break it, count, and print the table.

The exit code is 1 if a count is off by one.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from .counting import Count
from .rows import FAULTS, Fault
from .scene import Scene, Stand
from .table import Row, as_markdown, as_text

HOLDS = "holds"
SHOWN = 3
"""So many ids of what was lost are printed."""


def main() -> int:
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    faults = [fault for fault in FAULTS if not arguments.names or fault.name in arguments.names]
    rows: list[Row] = []
    began = time.monotonic()
    try:
        with Stand.built(arguments.keep) as stand:
            for fault in faults:
                rounds = arguments.rounds or (fault.short_rounds if arguments.short else fault.rounds)
                if rounds:
                    rows.append(run(stand, fault(), rounds, arguments))
                    print(f"{rows[-1].fault}: {rows[-1].verdict}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    finally:
        shown = as_markdown(rows) if arguments.markdown else as_text(rows)
        print(f"\n{shown}\n\nseed {arguments.seed}, {time.monotonic() - began:.0f} s")
    wrong = [row for row in rows if row.verdict != HOLDS]
    return 1 if wrong else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="The fault suite.")
    known = ", ".join(fault.name for fault in FAULTS)
    parser.add_argument("names", nargs="*", metavar="FAULT", help=f"which; default: all. {known}")
    parser.add_argument("--short", action="store_true", help="fewer rounds: what CI runs, under four minutes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeats a run")
    parser.add_argument("--rounds", type=int, help="of each fault")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="leave logs and state in this new directory")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {fault.name for fault in FAULTS}:
        parser.error(f"no fault {', '.join(sorted(unknown))}; there are {known}")
    return arguments


def run(stand: Stand, fault: Fault, rounds: int, arguments: argparse.Namespace) -> Row:
    dice = random.Random(f"{arguments.seed} {fault.name}")
    began = time.monotonic()
    print(f"{fault.name}: {fault.does}", file=sys.stderr, flush=True)
    with Scene(stand, fault.name, dice, rounds, arguments.short) as scene:
        try:
            fault.run(scene)
        except Exception:
            traceback.print_exc()
            scene.problems.append("broken off")
        ran = time.monotonic() - began
        count = fault.count(scene)
    print(f"  {ran:.0f} s, counted after {time.monotonic() - began - ran:.0f} s more", file=sys.stderr, flush=True)
    tell(count)
    return Row(
        fault.name,
        rounds,
        count.committed,
        count.started,
        count.took_effect,
        len(count.lost),
        len(count.doubled),
        verdict(count, scene.problems),
    )


def verdict(count: Count, problems: Sequence[str]) -> str:
    found = list(problems)
    if count.lost:
        found.append(f"{len(count.not_started)} not started, {len(count.without_effect)} without effect")
    if count.doubled:
        found.append(f"{len(count.doubled)} doubled")
    if count.strange:
        found.append(f"{len(count.strange)} started that were not committed")
    if not count.committed:
        found.append("nothing was committed")
    return "; ".join(found) or HOLDS


def tell(count: Count) -> None:
    """What to look for in the logs."""
    for what in ("not_started", "without_effect", "doubled", "strange"):
        if ids := getattr(count, what):
            print(f"  {what}: {' '.join(ids[:SHOWN])}", file=sys.stderr)
    print(f"  workflows: {dict(count.ends)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
