"""`python -m tests.faults [FAULT ...] [--short] [--seed N]`: break the processes, count, and print the table.

The exit code is 1 if a count is off by one.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from . import processes
from .counting import Count
from .rows import FAULTS, Fault
from .scene import Scene, Stand
from .table import Row, as_markdown, as_text

HOLDS = "holds"
SHOWN = 3
"""Ids of lost tasks that are printed, at most."""
AT_ONCE = 3
"""Faults that run at the same time. Each fault mostly waits for a process to start or a timeout to end."""


def main() -> int:
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    chosen = [fault for fault in FAULTS if not arguments.names or fault.name in arguments.names]
    began = time.monotonic()
    with Stand.built("faults", arguments.keep) as stand:
        run = Run(stand, chosen, arguments)
        try:
            run.all()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130
        finally:
            run.end()
            shown = as_markdown(run.rows) if arguments.markdown else as_text(run.rows)
            print(f"\n{shown}\n\nseed {arguments.seed}, {time.monotonic() - began:.0f} s")
    return 0 if all(row.verdict == HOLDS for row in run.rows) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="The fault suite.")
    known = ", ".join(fault.name for fault in FAULTS)
    parser.add_argument("names", nargs="*", metavar="FAULT", help=f"which; default: all. {known}")
    parser.add_argument("--short", action="store_true", help="fewer rounds: what CI runs, under four minutes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeats a run")
    parser.add_argument("--rounds", type=int, help="of each fault; of the storm: tasks")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, metavar="N", help="faults side by side; default: 3")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="leave logs and state in this new directory")
    parser.add_argument("--list", action="store_true", help="say what each fault breaks, and what must hold")
    arguments = parser.parse_args()
    if arguments.list:
        print("| fault | how it breaks | required, besides the counts |\n| --- | --- | --- |")
        for fault in FAULTS:
            print(f"| {fault.name} | {fault.does} | {fault.holds} |")
        sys.exit()
    if unknown := set(arguments.names) - {fault.name for fault in FAULTS}:
        parser.error(f"no fault {', '.join(sorted(unknown))}; there are {known}")
    return arguments


class Run:
    """Run faults, several at a time, each on a thread. A thread ends when no fault is left, or with the process."""

    def __init__(self, stand: Stand, chosen: Sequence[type[Fault]], arguments: argparse.Namespace) -> None:
        self._stand = stand
        self._arguments = arguments
        self._order = [fault.name for fault in chosen]
        self._found: dict[str, Row] = {}
        self._scenes: list[Scene] = []
        self._left: queue.SimpleQueue[tuple[Fault, int]] = queue.SimpleQueue()
        # The longest fault starts first, so that it does not run alone at the end.
        for fault in sorted(chosen, key=lambda fault: fault.name != "storm"):
            rounds = arguments.rounds or (fault.short_rounds if arguments.short else fault.rounds)
            if rounds:
                self._left.put((fault(), rounds))

    @property
    def rows(self) -> list[Row]:
        return [self._found[name] for name in self._order if name in self._found]

    def all(self) -> None:
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._arguments.at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # in short steps, because a signal is handled between two steps

    def end(self) -> None:
        """End all scenes, and the processes in them."""
        processes.over.set()
        for scene in self._scenes:
            with contextlib.suppress(Exception):
                scene.close()

    def _work(self) -> None:
        while True:
            try:
                fault, rounds = self._left.get_nowait()
            except queue.Empty:
                return
            row = self._run(fault, rounds)
            if not processes.over.is_set():
                self._found[fault.name] = row

    def _run(self, fault: Fault, rounds: int) -> Row:
        dice = random.Random(f"{self._arguments.seed} {fault.name}")
        began = time.monotonic()
        scene = Scene(self._stand, fault.name, dice, rounds, own_postgres=fault.own_postgres)
        self._scenes.append(scene)
        count, ran = Count.of_nothing(), 0.0
        try:
            with scene:
                try:
                    fault.run(scene)
                finally:
                    ran = time.monotonic() - began
                    count = fault.count(scene)
        except Exception:
            if not processes.over.is_set():
                scene.problems.append(f"broken off: {traceback.format_exc(limit=-3)}")
        counted = time.monotonic() - began - ran
        said = verdict(count, scene.problems)
        print(f"{fault.name}: {ran:.0f} s, {counted:.0f} s until at rest: {said}{ids(count)}", file=sys.stderr)
        return Row(
            fault.name,
            rounds,
            count.committed,
            count.started,
            count.took_effect,
            len(count.lost),
            len(count.doubled),
            " ".join(said.split()),
        )


def verdict(count: Count, problems: Sequence[str]) -> str:
    found = list(problems)
    if count.lost:
        found.append(f"{len(count.not_started)} not started, {len(count.without_effect)} without effect")
    if count.doubled:
        found.append(f"{len(count.doubled)} doubled")
    if count.strange:
        found.append(f"{len(count.strange)} started that were not committed")
    if not count.at_rest:
        found.append(f"{count.running} still run")
    if not count.committed:
        found.append("nothing was committed")
    return "; ".join(found) or HOLDS


def ids(count: Count) -> str:
    """Return the ids to look for in the logs."""
    found = ""
    for what in ("not_started", "without_effect", "doubled", "strange"):
        if which := getattr(count, what):
            found += f"\n  {what}: {' '.join(which[:SHOWN])}"
    return f"{found}\n  workflows: {dict(count.ends)}" if found else ""


if __name__ == "__main__":
    sys.exit(main())
