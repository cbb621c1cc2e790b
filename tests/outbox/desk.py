"""An application whose tasks leave receipts, and a way to run a task as a worker's pool does, without a server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import psycopg.errors
import transaction
import zope.sqlalchemy
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, event, func, insert, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from pyramid_temporal_compat import Celery, shared_task
from pyramid_temporal_compat.client.attempt_counts import AttemptCounts
from pyramid_temporal_compat.exceptions import Ignore
from pyramid_temporal_compat.outbox import metadata as our_tables
from pyramid_temporal_compat.outbox import receipts
from pyramid_temporal_compat.payload.serializers import deserialize
from pyramid_temporal_compat.task.call_options import make_message
from pyramid_temporal_compat.worker.job import Job
from pyramid_temporal_compat.worker.outcome import Outcome, Succeeded
from pyramid_temporal_compat.worker.runner import Runner
from tests.worker.shop import gates, main, seen

NAMESPACE = "default"
DBSession = scoped_session(sessionmaker(twophase=True))
"""A scoped session, one for each thread, which is found by its name. Here with two-phase commits."""
zope.sqlalchemy.register(DBSession)
metadata = MetaData()
effects = Table(
    "effects",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", String(200), nullable=False),
    Column("once", String(200), unique=True),
)


def threads_own(request: Any) -> Any:
    """For an application whose sessions take part in thread-local transactions."""
    return transaction.manager


class Desk:
    """The application and its database."""

    def __init__(self, database_url: str, **settings: str) -> None:
        settings = {
            "pyramid.includes": "pyramid_tm pyramid_temporal_compat",
            "tm.manager_hook": "pyramid_tm.explicit_manager",
            "sqlalchemy.url": database_url,
            "ptemporal.outbox": "dbsession",
            "ptemporal.receipts": "true",
            **settings,
        }
        self.app = Celery("desk")
        self.registry = main({}, **settings).registry
        self.engine = self.registry["engine"]
        metadata.create_all(self.engine)
        our_tables.create_all(self.engine)

    def job(self, task: Any, *args: Any, task_id: str = "task-1", options: Any = (), **how: Any) -> Job:
        message = make_message(self.app, task.name, args, {}, {"task_id": task_id, **dict(options)}, task)
        place = {"workflow_id": task_id, "namespace": NAMESPACE, "run_id": "run-1"}
        return Job(message, AttemptCounts(), "worker@test", **{**place, **how})

    def run(self, job: Job) -> Outcome:
        return Runner(self.app)(job, Control())

    def begin(self, job: Job) -> Future[Outcome]:
        """Run the function on a thread."""
        future: Future[Outcome] = Future()

        def work() -> None:
            try:
                future.set_result(self.run(job))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future

    def texts(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.scalars(select(effects.c.text).order_by(effects.c.id)))

    def receipts(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.scalars(select(receipts.c.task_id).order_by(receipts.c.task_id)))

    def count(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(receipts)) or 0)

    def close(self) -> None:
        self.app.close()
        self.engine.dispose()
        seen.clear()
        gates.clear()


class Control:
    """A pool's control object for a run that nothing interrupts."""

    def note(self, value: Any) -> None:
        pass

    def interruptible(self, function: Callable[[], Any]) -> Any:
        return function()


def value_of(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return deserialize(outcome.result, ["json"])


def commit_that_reports_an_error(session: Session, error: Exception) -> None:
    """Make the session's commit raise after it is done, as if the connection was cut before the reply."""

    @event.listens_for(session, "after_commit")
    def after_commit(session: Session) -> None:
        raise error


# --- tasks -------------------------------------------------------------------------------------------


def write(task: Any, text: str, once: str | None = None) -> None:
    session = task.pyramid_request.dbsession
    session.execute(insert(effects).values(text=text, once=once))
    zope.sqlalchemy.mark_changed(session, transaction_manager=task.pyramid_request.tm)


@shared_task(bind=True)
def writes(self: Any, text: str) -> dict[str, Any]:
    seen["called"].append(text)
    write(self, text)
    return {"text": text, "run": len(seen["called"])}


@shared_task(bind=True)
def writes_for_a_tenant(self: Any, text: str) -> None:
    session = self.pyramid_request.dbsession
    session.connection(execution_options={"schema_translate_map": {None: "tenant"}})
    writes.run(text)


@shared_task(bind=True)
def writes_in_another_session(self: Any, text: str, both: bool) -> None:
    other = sessionmaker(bind=self.pyramid_request.dbsession.get_bind())()
    zope.sqlalchemy.register(other, transaction_manager=self.pyramid_request.tm)
    other.execute(insert(effects).values(text=f"{text} in the other"))
    zope.sqlalchemy.mark_changed(other, transaction_manager=self.pyramid_request.tm)
    if both:
        write(self, text)


@shared_task(bind=True)
def writes_in_two_databases(self: Any, text: str) -> None:
    seen["called"].append(text)
    write(self, text)
    session = self.pyramid_request.dbsession
    session.connection(bind_arguments={"bind": create_engine(session.get_bind().url, poolclass=NullPool)})


@shared_task
def writes_in_two_phases(text: str) -> int:
    seen["called"].append(text)
    session = DBSession()
    session.execute(insert(effects).values(text=text))
    zope.sqlalchemy.mark_changed(session)
    return len(seen["called"])


@shared_task(bind=True)
async def writes_as_coroutine(self: Any, text: str) -> int:
    seen["called"].append(text)
    write(self, text)
    return len(seen["called"])


@shared_task(bind=True)
def writes_at_a_gate(self: Any, text: str, gate: str) -> str:
    gates[gate].pass_through()
    write(self, text)
    return gate


@shared_task(bind=True)
def fails_at_a_gate(self: Any, text: str, gate: str) -> str:
    gates[gate].pass_through()
    if gate == "second":
        raise LookupError("what the first has done is in its way")
    write(self, text)
    return gate


@shared_task(bind=True)
def reads(self: Any) -> int:
    return len(list(self.pyramid_request.dbsession.scalars(select(effects.c.text))))


@shared_task
def touches_nothing() -> str:
    return "done"


@shared_task(bind=True, max_retries=3)
def ends_as(self: Any, how: str) -> Any:
    write(self, how)
    if how == "failure":
        raise LookupError(how)
    if how == "retry":
        raise self.retry(countdown=0)
    if how == "ignore":
        raise Ignore
    if how == "too large":
        return "x" * 3_000_000
    if how == "doomed":
        self.pyramid_request.tm.doom()
    return how


@shared_task(bind=True)
def commits_itself(self: Any, text: str) -> str:
    seen["called"].append(text)
    manager = self.pyramid_request.tm
    write(self, text)
    manager.commit()
    manager.begin()
    return text


@shared_task(bind=True)
def is_replaced(self: Any, text: str) -> Any:
    seen["called"].append(text)
    write(self, text)
    return self.replace(writes.s(f"instead of {text}"))


@shared_task(bind=True, ignore_result=True)
def forgets(self: Any, text: str) -> object:
    write(self, text)
    return object()


@shared_task(bind=True)
def commit_reply_is_lost(self: Any, text: str, error: str) -> str:
    seen["called"].append(text)
    write(self, text)
    original = psycopg.errors.SerializationFailure() if error == "retryable" else ConnectionError("cut")
    commit_that_reports_an_error(self.pyramid_request.dbsession, OperationalError("COMMIT", {}, original))
    return text
