"""Asks Celery's workers which tasks they hold. It runs in the carrier, with the real kombu."""

from __future__ import annotations

import importlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

WAIT = 1.5
"""Seconds in which a worker may answer."""
QUESTIONS = ("scheduled", "reserved", "active")


def ask_workers(connection: Any) -> dict[str, Any]:
    """Return for each worker that answers how many tasks it holds, by queue, and the farthest ETA of them."""
    kombu: Any = importlib.import_module("kombu.pidbox")  # the bridge's own process must not import it

    found: dict[str, Any] = defaultdict(lambda: {"by_queue": Counter(), "farthest": None})
    with connection.clone() as own:
        mailbox = kombu.Mailbox("celery", type="fanout", connection=own, accept=["json"])
        for question in QUESTIONS:
            for reply in mailbox.multi_call(question, timeout=WAIT) or ():
                for worker, tasks in reply.items():
                    if isinstance(tasks, list):
                        _add(found[worker], tasks)
    return dict(found)


def _add(known: dict[str, Any], tasks: Iterable[Any]) -> None:
    for told in tasks:
        # A task with an ETA is told as {"eta": …, "request": {…}}, and the others as the request alone.
        eta, request = told.get("eta"), told.get("request") or told
        known["by_queue"][str((request.get("delivery_info") or {}).get("routing_key") or "")] += 1
        if isinstance(eta, str):
            known["farthest"] = max(eta, known["farthest"] or eta)
