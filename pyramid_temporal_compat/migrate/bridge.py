"""Carries messages from a broker of Celery's into Temporal, under their own ids.

A message is acknowledged when the server has it, or has had its id before. So whoever is killed, and whenever, a
message is in the broker, or on the server, or in both. One that comes a second time starts nothing, because the server
has its id.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..celery_names.urls import sanitize_url
from ..enlist.enlistment import transactions_set_aside
from ..exceptions import CeleryError, ImproperlyConfigured, OperationalError
from ..log_lines.text_safety import one_line
from ..message.backoff import exponential_pauses
from .carried import BrokerCall, CantCarry, describe, signature_of

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Starts under way at a time."""
PREFETCH = 64
"""Messages that the bridge takes from the broker before it has started them. Kept ones come on top."""
MOST_KEPT = 1000
"""Messages that can't be carried, of which the bridge holds so many at most."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between two attempts to start a message while the server is away."""
QUIET = 1.0
"""Seconds without a message, with empty queues, after which a broker counts as empty."""
GIVING_BACK = 30.0
"""Seconds that the carrier may take to give back what it holds."""
TRIED = ("redis", "rediss", "redis+socket", "amqp", "amqps", "pyamqp", "memory", "filesystem")
"""The schemes of the brokers that our tests carry from."""


@dataclass
class Carried:
    """What a bridge has done so far."""

    started: Counter[str] = field(default_factory=Counter)
    """By queue."""
    kept: dict[str, str] = field(default_factory=dict)
    """What stays on Celery's side: a line for each message, and why."""
    waiting: Mapping[str, int] = field(default_factory=dict)
    """What the broker counted last, by queue."""
    unacked: int = 0
    """What consumers of the broker hold, this bridge included; known on Redis."""


class Bridge:
    """Carries until it is stopped, or until the broker is empty. `run` belongs to the caller's thread."""

    def __init__(
        self,
        app: AppLike,
        url: str,
        queues: Sequence[str],
        *,
        until_empty: bool = False,
        untested: bool = False,
        to_queue: Callable[[str], str] = lambda name: name,
        on_change: Callable[[Carried], None] = lambda carried: None,
    ) -> None:
        scheme = url.partition("://")[0].partition("+")[0]
        if scheme not in TRIED and not untested:
            raise ImproperlyConfigured(
                f"--from {sanitize_url(url)}: nobody has tried the bridge with {scheme}; --untested tries it"
            )
        self._app, self._url, self._queues = app, url, list(queues)
        self._until_empty, self._to_queue, self._on_change = until_empty, to_queue, on_change
        self.carried = Carried()
        self._stopping = threading.Event()
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._under_way = 0
        self._process: subprocess.Popen[str] | None = None

    def stop(self) -> None:
        """End when the messages at hand have been started. Any thread may call this, and a signal handler."""
        self._stopping.set()

    def run(self) -> Carried:
        """Carry. Return what was carried and what was kept."""
        with self._carrier() as process, ThreadPoolExecutor(AT_ONCE, "bridge") as pool:
            self._process = process
            options = dict(self._app.conf["broker_transport_options"] or {})
            self._order(url=self._url, queues=self._queues, prefetch=PREFETCH + MOST_KEPT, options=options)
            last_message = last_count = time.monotonic()
            while not self._stopping.is_set():
                try:
                    answer = self._answers.get(timeout=0.2)
                except queue.Empty:
                    answer = {}
                if answer is None:
                    raise OperationalError("the bridge's process at the broker has ended; run the bridge again")
                now = time.monotonic()
                if "message" in answer:
                    last_message = now
                    with self._lock:
                        self._under_way += 1
                    pool.submit(self._carry, BrokerCall.read(answer["message"]))
                elif "error" in answer:
                    raise OperationalError(f"the broker at {sanitize_url(self._url)}: {one_line(answer['error'])}")
                elif "waiting" in answer:
                    self.carried.waiting, self.carried.unacked = answer["waiting"], answer["unacked"]
                    self._on_change(self.carried)
                    is_empty = not any(answer["waiting"].values()) and not self._under_way
                    if self._until_empty and is_empty and now - last_message > QUIET:
                        break
                if now - last_count > QUIET / 2:
                    last_count = now
                    self._order(count=True)
            pool.shutdown(wait=True)
            self._order(end=True)
            process.wait(GIVING_BACK)
        self._on_change(self.carried)
        return self.carried

    @contextlib.contextmanager
    def _carrier(self) -> Iterator[subprocess.Popen[str]]:
        """Run the carrier until the end of the block. Without an order to end it gives back what it holds, too."""
        process = subprocess.Popen(
            [sys.executable, "-m", "pyramid_temporal_compat.migrate.carrier"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C comes to the bridge, which ends the carrier in order
        )
        threading.Thread(target=self._read_answers, args=(process,), daemon=True).start()
        try:
            yield process
        finally:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(GIVING_BACK)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _read_answers(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)

    def _order(self, **order: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(order) + "\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                log.debug("the carrier has ended")  # its last answer says why

    def _carry(self, call: BrokerCall) -> None:
        """Start what a message asks for, and have the message acknowledged."""
        try:
            self._start(call)
        except CantCarry as reason:
            self._keep(call, str(reason))
        except _Stopped:
            pass  # not acknowledged: it goes back
        except CeleryError as error:  # an id, a queue or a size that the server or we refuse
            self._keep(call, str(error))
        except Exception as error:
            log.exception("%s could not be carried", describe(call))
            self._keep(call, f"{type(error).__name__}: {error}")
        else:
            self._order(ack=call.tag)
            with self._lock:
                self.carried.started[call.queue] += 1
        finally:
            with self._lock:
                self._under_way -= 1

    def _start(self, call: BrokerCall) -> None:
        signature = signature_of(self._app, call)
        signature.options["queue"] = self._to_queue(call.queue)
        pauses = exponential_pauses(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                with transactions_set_aside():
                    signature.clone().apply_async()
                return
            except OperationalError as error:  # the server is away: the message waits here, unacknowledged
                log.warning("%s waits for the server: %s", describe(call), one_line(error))
            if self._stopping.wait(next(pauses)):
                raise _Stopped

    def _keep(self, call: BrokerCall, reason: str) -> None:
        text = one_line(reason)
        log.warning("%s stays on Celery's side: %s", describe(call), text)
        with self._lock:
            self.carried.kept[describe(call)] = text
            is_full = len(self.carried.kept) >= MOST_KEPT
        if is_full:
            log.error("the bridge ends: it holds %d messages that it can't carry", MOST_KEPT)
            self.stop()


class _Stopped(Exception):
    """The bridge ends while a message waits for the server."""
