"""The application that moves: orders in a database, tasks for each order, and a ledger of what ran.

The same code is both releases. `release` is the module that differs: `old_release` has real Celery and the glue that
a Pyramid application needs for it, and `new_release` has this package. The variable MOVE_RELEASE chooses.

The ledger has three tables:

- `promised` has a row for each committed task. The transaction that calls the task writes it.
- `begun` has a row for each attempt of a task. The attempt writes it at its start, in a transaction of its own.
- `effects` has a row for each run that has committed. It has no unique constraint, so a second run can be seen.
"""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPConflict
from sqlalchemy import Boolean, Column, DateTime, Integer, String, create_engine, func, insert, update
from sqlalchemy.orm import declarative_base

from ..parts import add_session

RELEASE = os.environ.get("MOVE_RELEASE", "new")
QUEUES = ("items", "reports")
RETRIES = 2

release: Any = importlib.import_module(f"tests.move.{RELEASE}_release")
Base: Any = declarative_base()


class Order(Base):
    __tablename__ = "orders"
    id = Column(Integer, primary_key=True)
    kind = Column(String, nullable=False)


class Promise(Base):
    __tablename__ = "promised"
    task_id = Column(String, primary_key=True)
    order_id = Column(Integer, index=True, nullable=False)
    queue = Column(String, nullable=False)
    kind = Column(String, nullable=False)
    release = Column(String, nullable=False)
    """The release that has called the task."""
    sent = Column(Boolean, nullable=False)
    """Whether Celery's broker has the task. False if the process died between the commit and the end of the publish.

    The new release has an outbox in the same transaction, so its tasks count as sent.
    """
    at = Column(DateTime(timezone=True), nullable=False, server_default=func.now())


class OfAttempt:
    """The columns that say which attempt of which task has written a row."""

    id = Column(Integer, primary_key=True)
    task_id = Column(String, index=True, nullable=False)
    order_id = Column(Integer, nullable=False)
    attempt = Column(Integer, nullable=False)
    release = Column(String, nullable=False)


class Begin(OfAttempt, Base):
    __tablename__ = "begun"
    pid = Column(Integer, nullable=False)
    at = Column(DateTime(timezone=True), nullable=False, server_default=func.now())


class Effect(OfAttempt, Base):
    __tablename__ = "effects"


# --- the tasks -----------------------------------------------------------------------------------------


def begin(task: Any, order_id: int) -> dict[str, Any]:
    """Record that an attempt has begun, in a transaction of its own."""
    row = {
        "task_id": task.request.id,
        "order_id": order_id,
        "attempt": task.request.retries or 0,
        "release": RELEASE,
    }
    with task.pyramid_request.registry["engine"].begin() as connection:
        connection.execute(insert(Begin), {**row, "pid": os.getpid()})
    return row


def take_effect(task: Any, order_id: int, seconds: float = 0) -> None:
    row = begin(task, order_id)
    time.sleep(seconds)
    task.pyramid_request.dbsession.add(Effect(**row))


@release.shared_task(name="move.effect", bind=True)
def effect(self: Any, order_id: int, seconds: float = 0) -> int:
    take_effect(self, order_id, seconds)
    return order_id


@release.shared_task(name="move.step", bind=True)
def step(self: Any, order_id: int) -> int:
    """A step of a chain. It gets the order from the step before it."""
    take_effect(self, order_id)
    return order_id


@release.shared_task(name="move.retrying", bind=True, max_retries=RETRIES)
def retrying(self: Any, order_id: int) -> int:
    """Retry, and take effect at the last attempt."""
    if (self.request.retries or 0) < RETRIES:
        begin(self, order_id)
        raise self.retry(countdown=1)
    take_effect(self, order_id)
    return order_id


@release.shared_task(name="move.spawn", bind=True)
def spawn(self: Any, order_id: int, queue: str) -> int:
    """Call a task from a task."""
    take_effect(self, order_id)
    send(self.pyramid_request, order_id, "one", effect.si(order_id).set(queue=queue), queue)
    return order_id


