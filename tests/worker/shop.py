"""A small Pyramid application whose tasks the tests run, and a worker for it on a thread of this process."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections import defaultdict
from typing import Any

import sqlalchemy
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.threadlocal import get_current_request
from sqlalchemy import DDL, Column, Integer, String, Text, create_engine, delete, event, select
from sqlalchemy.orm import declarative_base, sessionmaker
from temporalio.api.enums.v1 import EventType

from pyramid_temporal_compat import Celery, shared_task
from pyramid_temporal_compat.app import APP_KEY
from pyramid_temporal_compat.worker.worker import Worker
from tests.parts import add_session

Base: Any = declarative_base()  # as SQLAlchemy 1.4 has it too


class Line(Base):
    """A row that a task wrote."""

    __tablename__ = "lines"

    id = Column(Integer, primary_key=True)
    text = Column(Text, nullable=False)
    once = Column(String(200))


# Checked only at the commit, so that a test can make a commit fail.
UNIQUE = DDL("ALTER TABLE lines ADD UNIQUE (once) DEFERRABLE INITIALLY DEFERRED")
event.listen(Line.__table__, "after_create", UNIQUE.execute_if(dialect="postgresql"))


class Account(Base):
    __tablename__ = "accounts"

    id = Column(String(200), primary_key=True)
    balance = Column(Integer, nullable=False)


class ShopRequest(Request):
    """The application's own request factory."""


def models(config: Any) -> None:
    settings = config.get_settings()
    url = settings["sqlalchemy.url"]
    # SQLAlchemy 1.4 has no pool for the files of SQLite, whose connections stay on their thread.
    has_pool = not url.startswith("sqlite") or sqlalchemy.__version__ >= "2"
    pool = {"pool_size": int(settings.get("shop.pool_size", 30))} if has_pool else {}
    engine = create_engine(url, **pool)
    add_session(config, engine)
    config.add_request_method(lambda request: object(), "token", reify=True)
    config.add_request_method(lambda request, name: f"hello {name}", "greet")


def main(global_config: Any, **settings: Any) -> Any:
    """Make the application, as an ini file does."""
    with Configurator(settings=settings) as config:
        config.set_request_factory(ShopRequest)
        config.include(models)
        return config.make_wsgi_app()


class Shop:
    """The application, its database, and its tasks' queue."""

    def __init__(self, address: str, database_url: str, **settings: str) -> None:
        self.queue = f"shop-{uuid.uuid4().hex[:8]}"
        self.settings = {
            "pyramid.includes": "pyramid_tm pyramid_temporal_compat",
            "tm.manager_hook": "pyramid_tm.explicit_manager",
            "sqlalchemy.url": database_url,
            "ptemporal.address": address,
            "celery.task_default_queue": self.queue,
            **settings,
        }
        self.app = Celery("shop")
        self.registry = main({}, **self.settings).registry
        assert self.registry[APP_KEY] is self.app
        self.engine = self.registry["engine"]
        Base.metadata.create_all(self.engine)

    def session(self) -> Any:
        return sessionmaker(bind=self.engine)()

    def lines(self) -> list[str]:
        with self.session() as session:
            return list(session.scalars(select(Line.text).order_by(Line.id)))

    def clear(self) -> None:
        with self.session() as session:
            session.execute(delete(Line))
            session.execute(delete(Account))
            session.commit()
        gates.clear()
        seen.clear()

    def close(self) -> None:
        self.app.close()
        self.engine.dispose()


class WorkerThread:
    """A worker in this process, so that a test and a task can share events."""

    def __init__(self, app: Celery, queue: str, *more: str, **options: Any) -> None:
        self.worker = Worker(app, queues=[queue, *more], **{"concurrency": 8, "pool": "threads", **options})
        self._ready = threading.Event()
        self.worker.on_ready = self._ready.set
        self._loop: asyncio.AbstractEventLoop | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"worker-{queue}")

    def __enter__(self) -> WorkerThread:
        self._thread.start()
        assert self._ready.wait(60), self.error
        return self

    def __exit__(self, *exc: object) -> None:
        self.call(self.worker.stop)
        self._thread.join(60)
        assert not self._thread.is_alive(), "the worker did not stop"
        if self.error is not None:
            raise self.error

    def call(self, function: Any) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.error = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.worker.pool.start()
        try:
            await self.worker.serve()
        finally:
            self.worker.pool.kill()


# --- what a test and a task of this process share ------------------------------------------------------


class Gate:
    """A place where a task waits: the test learns that the task has reached it, and lets it go on."""

    def __init__(self) -> None:
        self._reached = threading.Semaphore(0)
        self._open = threading.Event()

    def reached(self, times: int = 1) -> None:
        for _ in range(times):
            assert self._reached.acquire(timeout=60), "the task did not get here"

    def open(self) -> None:
        self._open.set()

    def pass_through(self) -> None:
        self._reached.release()
        while not self._open.wait(0.01):  # in short steps, because a stop is raised between two steps
            pass


class Gates(dict[str, Gate]):
    """Gates by name. The test and the task, on two threads, get the same gate."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def __missing__(self, name: str) -> Gate:
        with self._lock:
            return self.setdefault(name, Gate())


gates = Gates()
seen: dict[str, list[Any]] = defaultdict(list)


def write(text: str, once: str | None = None) -> None:
    get_current_request().dbsession.add(Line(text=text, once=once))


# --- tasks that several files use ----------------------------------------------------------------------


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def note(text: str) -> None:
    write(text)


@shared_task
def waits_at(gate: str) -> str:
    write(f"at {gate}")
    gates[gate].pass_through()
    return "done"


def describe(shop: Shop, task_id: str) -> Any:
    """Return the server's description of a task's workflow."""

    async def ask(client: Any) -> Any:
        return await client.get_workflow_handle(task_id).describe()

    return shop.app.temporal.call(ask, 20)


def events(shop: Shop, task_id: str) -> list[Any]:
    """Return the events of a task's history."""

    async def ask(client: Any) -> Any:
        return (await client.get_workflow_handle(task_id).fetch_history()).events

    return list(shop.app.temporal.call(ask, 20))


def event_names(shop: Shop, task_id: str) -> list[str]:
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in events(shop, task_id)]


@shared_task
def waits_for_file(started: str, go: str) -> int:
    """A gate for a worker in another process: one file says that the task has begun, another file that it may end."""
    write("waited")
    with open(started, "a") as file:
        file.write("x")
    while not os.path.exists(go):
        time.sleep(0.01)
    return os.getpid()


@shared_task(acks_late=False)
def waits_for_file_at_most_once(started: str, go: str) -> int:
    return waits_for_file(started, go)
