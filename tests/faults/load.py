"""Load: requests from several threads. The seed draws the kind of each request."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

TIMEOUT = 60.0
CATCHES_UP = 1.0
"""Seconds of requests that could not be sent, and are caught up as soon as possible."""
AT_ONCE = 6
PAUSE_WITHOUT_PROCESS = 0.05

Parameters = Mapping[str, object]

MIXTURE: Mapping[str, float] = {
    "one": 50,
    "five": 10,
    "many": 2,
    "chain": 8,
    "group": 4,
    "chord": 3,
    "spawn": 4,
    "savepoint": 8,
    "abort": 5,
    "fail": 3,
    "doom": 4,
    "refuse": 4,
}
"""Kinds of requests, and how often each is drawn. The last four kinds must start nothing."""

UNUSUAL = {"abort": 409, "fail": 500, "refuse": 500}
"""The status of a kind's response, if it isn't 200."""


@dataclass
class Answers:
    """The responses to the requests. Every thread writes under the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    statuses: Counter[int] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    """Requests whose response had an unexpected status."""
    without: int = 0
    """Requests without a response, because their process died."""
    longest: float = 0.0


class Load:
    """Requests that are sent in the background. `wait` returns when all have a response."""

    def __init__(
        self,
        ports: Sequence[int],
        dice: random.Random,
        requests: int,
        *,
        rate: float | None = None,
        mixture: Mapping[str, float] = MIXTURE,
        parameters: Callable[[random.Random], Parameters] = lambda dice: {},
        at_once: int = AT_ONCE,
    ) -> None:
        """
        :param rate: requests per second, at most.
        :param parameters: more parameters of each request, besides its kind.
        """
        self.answers = Answers()
        kinds = dice.choices(list(mixture), list(mixture.values()), k=requests)
        self._asked = iter([(kind, parameters(dice)) for kind in kinds])
        self._ports = ports
        self._rate = rate
        self._due = time.monotonic()
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._threads = [threading.Thread(target=self._send_all, args=(n,), daemon=True) for n in range(at_once)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is not None:
            self.end()
        self.wait()

    @property
    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()

    def hold(self) -> None:
        """Send nothing until `go_on`."""
        self._goes_on.clear()

    def go_on(self) -> None:
        self._goes_on.set()

    def end(self) -> None:
        """Send no more requests."""
        self._ended.set()
        self._goes_on.set()
        self.wait()

    def _next(self) -> tuple[str, Parameters] | None:
        self._goes_on.wait()
        with self._turn:
            if self._ended.is_set():
                return None
            now = time.monotonic()
            due = self._due = max(self._due + 1 / self._rate, now - CATCHES_UP) if self._rate else now
            asked = next(self._asked, None)
        if asked is not None:
            self._ended.wait(max(0.0, due - time.monotonic()))
        return asked

    def _send_all(self, number: int) -> None:
        port = self._ports[number % len(self._ports)]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        with contextlib.closing(connection):
            while (asked := self._next()) is not None:
                self._send(connection, *asked)

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        """Wait until a process listens. A request that was never sent must not count as one without a response."""
        deadline = time.monotonic() + TIMEOUT
        while connection.sock is None:
            try:
                connection.connect()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_WITHOUT_PROCESS)

    def _send(self, connection: http.client.HTTPConnection, kind: str, parameters: Parameters) -> None:
        body = urllib.parse.urlencode({"kind": kind, **parameters})
        self._connect(connection)
        began = time.monotonic()
        try:
            connection.request("POST", "/order", body, {"Content-Type": "application/x-www-form-urlencoded"})
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            with self.answers.lock:
                self.answers.without += 1
            return
        finally:
            took = time.monotonic() - began
            with self.answers.lock:
                self.answers.longest = max(self.answers.longest, took)
        with self.answers.lock:
            self.answers.statuses[answer.status] += 1
            if answer.status != UNUSUAL.get(kind, 200):
                self.answers.unexpected.append(f"{kind}: {answer.status} {said[:300]!r}")
