"""Groups whose members take long, or differ in time: until all are done, beside the time that the places need at least.

Members of a group share activities (slices). This shows what a member that runs long does to the others. Two workers,
each with four threads.
"""

from __future__ import annotations

import contextlib

from . import parts
from .table import Figure

NAME = "mixed"
TITLE = "Groups of long tasks, and of short and long ones"
WORKERS, THREADS = 2, 4
CASES = (
    ("long_ones", 40, 2.0 * 40 / (WORKERS * THREADS), "a group of 40 that take 2 s each: until all is done", 1.1),
    ("mixed", 80, 3.0 + 0.005 * 9, "a group of 80, one in ten takes 3 s, the others 5 ms: until all is done", 1.25),
)
"""The command, the members, the seconds that they need at least, and the aim."""


def run(quick: bool) -> list[Figure]:
    figures = []
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(parts.temporal())
        for _ in range(WORKERS):
            stack.enter_context(parts.our_worker(address, "threads", THREADS))
        client = stack.enter_context(parts.python("-m", "bench.client", address))
        client.ask("pipelined", 20)
        for name, count, ideal, what, aim in CASES:
            _, taken = client.ask(name, count)
            figures.append(Figure(NAME, what, taken * 1e3, ideal * 1e3, "ms", "the least possible", at_most=aim))
    return figures
