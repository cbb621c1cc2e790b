"""Tasks of the test application `Shop` with an outbox."""

from __future__ import annotations

import threading

from pyramid_temporal_compat import shared_task
from tests.worker.shop import note, write


@shared_task
def asks_for_notes(texts: list[str], fail: bool = False) -> None:
    for text in texts:
        note.delay(text)
    if fail:
        raise ValueError("told to")


@shared_task
def notes_threads() -> None:
    write(",".join(sorted(thread.name for thread in threading.enumerate())))
