"""Large canvases: time, bytes and memory. `python -m bench.large [CASE ...]`; it takes some minutes.

The worker has eight `threads`, and the server's state is in a file. Each case has its own worker and client.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psutil

from . import parts
from .__main__ import machine

CASES = {
    "group": ("a_group", 10_000, "a group of 10,000, and its results"),
    "chord": ("a_chord", 10_000, "a chord over 10,000"),
    "results": ("large_results", 10_000, "a group of 10,000 that return 20 kB each, and its results"),
    "large": ("large_chord", 10_000, "a chord over 10,000 that return 20 kB each"),
    "chain": ("a_chain", 5_000, "a chain of 5,000"),
}
HEAD = "| canvas | call returns | done | start | workflows | largest history | memory of caller | of worker |"


def main() -> None:
    print(f"{machine()}\n\n{HEAD}\n| --- | --: | --: | --: | --: | --: | --: | --: |", flush=True)
    for name in sys.argv[1:] or CASES:
        command, count, title = CASES[name]
        with parts.temporal() as address, parts.our_worker(address, "threads") as worker:
            with parts.python("-m", "bench.large_client", address) as client:
                found = client.ask(command, count)
            print(row(title, found, peak(worker.pid)), flush=True)
            print(found["told"][:300], file=sys.stderr)


def row(title: str, found: dict[str, Any], worker: float) -> str:
    history = f"{found['events']:,} events, {found['bytes'] / 1e6:.1f} MB"
    times = f"{found['returned']:.2f} s | {found['done']:.0f} s | {found['start'] / 1e3:,.0f} kB"
    return f"| {title} | {times} | {found['workflows']} | {history} | {found['client']:.0f} MB | {worker:.0f} MB |"


def peak(pid: int) -> float:
    """Return the peak memory in MB: the sum of the peaks of the process and its children."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(_peak(process.pid) for process in processes)


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
