"""What a worker process remembers of revoked tasks, and counts: Celery's `celery.worker.state`.

Of the process, as Celery has it, so that what was revoked in one worker of a process is so in all of them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from ..lists import as_list

REVOKES_MAX = 50_000
REVOKE_EXPIRES = 10_800.0
"""Seconds that a revoked id is remembered."""


class LimitedSet:
    """Ids, the oldest first; those that are too many or too old are forgotten."""

    def __init__(self, maxlen: int = REVOKES_MAX, expires: float = REVOKE_EXPIRES) -> None:
        self.maxlen = maxlen
        self.expires = expires
        self._added: dict[str, float] = {}

    def add(self, item: str) -> None:
        self._added.pop(item, None)
        self._added[item] = time.monotonic()
        self.purge()

    def update(self, items: Iterable[str]) -> None:
        for item in items:
            self.add(item)

    def discard(self, item: str) -> None:
        self._added.pop(item, None)

    def purge(self) -> None:
        oldest = time.monotonic() - self.expires
        while self._added:
            item = next(iter(self._added))
            if len(self._added) <= self.maxlen and self._added[item] >= oldest:
                return
            del self._added[item]

    def clear(self) -> None:
        self._added.clear()

    def __contains__(self, item: object) -> bool:
        return item in self._added

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._added))

    def __len__(self) -> int:
        return len(self._added)


revoked = LimitedSet()
revoked_beforehand = LimitedSet()
"""What the server remembers: not this worker's to tell others of."""
revoked_stamps: dict[str, list[Any]] = {}
total_count: Counter[str] = Counter()
"""How many tasks of each name this process has taken."""


def revoke_stamps(headers: Mapping[str, Any]) -> None:
    """Remember the stamps, the last `REVOKES_MAX` of each header."""
    for header, stamps in headers.items():
        known = {_key(stamp): stamp for stamp in [*revoked_stamps.get(header, ()), *as_list(stamps)]}
        revoked_stamps[header] = list(known.values())[-REVOKES_MAX:]


def _key(stamp: Any) -> Any:
    """What a stamp is told from others by, in a dict: with many, a search through a list takes minutes."""
    return (type(stamp), stamp) if isinstance(stamp, Hashable) else repr(stamp)


def matching_stamps(headers: Mapping[str, Any], stamps: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The stamps of a task that are among `headers`."""
    found = {
        header: [stamp for stamp in as_list(stamps[header]) if stamp in as_list(revoked)]
        for header, revoked in headers.items()
        if header in stamps
    }
    return {header: matched for header, matched in found.items() if matched}
