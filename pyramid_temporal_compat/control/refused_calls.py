"""Celery's control calls that have no meaning on Temporal, and why each is refused."""

from __future__ import annotations

from typing import NoReturn

from ..exceptions import CeleryError

NO_EVENTS = (
    "Workers send no event messages, because the server records what happens to every task: see its web UI, "
    "app.control.inspect(), or the task signals."
)
UNSUPPORTED: dict[str, str] = {
    "celery.app.control.Control.enable_events": NO_EVENTS,
    "celery.app.control.Control.disable_events": NO_EVENTS,
    "celery.app.control.Control.heartbeat": (
        "Workers send no heartbeat events: app.control.ping() and `ptemporal-compat status` show which workers answer."
    ),
    "celery.app.control.Control.election": (
        "Workers hold no elections: give the task a fixed task_id, and it is started once, however many ask for it."
    ),
    "celery.app.control.Control.pool_restart": (
        "Restart the worker: its tasks finish or run again elsewhere, and none is lost."
    ),
    "celery.app.control.Control.Mailbox": (
        "Requests travel over Temporal, not through kombu's mailboxes: use app.control.broadcast()."
    ),
    "celery.app.control.Inspect.objgraph": (
        "A worker draws no graphs: attach memray or py-spy to its process (app.control.inspect().stats() has the pid)."
    ),
}


class CommandRefused(CeleryError):
    """A control call has no meaning on Temporal. The message says why, and what to use instead."""


def refuse(name: str) -> NoReturn:
    """Raise `CommandRefused` for a method of Celery's, such as `Control.election`."""
    raise CommandRefused(f"{name.rpartition('.')[2]}: {UNSUPPORTED[f'celery.app.control.{name}']}")


def sentence_of(kind: str, command: str) -> str | None:
    """Return why a command of `celery inspect` or `celery control` is refused; None if it is not."""
    return UNSUPPORTED.get(f"celery.app.control.{kind.capitalize()}.{command}")
