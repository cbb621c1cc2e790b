"""The application that the fault suite breaks: orders in a database, a task for each, and what each task did.

`promised` is written by the request's own transaction, so it holds exactly the tasks that were committed. `effects` is
written by the tasks. `effects` has no unique constraint, so that a task which took effect twice can be seen.

A test may order a request or a task to die at a point. Its process then dies by SIGKILL. The kill comes from a hook
that any application could have: a data manager of its own, an after-commit hook, or a receiver of a signal.
"""

from __future__ import annotations

import datetime
import logging
import os
import random
import signal
import threading
import time
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPConflict, HTTPRequestEntityTooLarge
from sqlalchemy import Column, DateTime, Integer, String, create_engine, func, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import declarative_base
from transaction.interfaces import IDataManager
from zope.interface import implementer

from pyramid_temporal_compat import chain, chord, group, shared_task, signals
from pyramid_temporal_compat.exceptions import PayloadTooLarge

from ..parts import add_session
from . import clock

log = logging.getLogger(__name__)


Base: Any = declarative_base()


class Order(Base):
    __tablename__ = "orders"
    id = Column(Integer, primary_key=True)
    kind = Column(String, nullable=False)
    at = Column(DateTime(timezone=True), nullable=False, server_default=func.now())
    """Time by the database's clock, as in `effects`."""


class Promise(Base):
    """A task that has to run, because the transaction that wrote this row has called it."""

    __tablename__ = "promised"
    task_id = Column(String, primary_key=True)
    workflow_id = Column(String, nullable=False)
    order_id = Column(Integer, nullable=False)
    effects = Column(Integer, nullable=False)
    """How many effects the task must have: 1, or 0 if it expires."""


class Effect(Base):
    __tablename__ = "effects"
    id = Column(Integer, primary_key=True)
    task_id = Column(String, index=True, nullable=False)
    order_id = Column(Integer, nullable=False)
    attempt = Column(Integer, nullable=False)
    worker = Column(String, nullable=False)
    at = Column(DateTime(timezone=True), nullable=False, server_default=func.now())


class Death(Base):
    """A task that has died at its point. A task dies only once."""

    __tablename__ = "deaths"
    task_id = Column(String, primary_key=True)


class Tally(Base):
    """Rows at which tasks conflict."""

    __tablename__ = "tallies"
    id = Column(Integer, primary_key=True)
    count = Column(Integer, nullable=False)


TALLIES = 2


# --- dying ---------------------------------------------------------------------------------------------


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_the_worker() -> None:
    """Kill the worker too: the pool's children are in the worker's process group, and nothing else is."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


@implementer(IDataManager)
class DiesInCommit:
    """A data manager that kills the process in the commit: before the session commits, or right after."""

    def __init__(self, manager: Any, sort_key: str, fall: Any) -> None:
        self.transaction_manager = manager
        self._sort_key = sort_key
        self._fall = fall

    def sortKey(self) -> str:
        return self._sort_key

    def tpc_vote(self, transaction: Any) -> None:
        self._fall()

    def abort(self, transaction: Any) -> None: ...
    def tpc_begin(self, transaction: Any) -> None: ...
    def commit(self, transaction: Any) -> None: ...
    def tpc_finish(self, transaction: Any) -> None: ...
    def tpc_abort(self, transaction: Any) -> None: ...


BEFORE_THE_SESSION, AFTER_THE_SESSION = "~a", "~z"
"""Sort keys. zope.sqlalchemy's key begins with ~sqlalchemy, and its session commits in its vote."""

BEFORE_COMMIT, AFTER_COMMIT, MID_DISPATCH, AFTER_DISPATCH = (
    "before-commit",
    "after-commit",
    "mid-dispatch",
    "after-dispatch",
)
WEB_POINTS = (BEFORE_COMMIT, AFTER_COMMIT, MID_DISPATCH, AFTER_DISPATCH)


