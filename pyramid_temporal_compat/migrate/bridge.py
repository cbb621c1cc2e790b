"""Carries messages from a broker of Celery's into Temporal, under their own ids.

A message is acknowledged when the server has it, or has had its id before. So whoever is killed, and whenever, a
message is in the broker, or on the server, or in both. One that comes a second time starts nothing, because the server
has its id.

A message that can't be carried is *kept*: the bridge holds it, or it would get it again and again. From time to time
the bridge gives all kept messages back, and takes nothing for a moment. Then a Celery worker on the same queue gets
them.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from temporalio.service import RPCError, RPCStatusCode

from ..client.connection import is_transient
from ..exceptions import CeleryError, OperationalError
from ..log_lines.text_safety import one_line
from ..log_lines.throttled_log import LoggedNames, ThrottledLog
from ..message.backoff import exponential_pauses
from .carried import BrokerCall, CantCarry, Rules, describe, unit_of
from .carrier_process import BrokerAddress, Carrier, CarrierLost

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from ..message.tree import Unit

log = logging.getLogger(__name__)
waits = ThrottledLog(log, logging.WARNING)

AT_ONCE = 16
"""Starts under way at a time."""
MOST_TAKEN = 64
"""Messages that the bridge holds before it has started them. Kept messages come on top."""
MOST_KEPT = 1000
"""Messages that can't be carried, of which the bridge holds so many at most."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between two attempts to start a message while the server is away."""
FIRST_REOPENING, LONGEST_REOPENING = 0.5, 30.0
"""Seconds between two attempts to open a broker that has gone away."""
BROKER_AWAY = 300.0
"""Seconds without the broker after which a bridge ends that is to end when the broker is empty."""
IDLE = 0.2
"""Seconds between two looks at queues that were empty."""
COUNTING = 0.5
"""Seconds between two counts of what waits."""
QUIET = 1.0
"""Seconds without a message, with empty queues, after which a broker counts as empty."""
KEPT_FOR = 60.0
"""Seconds after which kept messages go back, for Celery's workers."""
LEFT_ALONE = 2.0
"""Seconds in which the bridge then takes nothing."""


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
    """What Celery's workers hold; known on Redis."""


@dataclass(frozen=True)
class Outcome:
    """How a message ended that the bridge has taken."""

    session: int
    taken: Mapping[str, Any]
    is_started: bool
    reason: str = ""
    """Why it can't be carried. Without a reason, the bridge ends before it could start the message."""