# --- the views -----------------------------------------------------------------------------------------


def send(request: Any, order_id: int, kind: str, signature: Any, *queues: str) -> None:
    """Call a task or a canvas when this transaction commits, and promise each of its tasks.

    :param queues: the queue of each task.
    """
    engine = request.registry["engine"]

    def mark_sent(result: Any) -> None:
        with engine.begin() as connection:
            connection.execute(update(Promise).where(Promise.task_id.in_(task_ids(result))).values(sent=True))

    result = release.send(request, signature, mark_sent)
    for task_id, queue in zip(task_ids(result), queues, strict=True):
        promise = {"task_id": task_id, "order_id": order_id, "queue": queue, "kind": kind, "release": RELEASE}
        request.dbsession.add(Promise(**promise, sent=release.HAS_OUTBOX))
    request.dbsession.flush()


def task_ids(result: Any) -> list[str]:
    """Return the ids of all tasks of a result, in their order."""
    if hasattr(result, "results"):
        return [child.id for child in result.results]
    before = task_ids(result.parent) if result.parent is not None else []
    return [*before, result.id]


def order(request: Any) -> dict[str, Any]:
    """Insert an order, and call its tasks in the way that `kind` names. The parameter `queue` names the first queue."""
    kind, queue = request.params["kind"], request.params["queue"]
    new_order = Order(kind=kind)
    request.dbsession.add(new_order)
    request.dbsession.flush()
    (other,) = set(QUEUES) - {queue}
    KINDS[kind](request, new_order.id, [queue, other, queue])
    return {"order": new_order.id}


def one(request: Any, order_id: int, queues: list[str]) -> None:
    seconds = float(request.params.get("seconds", 0))
    send(request, order_id, "one", effect.si(order_id, seconds).set(queue=queues[0]), queues[0])


def later(request: Any, order_id: int, queues: list[str]) -> None:
    options = {"queue": queues[0], "countdown": float(request.params["in"])}
    send(request, order_id, "eta", effect.si(order_id).set(**options), queues[0])


def retried(request: Any, order_id: int, queues: list[str]) -> None:
    send(request, order_id, "retry", retrying.si(order_id).set(queue=queues[0]), queues[0])


def chained(request: Any, order_id: int, queues: list[str]) -> None:
    """Call a chain whose steps change the queue. The first step waits, so that messages hold the rest of a chain."""
    first, second, third = queues
    steps = (
        effect.si(order_id).set(queue=first, countdown=float(request.params["in"]) / 2),
        step.s().set(queue=second),
        step.s().set(queue=third),
    )
    send(request, order_id, "chain", release.chain(*steps), *queues)


def grouped(request: Any, order_id: int, queues: list[str]) -> None:
    members = [effect.si(order_id).set(queue=queue) for queue in queues]
    send(request, order_id, "group", release.group(members), *queues)


def spawning(request: Any, order_id: int, queues: list[str]) -> None:
    send(request, order_id, "spawn", spawn.si(order_id, queues[1]).set(queue=queues[0]), queues[0])


def aborted(request: Any, order_id: int, queues: list[str]) -> None:
    one(request, order_id, queues)
    raise HTTPConflict("the view has changed its mind")


KINDS = {
    "one": one,
    "eta": later,
    "retry": retried,
    "chain": chained,
    "group": grouped,
    "spawn": spawning,
    "abort": aborted,
}


# --- the application -----------------------------------------------------------------------------------


def models(config: Any) -> None:
    add_session(config, create_engine(config.get_settings()["sqlalchemy.url"], pool_pre_ping=True))


def main(global_config: Any, **settings: Any) -> Any:
    """Return the application; the ini names this function."""
    with Configurator(settings=settings) as config:
        config.include(models)
        config.include(release)
        config.add_route("order", "/order")
        config.add_view(order, route_name="order", request_method="POST", renderer="json")
        return config.make_wsgi_app()
