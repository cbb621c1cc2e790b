"""What a worker process knows about revoked tasks, and its counts of tasks: Celery's `celery.worker.state`.

The whole process shares this state, as in Celery: a task that is revoked in one worker is revoked in every worker of
the process.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..celery_names.lists import as_list
from ..message.message import is_name

REVOKES_MAX = 50_000
"""How many revoked ids a process remembers."""
REVOKE_EXPIRES = 10_800.0
"""Seconds for which a process remembers a revoked id."""
LONGEST_STAMP = 1000
"""Characters of a stamp that can be revoked."""
MOST_STAMPS_COMPARED = 100
"""Stamps of one header of a task that are compared with the revoked ones. A task has a few."""


class LimitedSet:
    """A set of ids, the oldest first. It forgets ids that are too old, and the oldest if there are too many."""

    def __init__(self, maxlen: int = REVOKES_MAX, expires: float = REVOKE_EXPIRES) -> None:
        self.maxlen = maxlen
        self.expires = expires
        self._added: dict[str, float] = {}

    def add(self, item: str) -> None:
        """Add an id. Ignore anything that can't be the id of a task.

        Anyone may have sent the ids. Numbers could all have the same hash, and long texts would fill the memory.
        """
        if not is_name(item):
            return
        self._added.pop(item, None)
        self._added[item] = time.monotonic()
        self.purge()

    def update(self, items: Iterable[str]) -> None:
        for item in items:
            self.add(item)

    def discard(self, item: str) -> None:
        self._added.pop(item, None)

    def purge(self) -> None:
        """Forget the ids that are too old or too many."""
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
"""Ids that control calls have revoked. A starting worker gets them from the other workers."""
revoked_on_server = LimitedSet()
"""Ids whose revocation the server remembers. Other workers read them from the server too, so none passes them on."""
revoked_stamps: dict[str, list[Any]] = {}
"""Revoked stamps, by header."""
paused_types: set[str] = set()
"""Names of tasks that must not start for now. The server has the records."""
resumed_types: set[str] = set()
"""Names of tasks that a control call has resumed since the worker last read the records."""
total_count: Counter[str] = Counter()
"""Number of tasks that this process has taken, by task name."""


def revoke_stamps(headers: Mapping[str, Any]) -> None:
    """Remember revoked stamps: the newest `REVOKES_MAX` of each header, and no more of all headers together."""
    for header, stamps in headers.items():
        if not is_name(header):
            raise ValueError(f"{header!r:.80} is no name of a header")
        known = {_key(stamp): stamp for stamp in [*revoked_stamps.get(header, ()), *as_list(stamps)]}
        revoked_stamps.pop(header, None)
        revoked_stamps[header] = list(known.values())[-REVOKES_MAX:]
    while sum(map(len, revoked_stamps.values())) > REVOKES_MAX and len(revoked_stamps) > 1:
        del revoked_stamps[next(iter(revoked_stamps))]


def _key(stamp: Any) -> tuple[type, str]:
    """Return a key for a stamp, because searching a list of many stamps takes minutes.

    The key is text: a sender can choose numbers that all have the same hash.
    """
    written = repr(stamp)
    if len(written) > LONGEST_STAMP:
        raise ValueError(f"a stamp of {len(written):,} characters can't be revoked: {LONGEST_STAMP:,} are allowed")
    return type(stamp), written


def matching_stamps(headers: Mapping[str, Any], stamps: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the stamps of a task that are among the revoked stamps in `headers`."""
    found = {
        header: [stamp for stamp in as_list(stamps[header])[:MOST_STAMPS_COMPARED] if stamp in as_list(revoked)]
        for header, revoked in headers.items()
        if header in stamps
    }
    return {header: matched for header, matched in found.items() if matched}