class Bridge:
    """Carries until it is stopped, or until the broker is empty. All but `stop` belongs to one thread."""

    def __init__(
        self,
        app: AppLike,
        broker: BrokerAddress,
        queues: Sequence[str] | None = None,
        *,
        until_empty: bool = False,
        rules: Rules | None = None,
        on_change: Callable[[Carried], None] = lambda carried: None,
    ) -> None:
        """
        :param queues: the queues to carry from. Without it, those of the application's workers that the broker has.
        """
        self._app, self._broker = app, broker
        self._are_named = bool(queues)
        self._queues = list(dict.fromkeys(queues or app.amqp.queues.consume_from))
        self._until_empty, self._rules, self._on_change = until_empty, rules or Rules(), on_change
        self.carried = Carried()
        self._stopping = threading.Event()
        self._outcomes: queue.Queue[Outcome] = queue.Queue()
        self._carrier: Carrier | None = None
        self._sessions: list[str] = []
        """The sessions of all carriers. Number `len(_sessions)` is the running one."""
        self._under_way = 0
        self._held: dict[str, str] = {}
        """The tags of kept messages, each with the line that names the message."""
        self._stale: set[str] = set()
        """Kept messages that went back, and that the bridge has not seen again."""
        self._told = LoggedNames()
        self._last_message = self._last_count = self._kept_since = time.monotonic()
        self._pause_until = 0.0
        self._away_since = 0.0
        """When the broker went away. A broker that is back counts as away until a message has been acknowledged."""
        self._pauses = exponential_pauses(FIRST_REOPENING, LONGEST_REOPENING)

    def stop(self) -> None:
        """End when the starts under way have ended. Any thread may call this, and a signal handler."""
        self._stopping.set()

    def run(self) -> Carried:
        """Carry. Return what was carried and what was kept.

        Raises `OperationalError` if the broker can't be opened, and `ImproperlyConfigured` if it has no such queue.
        """
        self._open_first()
        with ThreadPoolExecutor(AT_ONCE, "bridge") as pool:
            try:
                while not self._is_done():
                    try:
                        self._step(pool)
                    except CarrierLost as error:
                        self._reopen(error)
            finally:
                self.stop()
                pool.shutdown(wait=True)
                if self._carrier is not None:
                    self._settle_last()
                    self._carrier.close()
        self._on_change(self.carried)
        return self.carried

    # --- the broker ----------------------------------------------------------------------------------------

    def _open(self) -> Carrier:
        carrier = Carrier(self._broker, self._queues, self._sessions)
        self._carrier = carrier
        self._sessions.append(carrier.session)
        return carrier

    def _open_first(self) -> None:
        """Open the broker, and check the queues' names."""
        carrier = self._open()
        missing = carrier.unknown
        if not missing:
            return
        carrier.close()
        if self._are_named or len(missing) == len(self._queues):
            raise carrier.no_such_queue(missing)
        log.warning("%s has no queue %s: carrying from the others", self._broker, one_line(", ".join(missing)))
        self._queues = [name for name in self._queues if name not in missing]
        self._open()

    def _reopen(self, error: CarrierLost) -> None:
        """Open the broker again, as often as it takes. What the last carrier held is in the broker again."""
        assert self._carrier is not None
        self._carrier.close()
        self._carrier = None
        self._stale |= set(self._held.values())
        self._held.clear()
        self._away_since = self._away_since or time.monotonic()
        while not self._stopping.is_set():
            log.warning("the bridge waits for the broker: %s", error)
            if self._until_empty and time.monotonic() - self._away_since > BROKER_AWAY:
                raise OperationalError(f"{error}; nothing was carried for {BROKER_AWAY:g} s: run it again") from None
            if self._stopping.wait(next(self._pauses)):
                return
            try:
                self._open()
            except CarrierLost as again:
                error = again
            else:
                log.warning("the bridge goes on with %s", self._broker)
                return

    def _is_done(self) -> bool:
        if self._stopping.is_set():
            return True
        if not self._until_empty or self._under_way or time.monotonic() - self._last_message < QUIET:
            return False
        assert self._carrier is not None
        try:
            found = self._count(self._carrier)
        except CarrierLost as error:
            self._reopen(error)
            return False
        return not any(found["waiting"].values()) and not found["claimed"]

    def _step(self, pool: ThreadPoolExecutor) -> None:
        """Take what there is room for, settle what has ended, and wait if there was nothing to do."""
        carrier = self._carrier
        assert carrier is not None
        now = time.monotonic()
        if self._held and now - self._kept_since > KEPT_FOR:
            self._give_back_kept(carrier)
        taken = self._take(carrier)
        for message in taken:
            self._under_way += 1
            self._last_message = now
            pool.submit(self._carry, len(self._sessions), message)
        self._settle(carrier, wait=0 if taken else IDLE)
        if now - self._last_count > COUNTING:
            self._count(carrier)
            self._on_change(self.carried)

    def _take(self, carrier: Carrier) -> list[dict[str, Any]]:
        room = min(MOST_TAKEN - self._under_way, MOST_KEPT - len(self._held))
        if room <= 0 or time.monotonic() < self._pause_until:
            return []
        taken = carrier.take(room)
        if not taken and not self._under_way:  # the queues have been looked at: what was not seen again is gone
            for name in self._stale:
                self.carried.kept.pop(name, None)
            self._stale.clear()
        return taken

    def _count(self, carrier: Carrier) -> dict[str, Any]:
        self._last_count = time.monotonic()
        found = carrier.count()
        self.carried.waiting, self.carried.unacked = found["waiting"], found["unacked"]
        return found

    def _give_back_kept(self, carrier: Carrier) -> None:
        """Let Celery's workers have the messages that this bridge can't carry."""
        self._kept_since = time.monotonic()
        if self._until_empty:
            return
        self._stale |= set(self._held.values())
        carrier.give_back(list(self._held))
        self._held.clear()
        self._pause_until = self._kept_since + LEFT_ALONE

    def _settle(self, carrier: Carrier, wait: float) -> None:
        """Acknowledge or keep the messages whose starts have ended. Wait so long for the first of them."""
        ended: list[Outcome] = []
        try:
            ended.append(self._outcomes.get(timeout=wait) if wait else self._outcomes.get_nowait())
            while True:
                ended.append(self._outcomes.get_nowait())
        except queue.Empty:
            pass
        self._under_way -= len(ended)
        ours = [each for each in ended if each.session == len(self._sessions)]  # the broker gives the others again
        for each in ours:
            if each.reason:
                self._keep(each.taken, each.reason)
        done = [each for each in ours if each.is_started]
        if done:
            carrier.acknowledge([each.taken["tag"] for each in done])
            self._away_since = 0.0
            self._pauses = exponential_pauses(FIRST_REOPENING, LONGEST_REOPENING)
        self.carried.started.update(each.taken["queue"] for each in done)

    def _settle_last(self) -> None:
        assert self._carrier is not None
        try:
            self._settle(self._carrier, wait=0)
            self._count(self._carrier)
        except CarrierLost as error:
            log.warning("the bridge ends without the broker, which has the messages that were under way: %s", error)

    def _keep(self, taken: Mapping[str, Any], reason: str) -> None:
        if not self._held:
            self._kept_since = time.monotonic()
        name, text = describe(taken), one_line(reason)
        self._held[taken["tag"]] = name
        self._stale.discard(name)
        self.carried.kept[name] = text
        if self._told.is_new(name):
            log.warning("%s stays on Celery's side: %s", name, text)
        if len(self._held) >= MOST_KEPT:
            log.error("the bridge holds %d messages that it can't carry, and takes no more", MOST_KEPT)
            if self._until_empty:
                self.stop()

    # --- the server, in the pool's threads -----------------------------------------------------------------

    def _carry(self, session: int, taken: Mapping[str, Any]) -> None:
        is_started, reason = False, ""
        try:
            self._start(unit_of(self._app, BrokerCall.read(taken), self._rules), taken)
            is_started = True
        except _Stopped:
            pass
        except Exception as error:
            log.debug("%s stays", describe(taken), exc_info=True)
            reason = reason_to_keep(error)
        self._outcomes.put(Outcome(session, taken, is_started, reason))

    def _start(self, unit: Unit, taken: Mapping[str, Any]) -> None:
        """Start the workflow of a message, or find that the server has it. Wait while the server is away."""
        pauses = exponential_pauses(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                return self._app.dispatcher.send([unit])
            except OperationalError as error:
                if error.__cause__ is not None and _is_refused(error.__cause__):
                    raise CantCarry(f"the server refuses it: {error}") from None
                waits.say(
                    "%d starts failed, and wait for the server; the last: %s: %s", describe(taken), one_line(error)
                )
            if self._stopping.wait(next(pauses)):
                raise _Stopped


def reason_to_keep(error: Exception) -> str:
    """Return what is wrong with a message: also with one that a decoder or the planner was not ready for."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, CeleryError) and str(error):  # an id, a queue or a size that the server or we refuse
        return str(error)
    return f"{type(error).__name__}: {error}"


def _is_refused(error: BaseException) -> bool:
    """Return whether the server will never take this message. Without its rights or its namespace, it takes none."""
    return isinstance(error, RPCError) and error.status is RPCStatusCode.INVALID_ARGUMENT and not is_transient(error)


class _Stopped(Exception):
    """The bridge ends while a message waits for the server."""
