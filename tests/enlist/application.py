"""A small Pyramid application for the tests of enlisting. Each test passes in the body of its view."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import transaction
import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from sqlalchemy import Column, String, create_engine, select
from sqlalchemy.orm import Session, declarative_base, sessionmaker
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from webtest import TestApp

from pyramid_temporal_compat import Celery, shared_task
from pyramid_temporal_compat.app import APP_KEY
from pyramid_temporal_compat.worker.worker import Worker

View = Callable[[Any], Any]


Base: Any = declarative_base()  # as SQLAlchemy 1.4 has it too


class Item(Base):
    __tablename__ = "items"

    name = Column(String(200), primary_key=True)  # MySQL needs a length


@shared_task
def analyse(name: str = "") -> str:
    return name


@shared_task(bind=True)
def add_item(self: Any, name: str, follow_up: str, fail: bool = False) -> None:
    """Write a row, call another task, and fail if `fail` is true."""
    self.pyramid_request.dbsession.add(Item(name=name))
    analyse.apply_async(task_id=follow_up, queue=UNSERVED)
    if fail:
        raise ValueError("told to")


UNSERVED = f"unserved-{uuid.uuid4()}"
"""A queue that no worker polls: a started workflow stays as it was started."""


class Site:
    """The application and its database, with questions to the server about its tasks."""

    def __init__(self, url: str, address: str, manager: str = "explicit", **settings: str) -> None:
        self.engine = create_engine(url, pool_size=30, connect_args={"connect_timeout": 10})
        Base.metadata.create_all(self.engine)
        self.app = Celery(f"site-{manager}")
        self.explicit = manager == "explicit"
        ini = {
            "ptemporal.address": address,
            "ptemporal.bundle": "8",  # most of these tests look at the workflow of each task
            "celery.task_default_queue": UNSERVED,
            "tm.commit_veto": "pyramid_tm.default_commit_veto",
            "retry.attempts": "3",
            "tm.activate_hook": f"{__name__}.wants_transaction",
            **settings,
        }
        if self.explicit:
            ini["tm.manager_hook"] = "pyramid_tm.explicit_manager"
        # These are the settings of the ini file. Tests of the settings cover how they are read.
        with Configurator(settings=ini) as config:
            for package in ("pyramid_tm", "pyramid_retry", "pyramid_temporal_compat"):
                config.include(package)
            config.registry["engine"] = self.engine
            for name in ("dbsession", "other_session", "two_phase_session"):
                config.add_request_method(_session(name), name, reify=True)
            config.add_route("run", "/")
            config.add_view(lambda request: run_view(request), route_name="run")
            config.add_view(lambda error, request: Response("sorry", status=500), context=Apologised)
            self.wsgi = config.make_wsgi_app()
        assert self.wsgi.registry[APP_KEY] is self.app

    def visit(self, view: View, *, status: int = 200, **environ: Any) -> Any:
        """Make a request whose view is `view`. Return the view's last return value."""
        box: list[Any] = []
        TestApp(self.wsgi).post("/", extra_environ={"test.view": view, "test.box": box, **environ}, status=status)
        return box[-1] if box else None

    def has_started(self, *tasks: Any) -> bool:
        """Return whether the server has all of these tasks. Fail if it has only some of them."""
        found = self.which_started(tasks)
        assert len(set(found)) == 1, dict(zip(map(str, tasks), found, strict=True))
        return found[0]

    def which_started(self, tasks: Sequence[Any]) -> list[bool]:
        async def ask(client: Client) -> list[bool]:
            return list(await asyncio.gather(*(_is_known(client, str(task)) for task in tasks)))

        return self.app.temporal.call(ask, 30)

    def runs_of(self, task: Any) -> Any:
        async def ask(client: Client) -> Any:
            return await client.get_workflow_handle(str(task)).describe()

        return self.app.temporal.call(ask, 30)

    def has_item(self, name: str) -> bool:
        with Session(self.engine) as session:
            return session.scalar(select(Item).where(Item.name == name)) is not None

    @contextlib.contextmanager
    def script(self) -> Iterator[Any]:
        """Yield a session outside any request, on the thread-local transaction manager."""
        session = sessionmaker(self.engine)()
        zope.sqlalchemy.register(session)
        try:
            yield session
        finally:
            transaction.abort()
            session.close()

    def close(self) -> None:
        self.app.close()
        self.engine.dispose()


@contextlib.contextmanager
def serving(app: Celery, queue: str) -> Iterator[None]:
    """Run a worker of `app` for `queue` while the block runs."""
    loop = asyncio.new_event_loop()
    worker = Worker(app, queues=[queue], concurrency=2, pool="threads")
    worker.pool.start()
    thread = threading.Thread(target=loop.run_until_complete, args=(worker.serve(),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(worker.stop)
        thread.join()
        loop.close()


class Apologised(Exception):
    """An exception that has an exception view, so that the client gets a page."""


def run_view(request: Any) -> Response:
    returned = request.environ["test.view"](request)
    if isinstance(returned, Response):
        return returned
    request.environ.get("test.box", []).append(returned)
    return Response("ok")


def wants_transaction(request: Request) -> bool:
    return "test.no_transaction" not in request.environ


def _session(name: str) -> View:
    def make(request: Any) -> Session:
        session = Session(request.registry["engine"], twophase=name == "two_phase_session")
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        request.add_finished_callback(lambda _: session.close())
        return session

    return make


async def _is_known(client: Client, task_id: str) -> bool:
    try:
        await client.get_workflow_handle(task_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


class Member:
    """A data manager of the application, which fails at one stage of the commit, or does nothing."""

    def __init__(self, manager: Any, fails_at: str = "", sorts: str = "first") -> None:
        self.transaction_manager = manager
        self._fails_at = fails_at
        self._key = "\t" if sorts == "first" else "~~"

    def sortKey(self) -> str:
        return self._key

    def _stage(self, name: str) -> None:
        if name == self._fails_at:
            raise RuntimeError(f"failed at {name}")

    def abort(self, transaction: Any) -> None: ...
    def tpc_abort(self, transaction: Any) -> None: ...

    def tpc_begin(self, transaction: Any) -> None:
        self._stage("tpc_begin")

    def commit(self, transaction: Any) -> None:
        self._stage("commit")

    def tpc_vote(self, transaction: Any) -> None:
        self._stage("tpc_vote")

    def tpc_finish(self, transaction: Any) -> None:
        self._stage("tpc_finish")