def plan_death(request: Any, point: str, after: float) -> None:
    """Make this web process die at a point of this request's commit. `after` is seconds into the dispatch."""
    current = request.tm.get()
    if point in (BEFORE_COMMIT, AFTER_COMMIT):
        key = BEFORE_THE_SESSION if point == BEFORE_COMMIT else AFTER_THE_SESSION
        current.join(DiesInCommit(request.tm, key, die))
    elif point == MID_DISPATCH:
        # Hooks run in the order in which they were added, so this hook runs before the dispatch begins.
        current.addAfterCommitHook(lambda committed: threading.Timer(after, die).start())
    else:
        signals.after_task_publish.connect(lambda **details: die(), weak=False)


# --- the tasks -----------------------------------------------------------------------------------------

BEFORE_TASK, IN_TASK, BEFORE_TASK_COMMIT, AFTER_TASK_COMMIT, BEFORE_REPLY = (
    "before",
    "in",
    "before-commit",
    "after-commit",
    "before-reply",
)
TASK_POINTS = (BEFORE_TASK, IN_TASK, BEFORE_TASK_COMMIT, AFTER_TASK_COMMIT, BEFORE_REPLY)


def take_effect(task: Any, order_id: int) -> None:
    request = task.request
    task.pyramid_request.dbsession.add(
        Effect(
            task_id=request.id,
            order_id=order_id,
            attempt=request.retries,
            worker=f"{request.hostname} {os.getpid()}",
        )
    )


@shared_task(name="faults.effect", bind=True)
def effect(self: Any, order_id: int, seconds: float = 0, point: str = "", whole: bool = False, retries: int = 0) -> int:
    if self.request.retries < retries:
        raise self.retry(countdown=0)
    fall = (lambda: falls_once(self, die_with_the_worker if whole else die)) if point else (lambda: None)
    if point == BEFORE_TASK:
        fall()
    session = self.pyramid_request.dbsession
    take_effect(self, order_id)
    session.flush()
    if point in (BEFORE_TASK_COMMIT, AFTER_TASK_COMMIT):
        key = BEFORE_THE_SESSION if point == BEFORE_TASK_COMMIT else AFTER_THE_SESSION
        self.pyramid_request.tm.get().join(DiesInCommit(self.pyramid_request.tm, key, fall))
    elif point == IN_TASK:
        fall()
    elif point == BEFORE_REPLY:
        falls_after_the_run[self.request.id] = fall
    work(seconds)
    return order_id


