"""A task that does nothing, beside the same function written by hand with temporalio, on the same server.

On both sides, worker and client are separate processes. The rounds take turns, so that noise affects both.
"""

from __future__ import annotations

import contextlib
import statistics
import time

from . import parts
from .table import Figure, percentile

NAME = "noop"
TITLE = "A no-op task, end to end"
PEER = "temporalio by hand"

KINDS = {
    "single_transactions": "at once, each in a transaction of its own: single workflows on both sides",
    "pipelined": "at once in one transaction: a bundle, and single workflows by hand",
}
"""The commands of the clients that ask for many tasks at once. By hand, both do the same."""
LATENCY_AIM = 1 / 0.95
THROUGHPUT_AIM = 0.95
LANE_LATENCY_AIM = 0.6
LANE_THROUGHPUT_AIM = 1.8
LONGEST = 80
"""Seconds after which no further round of many tasks begins, on a slow machine."""


def run(quick: bool) -> list[Figure]:
    rounds, singly, together = (2, 15, 60) if quick else (8, 30, 120)
    alone: dict[str, list[float]] = {"ours": [], "lane": [], "theirs": []}
    rates: dict[tuple[str, str], list[float]] = {(kind, name): [] for kind in KINDS for name in alone}
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(parts.temporal())
        stack.enter_context(parts.our_worker(address))
        stack.enter_context(parts.hand_written_worker(address))
        clients = {
            "ours": stack.enter_context(parts.python("-m", "bench.client", address)),
            "lane": stack.enter_context(parts.python("-m", "bench.client", address, "activity")),
            "theirs": stack.enter_context(parts.python("-m", "bench.native", "client", address)),
        }
        for client in clients.values():
            client.ask("latency", 5)
            for kind in KINDS:
                client.ask(kind, 20)
        for turn in range(rounds):
            # The second side meets a server with more stored data, so the sides swap in every round.
            for name in sorted(clients, reverse=turn % 2 == 0):
                alone[name] += [seconds * 1e3 for seconds in clients[name].ask("latency", singly)]
        began = time.monotonic()
        for turn in range(rounds):
            if turn >= 2 and time.monotonic() - began > LONGEST:
                break
            for kind in KINDS:
                for name in sorted(clients, reverse=turn % 2 == 0):
                    rates[kind, name].append(together / clients[name].ask(kind, together))
    return [
        Figure(
            NAME,
            "one at a time, median",
            statistics.median(alone["ours"]),
            statistics.median(alone["theirs"]),
            "ms",
            PEER,
            at_most=LATENCY_AIM,
        ),
        Figure(
            NAME,
            "95 of 100 are below",
            percentile(alone["ours"], 95),
            percentile(alone["theirs"], 95),
            "ms",
            PEER,
        ),
        *(
            Figure(
                NAME,
                f"{together} {what}, concurrency {parts.CONCURRENCY}",
                statistics.median(rates[kind, "ours"]),
                statistics.median(rates[kind, "theirs"]),
                "/s",
                PEER,
                at_least=THROUGHPUT_AIM,
            )
            for kind, what in KINDS.items()
        ),
        Figure(
            NAME,
            "lane activity, one at a time, median",
            statistics.median(alone["lane"]),
            statistics.median(alone["theirs"]),
            "ms",
            PEER,
            at_most=LANE_LATENCY_AIM,
        ),
        Figure(
            NAME,
            f"lane activity, {together} at once, concurrency {parts.CONCURRENCY}",
            statistics.median(rates["single_transactions", "lane"]),
            statistics.median(rates["single_transactions", "theirs"]),
            "/s",
            PEER,
            at_least=LANE_THROUGHPUT_AIM,
        ),
    ]
