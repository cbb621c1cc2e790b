"""A process that calls tasks, and waits for them: `python -m bench.client ADDRESS [LANE]`.

With the lane `activity`, each task is a standalone activity, and no tasks share a workflow.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def answer_lines(commands: Mapping[str, Callable[[int], Any]]) -> None:
    """Answer each line `[command, count]` on stdin with a line of JSON."""
    for line in sys.stdin:
        name, count = json.loads(line)
        print(json.dumps(commands[name](count)), flush=True)


def latency(count: int) -> list[float]:
    from bench.application import noop

    seconds = []
    for number in range(count):
        began = time.perf_counter()
        noop.delay(number).get()
        seconds.append(time.perf_counter() - began)
    return seconds


def pipelined(count: int) -> float:
    """Call all tasks in one transaction. Its commit starts them."""
    import transaction

    from bench.application import noop

    began = time.perf_counter()
    with transaction.manager:
        results = [noop.delay(number) for number in range(count)]
    for result in results:
        result.get()
    return time.perf_counter() - began


def single_transactions(count: int) -> float:
    """Call each task in a transaction of its own. As in a web server, threads commit side by side."""
    import concurrent.futures

    import transaction

    from bench.application import noop

    def call(number: int) -> Any:
        with transaction.manager:  # of this thread
            return noop.delay(number)

    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(SENDERS) as threads:
        results = list(threads.map(call, range(count)))
    for result in results:
        result.get()
    return time.perf_counter() - began


SENDERS = 16
"""Threads that commit at the same time: as many starts as one process sends at a time."""


def asked(ask: Callable[[], Any]) -> list[float]:
    """Return the seconds until `ask` returns, and until its result is there."""
    began = time.perf_counter()
    result = ask()
    returned = time.perf_counter() - began
    result.get(timeout=LONGEST)
    return [returned, time.perf_counter() - began]


def many_delays(count: int) -> list[float]:
    """Return the seconds until the commit has returned, until all tasks are done, and for the commit alone."""
    import transaction

    from bench.application import noop
    from pyramid_temporal_compat.results import ResultSet

    commit = 0.0

    def ask() -> Any:
        nonlocal commit
        transaction.begin()
        results = ResultSet([noop.delay(number) for number in range(count)])
        began = time.perf_counter()
        transaction.commit()
        commit = time.perf_counter() - began
        return results

    return [*asked(ask), commit]


def a_group(count: int) -> list[float]:
    from bench.application import noop
    from pyramid_temporal_compat import group

    return asked(lambda: group(noop.s(number) for number in range(count))())


def short_ones(count: int) -> list[float]:
    """Each takes 1 ms."""
    from bench.application import sleeps
    from pyramid_temporal_compat import group

    return asked(lambda: group(sleeps.s(0.001) for _ in range(count))())


def a_chain(count: int) -> list[float]:
    from bench.application import noop
    from pyramid_temporal_compat import chain

    return asked(lambda: chain(noop.s(1), *(noop.s() for _ in range(count - 1)))())


def a_chord(count: int) -> list[float]:
    from bench.application import noop, total
    from pyramid_temporal_compat import chord

    return asked(lambda: chord([noop.s(number) for number in range(count)])(total.s()))


def long_ones(count: int) -> list[float]:
    from bench.application import sleeps
    from pyramid_temporal_compat import group

    return asked(lambda: group(sleeps.s(2.0) for _ in range(count))())


def mixed(count: int) -> list[float]:
    """One in ten takes 3 s, the others 5 ms."""
    from bench.application import sleeps
    from pyramid_temporal_compat import group

    return asked(lambda: group(sleeps.s(3.0 if number % 10 == 5 else 0.005) for number in range(count))())


LONGEST = 120
"""Seconds to wait for a canvas."""
CANVASES = {
    "many_delays": many_delays,
    "a_group": a_group,
    "short_ones": short_ones,
    "a_chain": a_chain,
    "a_chord": a_chord,
    "long_ones": long_ones,
    "mixed": mixed,
}


def main(address: str, lane: str = "workflow") -> None:
    from pyramid_temporal_compat import Celery

    app = Celery("bench", ptemporal_address=address, task_default_queue="bench", ptemporal_dispatch_timeout=60)
    if lane == "activity":
        app.conf.update({"ptemporal.lane": lane, "ptemporal.bundle": 0})
    answer_lines({"latency": latency, "pipelined": pipelined, "single_transactions": single_transactions, **CANVASES})


if __name__ == "__main__":
    main(*sys.argv[1:])