def work(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(min(0.01, seconds))


@shared_task(name="faults.step", bind=True)
def step(self: Any, before: Any = None, order_id: int = 0) -> int:
    """A member of a chain or a group."""
    take_effect(self, order_id)
    return order_id


@shared_task(name="faults.spawn", bind=True)
def spawn(self: Any, order_id: int) -> None:
    """A task that calls one."""
    take_effect(self, order_id)
    called = effect.delay(order_id)
    promise(self.pyramid_request.dbsession, order_id, called.id)


@shared_task(name="faults.contend", bind=True)
def contend(self: Any, order_id: int, first: int, second: int) -> None:
    """Change two rows at the isolation level that the ini names. Other runs change them in the opposite order."""
    session = self.pyramid_request.dbsession
    take_effect(self, order_id)
    for tally in (first, second):
        session.execute(text("UPDATE tallies SET count = count + 1 WHERE id = :id"), {"id": tally})
        time.sleep(0.005)


@shared_task(name="faults.heavy", bind=True)
def heavy(self: Any, order_id: int, ballast: str) -> int:
    take_effect(self, order_id)
    return len(ballast)


@shared_task(name="faults.result", bind=True)
def result(self: Any, order_id: int, size: int) -> str:
    take_effect(self, order_id)
    return "x" * size


if os.environ.get("FAULTS_RELEASE") != "old":

    @shared_task(name="faults.new", bind=True)
    def new(self: Any, order_id: int) -> None:
        """A task that the last release did not have."""
        take_effect(self, order_id)


falls_after_the_run: dict[str, Any] = {}


@signals.task_postrun.connect(weak=False)
def fall_after_the_run(task_id: str, **details: Any) -> None:
    fall = falls_after_the_run.pop(task_id, None)
    if fall is not None:
        fall()


def falls_once(task: Any, how: Any) -> None:
    """Die, unless this task has died before. A separate transaction records the death."""
    try:
        with task.pyramid_request.registry["engine"].begin() as connection:
            connection.execute(text("INSERT INTO deaths VALUES (:id)"), {"id": task.request.id})
    except IntegrityError:
        return
    how()


# --- the views -----------------------------------------------------------------------------------------


def order(request: Any) -> dict[str, Any]:
    """Insert an order, and call its tasks in the way that `kind` names."""
    options = request.params
    if options.get("die"):
        plan_death(request, options["die"], float(options.get("after", 0)))
    new_order = Order(kind=options["kind"])
    request.dbsession.add(new_order)
    request.dbsession.flush()
    KINDS[options["kind"]](request, new_order.id)
    return {"order": new_order.id}


def promise(session: Any, order_id: int, *task_ids: str, effects: int = 1) -> None:
    for task_id in task_ids:
        workflow = task_id.rpartition("/")[0] or task_id
        session.add(Promise(task_id=task_id, workflow_id=workflow, order_id=order_id, effects=effects))


def one(request: Any, order_id: int) -> None:
    options = request.params
    arguments = {"seconds": float(options.get("seconds", 0)), "retries": int(options.get("retries", 0))}
    if options.get("point"):
        arguments |= {"point": options["point"], "whole": bool(options.get("whole"))}
    promise(request.dbsession, order_id, effect.delay(order_id, **arguments).id)


def five(request: Any, order_id: int) -> None:
    promise(request.dbsession, order_id, *(effect.delay(order_id).id for _ in range(5)))


def many(request: Any, order_id: int) -> None:
    """Call enough tasks to leave as one workflow (a bundle)."""
    promise(request.dbsession, order_id, *(effect.delay(order_id).id for _ in range(12)))


def chained(request: Any, order_id: int) -> None:
    result = chain(effect.si(order_id), step.s(order_id=order_id), step.s(order_id=order_id)).delay()
    ids = []
    while result is not None:
        ids.append(result.id)
        result = result.parent
    promise(request.dbsession, order_id, *ids)


def grouped(request: Any, order_id: int) -> None:
    result = group(step.s(None, order_id=order_id) for _ in range(3)).delay()
    promise(request.dbsession, order_id, *(child.id for child in result.results))


def crowded(request: Any, order_id: int) -> None:
    """A group that runs in slices: most members are short, each tenth takes long, and some die at their points."""
    options = request.params
    points = options["points"].split() if options.get("points") else []
    deadly = {7 + 11 * number: point for number, point in enumerate(points)}
    result = group(
        effect.si(
            order_id,
            seconds=float(options.get("seconds", 0)) if number % 10 == 5 else 0.0,
            point=deadly.get(number, ""),
            whole=bool(options.get("whole")),
        )
        for number in range(CROWD)
    ).delay()
    promise(request.dbsession, order_id, *(child.id for child in result.results))


CROWD = 100
"""Members of a group that runs in slices."""


def chorded(request: Any, order_id: int) -> None:
    result = chord(effect.si(order_id) for _ in range(2))(step.s(order_id=order_id))
    promise(request.dbsession, order_id, result.id, *(child.id for child in result.parent.results))


def spawning(request: Any, order_id: int) -> None:
    promise(request.dbsession, order_id, spawn.delay(order_id).id)


def aborted(request: Any, order_id: int) -> None:
    one(request, order_id)
    raise HTTPConflict("the view has changed its mind")


def failed(request: Any, order_id: int) -> None:
    one(request, order_id)
    raise ValueError("the view fails")


def doomed(request: Any, order_id: int) -> None:
    one(request, order_id)
    request.tm.doom()


def refused(request: Any, order_id: int) -> None:
    """A data manager that makes the commit fail."""

    def refuse() -> None:
        raise ValueError("refused in the vote")

    one(request, order_id)
    request.tm.get().join(DiesInCommit(request.tm, BEFORE_THE_SESSION, refuse))


def rolled_back(request: Any, order_id: int) -> None:
    one(request, order_id)
    with request.dbsession.begin_nested() as savepoint:
        one(request, order_id)
        savepoint.rollback()
    one(request, order_id)


def contending(request: Any, order_id: int) -> None:
    pair = [1, 2] if random.random() < 0.5 else [2, 1]
    promise(request.dbsession, order_id, contend.delay(order_id, *pair).id)


def weighty(request: Any, order_id: int) -> None:
    ballast = "x" * int(request.params["size"])
    try:
        promise(request.dbsession, order_id, heavy.delay(order_id, ballast).id)
    except PayloadTooLarge as error:
        raise HTTPRequestEntityTooLarge(str(error)) from error


def weighty_ones(request: Any, order_id: int) -> None:
    ballast = "x" * int(request.params["size"])
    promise(request.dbsession, order_id, *(heavy.delay(order_id, ballast).id for _ in range(12)))


def resulting(request: Any, order_id: int) -> None:
    called = result.delay(order_id, int(request.params["size"]))
    promise(request.dbsession, order_id, called.id, effects=int(request.params["effects"]))


def of_the_new_release(request: Any, order_id: int) -> None:
    promise(request.dbsession, order_id, new.delay(order_id).id)


def late(request: Any, order_id: int) -> None:
    """Call a task whose eta has passed, by a clock that may be wrong."""
    eta = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=float(request.params["by"]))
    promise(request.dbsession, order_id, effect.apply_async((order_id,), eta=eta).id)


