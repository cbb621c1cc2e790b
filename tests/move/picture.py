"""The live picture: both sides' queues in the terminal, drawn again and again in one place.

Without a terminal, only what happens is printed, a line each.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from temporalio.client import Client

from .application import QUEUES
from .brokers import waiting
from .ledger import NEW, OLD
from .scene import Scene

EVERY = 0.7
"""Seconds between two drawings."""
BAR = 22
SHOWN_EVENTS = 4
UP, CLEAR = "\x1b[{}F", "\x1b[K"
COUNTS = """
    SELECT p.queue, e.release, count(*) FROM promised p LEFT JOIN effects e ON e.task_id = p.task_id GROUP BY 1, 2
"""


@dataclass(frozen=True)
class Look:
    """Both sides' queues at one moment."""

    waiting: Mapping[str, int] = field(default_factory=dict)
    """Messages in Celery's broker."""
    open: Mapping[str, int] = field(default_factory=dict)
    """Open workflows in Temporal."""
    tasks: Mapping[tuple[str, str | None], int] = field(default_factory=dict)
    """Tasks by queue and by the release that ran them. A task that has not run yet has None."""

    def ran(self, release: str) -> int:
        return sum(count for (_, by), count in self.tasks.items() if by == release)


def look(scene: Scene) -> Look:
    """Ask the database, the broker and the Temporal server."""
    with scene.connect() as connection:
        tasks = {(queue, by): count for queue, by, count in connection.execute(COUNTS).fetchall()}
    return Look(waiting(scene.broker, QUEUES), asyncio.run(open_workflows(scene.server.address)), tasks)


async def open_workflows(address: str) -> dict[str, int]:
    client = await Client.connect(address)
    questions = (client.count_workflows(f"TaskQueue='{queue}' AND ExecutionStatus='Running'") for queue in QUEUES)
    return {queue: found.count for queue, found in zip(QUEUES, await asyncio.gather(*questions), strict=True)}


class Picture:
    """Tells what happens, and draws the queues if stdout is a terminal. It draws on a thread of its own."""

    def __init__(self, heading: str, *, drawn: bool) -> None:
        self._heading = heading
        self._is_drawn = drawn and sys.stdout.isatty()
        self._began = time.monotonic()
        self._day = ""
        self._events: list[str] = []
        self._kills: Counter[str] = Counter()
        self._height = 0
        self._over = threading.Event()

    def day(self, text: str) -> None:
        """Tell that a step of the move begins."""
        self._day = text
        self._tell(text)

    def kill(self, name: str) -> None:
        self._kills[name] += 1
        self._tell(f"  kill -9: {name}")

    def note(self, text: str) -> None:
        self._tell(f"  {text}")

    def _tell(self, text: str) -> None:
        line = f"{time.monotonic() - self._began:6.1f} s  {text}"
        self._events = [*self._events, line][-SHOWN_EVENTS:]
        if not self._is_drawn:
            print(line, flush=True)

    @contextlib.contextmanager
    def of(self, scene: Scene) -> Iterator[None]:
        """Draw a scene until the end of the `with` block."""
        if not self._is_drawn:
            yield
            return
        thread = threading.Thread(target=self._draw_all, args=(scene,), name="picture", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _draw_all(self, scene: Scene) -> None:
        while not self._over.wait(EVERY):
            with contextlib.suppress(Exception):  # a part that is just being killed; the next look sees it again
                self._draw(self._lines(scene, look(scene)))

    def _draw(self, lines: Sequence[str]) -> None:
        width = shutil.get_terminal_size().columns - 1
        up = UP.format(self._height) if self._height else ""
        sys.stdout.write(up + "".join(f"{line[:width]}{CLEAR}\n" for line in lines))
        sys.stdout.flush()
        self._height = len(lines)

    def _lines(self, scene: Scene, seen: Look) -> list[str]:
        most = max([20, *seen.waiting.values(), *seen.open.values()])
        head = f"  {'queue':8} {'in the broker':{BAR}}      {'Temporal':{BAR}}      {'ran: Celery':>11} {'Temporal':>8}"
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self._kills.items())) or "nothing yet"
        releases = ", ".join("Celery" if release == OLD else "Temporal" for release in scene.web_releases)
        return [
            self._heading,
            f"  {self._day}",
            "",
            head,
            *(self._queue(scene, queue, seen, most) for queue in QUEUES),
            "",
            f"  web processes call: {releases}",
            f"  committed {sum(seen.tasks.values())}, ran in Celery {seen.ran(OLD)}, in Temporal {seen.ran(NEW)}",
            f"  killed -9: {kills}",
            "",
            *self._events,
            *[""] * (SHOWN_EVENTS - len(self._events)),
        ]

    def _queue(self, scene: Scene, queue: str, seen: Look, most: int) -> str:
        who = [*(["Celery's worker"] if queue in scene.celery else []), *(["bridge"] if queue in scene.bridged else [])]
        waiting, running = seen.waiting.get(queue, 0), seen.open.get(queue, 0)
        ran = [seen.tasks.get((queue, release), 0) for release in (OLD, NEW)]
        sides = f"{bar(waiting, most)} {waiting:4}  {bar(running, most)} {running:4}"
        return f"  {queue:8} {sides}  {ran[0]:11} {ran[1]:8}  {' + '.join(who)}"


def bar(count: int, most: int) -> str:
    filled = min(BAR, -(-BAR * count // most))
    return "█" * filled + "·" * (BAR - filled)
