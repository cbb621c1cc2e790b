"""Looks at what is left in a broker of Celery's: what waits in its queues, and what Celery's workers hold."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..exceptions import OperationalError
from ..message.backoff import exponential_pauses
from .carrier_process import BrokerAddress, Carrier, CarrierLost

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two counts."""
ASK = 10.0
"""Seconds between two questions to Celery's workers, which take some seconds each."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two attempts to open a broker that has gone away."""


@dataclass(frozen=True)
class WorkerTasks:
    """What one of Celery's workers holds: tasks that run, tasks that it has fetched, and tasks with an ETA."""

    tasks: int
    farthest: str | None


@dataclass(frozen=True)
class Left:
    """What is left in a broker."""

    waiting: Mapping[str, int]
    """By queue."""
    unacked: int = 0
    """What workers hold, as Redis counts it."""
    claimed: int = 0
    """What a bridge holds; known on Redis."""
    farthest: str | None = None
    """The farthest ETA of what workers hold."""
    visibility_timeout: float | None = None
    """Seconds after which Redis' messages come back that a worker holds; known on Redis."""
    workers: Mapping[str, WorkerTasks] = field(default_factory=dict)

    @property
    def held(self) -> int:
        """How many messages workers hold. A running task may be acknowledged, and a killed worker answers nothing."""
        return max(self.unacked, sum(each.tasks for each in self.workers.values()))

    @property
    def total(self) -> int:
        return sum(self.waiting.values()) + self.held + self.claimed

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        return {
            "waiting": dict(self.waiting),
            "held_by_workers": self.held,
            "held_by_bridges": self.claimed,
            "farthest_eta": self.farthest,
            "visibility_timeout": self.visibility_timeout,
            "workers": {name: {"tasks": each.tasks, "eta": each.farthest} for name, each in self.workers.items()},
            "left": self.total,
        }


class Drain:
    """Looks at one broker again and again. It belongs to one thread."""

    def __init__(self, broker: BrokerAddress, named: Sequence[str]) -> None:
        """
        :param named: the queues to look at, and to count held messages of. Without it, all that the broker can list.
        """
        self._broker, self._named = broker, list(named)
        self._asked = -ASK
        self._held: dict[str, Any] = {}
        self._carrier = self._open()

    def look(self) -> Left:
        """Return what is left now. Ask the workers again if their last answers are old, or if nothing else is left."""
        found = self._carrier.count()
        is_late = time.monotonic() - self._asked > ASK
        if is_late or (not any(found["waiting"].values()) and not found["claimed"] and self._held_now()):
            self._held = self._carrier.held()
            self._asked = time.monotonic()
        workers = {name: self._of_worker(told) for name, told in self._held["workers"].items()}
        etas = [self._held.get("farthest"), *(each.farthest for each in workers.values())]
        unacked = self._of_queues(self._held["by_queue"]) if "by_queue" in self._held else 0
        return Left(
            found["waiting"],
            min(unacked, found["unacked"]),
            found["claimed"],
            max((eta for eta in etas if eta), default=None),
            self._held.get("visibility_timeout"),
            {name: each for name, each in workers.items() if each.tasks},
        )

    def wait(self, on_look: Callable[[Left], None]) -> Left:
        """Look until nothing is left. A broker that goes away for a while only takes longer."""
        pauses = exponential_pauses(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                left = self.look()
            except CarrierLost as error:
                log.warning("waiting for the broker: %s", error)
                self.close()
                time.sleep(next(pauses))
                try:
                    self._carrier = self._open()
                except OperationalError:
                    continue
                pauses = exponential_pauses(FIRST_PAUSE, LONGEST_PAUSE)
                continue
            on_look(left)
            if not left.total:
                return left
            time.sleep(LOOK)

    def close(self) -> None:
        self._carrier.close()

    def _open(self) -> Carrier:
        carrier = Carrier(self._broker, self._named)
        if missing := carrier.unknown if self._named else ():
            carrier.close()
            raise carrier.no_such_queue(missing)
        return carrier

    def _held_now(self) -> int:
        """Return how many messages the last answers told of."""
        told = [self._held.get("by_queue", {}), *(each["by_queue"] for each in self._held.get("workers", {}).values())]
        return sum(map(self._of_queues, told))

    def _of_worker(self, told: Mapping[str, Any]) -> WorkerTasks:
        return WorkerTasks(self._of_queues(told["by_queue"]), told["farthest"])

    def _of_queues(self, by_queue: Mapping[str, int]) -> int:
        """Return how many of these messages are of the named queues, or of a queue that is not known."""
        return sum(number for name, number in by_queue.items() if not self._named or name in ("", *self._named))