def soon(request: Any, order_id: int) -> None:
    promise(request.dbsession, order_id, effect.apply_async((order_id,), countdown=float(request.params["in"])).id)


def expiring(request: Any, order_id: int) -> None:
    """Call a task that may expire before it starts. `effects` says whether it has to."""
    called = effect.apply_async((order_id,), expires=float(request.params["in"]))
    promise(request.dbsession, order_id, called.id, effects=int(request.params["effects"]))


KINDS = {
    "one": one,
    "five": five,
    "many": many,
    "chain": chained,
    "group": grouped,
    "crowd": crowded,
    "chord": chorded,
    "spawn": spawning,
    "abort": aborted,
    "fail": failed,
    "doom": doomed,
    "refuse": refused,
    "savepoint": rolled_back,
    "contend": contending,
    "heavy": weighty,
    "heavies": weighty_ones,
    "result": resulting,
    "new": of_the_new_release,
    "late": late,
    "soon": soon,
    "expire": expiring,
}


def home(request: Any) -> dict[str, Any]:
    return {"pid": os.getpid()}


# --- the application -----------------------------------------------------------------------------------


def models(config: Any) -> None:
    settings = config.get_settings()
    isolation = settings.get("faults.isolation")
    engine = create_engine(
        settings["sqlalchemy.url"],
        pool_size=20,
        pool_pre_ping=True,  # as in an application that must survive a restart of its database
        **({"isolation_level": isolation} if isolation else {}),
    )
    add_session(config, engine)


def main(global_config: Any, **settings: Any) -> Any:
    """Return the application; the ini names this function."""
    if ahead := os.environ.get("FAULTS_CLOCK"):
        clock.shift(float(ahead))
        signal.signal(signal.SIGUSR1, lambda *_: clock.shift(3600))
    with Configurator(settings=settings) as config:
        config.include(models)
        for name, view, method in (("home", home, "GET"), ("order", order, "POST")):
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name, request_method=method, renderer="json")
        return config.make_wsgi_app()
