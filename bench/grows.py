"""What grows with the number of tasks: `python -m bench.grows [CASE ...] [--count N]`; all of it takes some minutes.

The server's state is in a file, as a user's is. Each case has a server of its own. The table shows the time, the CPU
that the server and the client took, and the requests that the server got from clients. CPU and requests vary less than
the time on a machine that does other work.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pyramid_temporal_compat.server import EmbeddedServer
from pyramid_temporal_compat.server.embedded import free_ports

from . import parts
from .__main__ import machine


@dataclass(frozen=True)
class Cost:
    """What a command took: of the clock, of the processors, and of the server's attention."""

    seconds: float
    server_cpu: float
    client_cpu: float
    requests: int


class Bench:
    """A server with its state in a file, and a client process that runs commands."""

    def __init__(self, server: EmbeddedServer, client: parts.Process, metrics: int) -> None:
        self.server = server
        self._client = client
        self._metrics = metrics

    def ask(self, name: str, count: int) -> Any:
        return self._client.ask(name, count)

    def cost(self, name: str, count: int) -> tuple[Cost, Any]:
        """Run a command of the client, and return its cost and its answer."""
        asked = self._requests()
        before, began = self._cpu(), time.perf_counter()
        answer = self.ask(name, count)
        seconds = time.perf_counter() - began
        server, client = (now - then for now, then in zip(self._cpu(), before, strict=True))
        return Cost(seconds, server, client, int(self._requests() - asked)), answer

    def _cpu(self) -> tuple[float, float]:
        assert self.server.pid is not None
        return cpu_seconds(self.server.pid), cpu_seconds(self._client.pid)

    def _requests(self) -> float:
        """Return how many requests clients have sent so far. Polls of workers are not counted."""
        time.sleep(METRICS_EVERY)
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if REQUEST.match(line) and not POLL.search(line))

    def rest(self) -> None:
        """Wait until the server has nothing left to do."""
        assert self.server.pid is not None
        while True:
            before = cpu_seconds(self.server.pid)
            time.sleep(0.5)
            if cpu_seconds(self.server.pid) - before < 0.05:
                return


METRICS_EVERY = 1.2
"""Seconds. The server updates its metrics once a second."""
POLL = re.compile("Poll(Workflow|Activity|Nexus)TaskQueue")
REQUEST = re.compile(r'service_requests\{.*service_name="frontend"')


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@contextmanager
def bench(least: int | None = None) -> Iterator[Bench]:
    """Start a server and a client. `least` is the client's `ptemporal.bundle`."""
    (metrics,) = free_ports("127.0.0.1", 1)
    with parts.directory() as path:
        arguments = ("--metrics-port", str(metrics))
        with EmbeddedServer(headless=True, database=path / "server.db", extra_args=arguments) as server:
            more = () if least is None else (str(least),)
            with parts.python("-m", "bench.grows_client", server.address, *more) as client:
                yield Bench(server, client, metrics)


# --- cases ----------------------------------------------------------------------------------------------


def purge(count: int) -> Iterator[str]:
    """Purge tasks that wait, each with a workflow of its own, and then the tasks of bundles."""
    for least, what in ((0, "single tasks"), (2, "tasks in bundles")):
        with bench(least) as found:
            found.ask("call", count)
            waiting = found.ask("waiting", 0)
            cost, purged = found.cost("purge", 0)
            found.rest()
            text = f"purge() of {count:,} {what}; message_count before / purged / message_count afterwards: "
            yield row(f"{text}{waiting} / {purged} / {found.ask('waiting', 0)}", cost)


def scheduled(count: int) -> Iterator[str]:
    with bench() as found, parts.our_worker(found.server.address):
        found.ask("call_later", count // 4)
        for which in ("first", "next"):
            cost, listed = found.cost("scheduled", 0)
            yield row(f"inspect().scheduled() of {listed:,}, the {which} time", cost)


def results(count: int) -> Iterator[str]:
    """Read results one by one: of tasks that were called before, with a new AsyncResult each."""
    for least, what in ((0, "single tasks"), (2, "tasks of a bundle")):
        with bench(least) as found, parts.our_worker(found.server.address):
            found.ask("call_and_wait", count // 2)
            found.rest()
            cost, _ = found.cost("read", 0)
            yield row(f"read {count // 2:,} results of {what}, one by one", cost)


def file(count: int) -> Iterator[str]:
    with bench(0) as found, parts.our_worker(found.server.address):
        database = found.server.database
        assert database is not None
        before = size_of(database)
        called, _ = found.cost("call", count // 2)
        cost, _ = found.cost("wait", 0)
        found.rest()
        each = (size_of(database) - before) / (count // 2) / 1024
        yield row(f"call {count // 2:,} single tasks, with a worker", called)
        yield row(f"then wait for them; the file grew by {each:.1f} KB a task", cost)


def bundles(count: int) -> Iterator[str]:
    """Tasks of small transactions, in workflows of their own and in bundles."""
    for least in (0, 2):
        with bench(least) as found, parts.our_worker(found.server.address):
            found.ask("transactions_of_2", 10)
            for size in (2, 4, 7):
                found.rest()
                cost, _ = found.cost(f"transactions_of_{size}", count // 10 // size)
                tasks = count // 10 // size * size
                each = cost.server_cpu / tasks * 1e3
                yield row(f"transactions of {size} tasks, bundle = {least}: {each:.1f} ms of server CPU a task", cost)


def size_of(database: Path) -> int:
    """Return the bytes in use in the state file, with what its write-ahead log holds."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


CASES: dict[str, Callable[[int], Iterator[str]]] = {
    "purge": purge,
    "scheduled": scheduled,
    "results": results,
    "file": file,
    "bundles": bundles,
}
HEAD = "| what | time | server CPU | client CPU | requests |\n| --- | --: | --: | --: | --: |"


def row(what: str, cost: Cost) -> str:
    times = " | ".join(f"{seconds:,.2f} s" for seconds in (cost.seconds, cost.server_cpu, cost.client_cpu))
    return f"| {what} | {times} | {cost.requests:,} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.grows")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all of {', '.join(CASES)}")
    parser.add_argument("--count", type=int, default=2000, help="how many tasks; default: 2000")
    arguments = parser.parse_args()
    print(f"{machine()}\n\n{HEAD}", flush=True)
    for name in arguments.cases or CASES:
        for line in CASES[name](arguments.count):
            print(line, flush=True)


if __name__ == "__main__":
    main()
