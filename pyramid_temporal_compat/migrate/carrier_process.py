"""The bridge's side of the carrier: it starts the process, and turns its answers into values and errors."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..celery_names.urls import sanitize_url
from ..celery_side.clients import scheme_of
from ..exceptions import ImproperlyConfigured, OperationalError
from ..log_lines.text_safety import one_line

GIVING_BACK = 30.0
"""Seconds that the carrier may take to give back what it holds."""
MOST_SHOWN = 10
"""Names of queues that an error lists."""
TRIED = ("redis", "redis+socket", "rediss", "amqp", "amqps", "pyamqp")
"""The schemes of the brokers that our tests carry from, and the same with TLS, which no test covers."""


class CarrierLost(OperationalError):
    """The broker has gone away, or the carrier has been killed. What it held goes back to the broker."""


class BrokerAddress:
    """A broker, and how the application connects to it."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, ssl: Any = None) -> None:
        self.url = url
        self.options = dict(options or {})
        self.ssl = ssl

    def __str__(self) -> str:
        return f"the broker at {sanitize_url(self.url)}"

    def refuse_untried(self) -> None:
        """Raise if no test has carried from a broker of this kind."""
        scheme = scheme_of(self.url)
        if "://" not in self.url:
            raise ImproperlyConfigured("--from takes a URL, as redis://host:6379/0")
        if scheme not in TRIED:
            raise ImproperlyConfigured(
                f"--from {sanitize_url(self.url)}: nobody has tried the bridge with {scheme}; --untested tries it"
            )


class Carrier:
    """A running carrier. It belongs to one thread."""

    def __init__(self, broker: BrokerAddress, queues: Sequence[str], former: Iterable[str] = ()) -> None:
        """Start the process, and let it open the broker.

        Raises `OperationalError` with the reason if the broker can't be opened.
        """
        self._broker = broker
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pyramid_temporal_compat.migrate.carrier"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C comes to the bridge, which ends the carrier in order
        )
        opening = {"url": broker.url, "options": broker.options, "ssl": broker.ssl or None}
        try:
            self._about = self._ask(**opening, queues=list(queues), former=list(former))
        except BaseException:
            self.close()
            raise

    @property
    def session(self) -> str:
        return str(self._about["session"])

    @property
    def unknown(self) -> list[str]:
        """The names that are no queues of this broker."""
        return list(self._about["unknown"])

    @property
    def known(self) -> list[str]:
        """The queues that the broker lists: only Redis does."""
        return list(self._about["known"])

    def no_such_queue(self, names: Sequence[str]) -> ImproperlyConfigured:
        """Return the error about names of queues that the broker does not have."""
        others = f"; it has {one_line(', '.join(self.known[:MOST_SHOWN]))}" if self.known else ""
        return ImproperlyConfigured(f"{self._broker} has no queue {one_line(', '.join(names))}{others}: see -Q")

    def take(self, most: int) -> list[dict[str, Any]]:
        """Take so many messages at most."""
        return list(self._ask(take=most)["messages"])

    def acknowledge(self, tags: Sequence[str]) -> None:
        if tags:
            self._ask(ack=list(tags))

    def give_back(self, tags: Sequence[str]) -> None:
        """Put messages back where they were."""
        if tags:
            self._ask(give_back=list(tags))

    def count(self) -> dict[str, Any]:
        """Return what waits, by queue, what Celery's workers hold (known on Redis), and what other bridges hold."""
        return self._ask(count=True)

    def held(self) -> dict[str, Any]:
        """Return what the broker and Celery's workers say about messages that workers hold."""
        return dict(self._ask(held=True)["held"])

    def close(self) -> None:
        """End the carrier. It gives back all messages that are taken and not acknowledged."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(GIVING_BACK)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order, default=str) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""
        if not line:
            raise CarrierLost(f"{self._broker}: the process that holds it has ended")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise CarrierLost(f"{self._broker}: {one_line(found['error'])}")
        return found
