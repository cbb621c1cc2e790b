"""Find the SQLAlchemy session that `ptemporal.outbox` names: the outbox row is written in this session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyramid.threadlocal
from sqlalchemy import delete
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session
from zope.sqlalchemy.datamanager import (
    _SESSION_STATE,
    STATUS_CHANGED,
    STATUS_READONLY,
    SessionDataManager,
    ZopeTransactionEvents,
)

from ..exceptions import ImproperlyConfigured
from ..settings.config_objects import import_object
from ..transactions.pyramid_request import attempt
from .tables import outbox

if TYPE_CHECKING:
    from ..interfaces import AppLike


WRITES = delete(outbox)
"""A statement to ask a session for its database with: a session may send reads to a replica, and we write."""


def is_dotted(name: str) -> bool:
    """Return whether `ptemporal.outbox` is a dotted name of a session. If not, it names a request attribute."""
    return "." in name or ":" in name


def session_of(name: str, transaction: Any) -> tuple[Session, ZopeTransactionEvents]:
    """Return the session, and the zope.sqlalchemy events that join it to this transaction.

    Raises `ImproperlyConfigured` if the session is not registered with the transaction's manager, or is read-only.
    """
    manager = transaction._manager
    found = import_object(name) if is_dotted(name) else _of_a_request(name, manager)
    session = _as_session(name, found)
    events = _events(session)
    if not events:
        raise ImproperlyConfigured(
            f"ptemporal.outbox = {name}: this session takes part in no transaction; "
            "register it: zope.sqlalchemy.register(session, transaction_manager=request.tm)"
        )
    for event in events:
        if _inner(event.transaction_manager) is manager:
            if event.initial_state == STATUS_READONLY:
                raise ImproperlyConfigured(
                    f"ptemporal.outbox = {name}: this session is registered as read-only, and the outbox writes; "
                    "name a session that may write"
                )
            engine_of(name, session)
            return session, event
    raise ImproperlyConfigured(
        f"ptemporal.outbox = {name}: this session takes part in the transactions of {events[0].transaction_manager!r}, "
        f"and the call belongs to one of {manager!r}; register it with the manager of the transaction "
        "(zope.sqlalchemy.register(session, transaction_manager=request.tm)), or call the task in the session's own"
    )


def _of_a_request(name: str, manager: Any) -> Any:
    requests = [entry["request"] for entry in reversed(pyramid.threadlocal.manager.stack)]
    for request in requests:
        if _inner(getattr(request, "tm", None)) is manager:
            return _attribute(request, name)
    if any(request is not None for request in requests):
        here = "the current request's tm is another manager than the transaction's"
    else:
        here = "there is no current request"
    raise ImproperlyConfigured(
        f"ptemporal.outbox = {name} names an attribute of the request whose transaction a task is called in, and "
        f"{here}; in a script use pyramid.paster.bootstrap() and its request.tm, or name a session that needs no "
        "request, such as ptemporal.outbox = myapp.models:DBSession"
    )


def _attribute(request: Any, name: str) -> Any:
    try:
        return getattr(request, name)
    except AttributeError as error:
        raise ImproperlyConfigured(
            f"ptemporal.outbox = {name}, and requests have no attribute {name!r} ({error}); name the attribute that "
            "holds the SQLAlchemy session (config.add_request_method(..., 'dbsession', reify=True))"
        ) from error


def _as_session(name: str, found: Any) -> Session:
    if not isinstance(found, Session) and callable(found):
        found = found()  # a scoped session, a session factory, or a function of the application
    if not isinstance(found, Session):
        raise ImproperlyConfigured(
            f"ptemporal.outbox = {name} gives {found!r}, which is {type(found).__name__} and no SQLAlchemy session"
        )
    return found


def _events(session: Session) -> list[ZopeTransactionEvents]:
    owners = (getattr(listener, "__self__", None) for listener in session.dispatch.after_begin)
    return [owner for owner in owners if isinstance(owner, ZopeTransactionEvents)]


def join(session: Session, events: ZopeTransactionEvents, transaction: Any) -> None:
    """Make the session commit with the transaction.

    The application may have closed the session, or rolled it back, before it wrote anything. The session has then begun
    a new SQLAlchemy transaction, but its data manager would still commit the first one. This corrects the data manager.
    A session that had written before is left alone: its commit must fail.
    """
    events.join_transaction(session)
    if _SESSION_STATE.get(session) is STATUS_CHANGED:
        return
    for member in transaction._resources:
        if isinstance(member, SessionDataManager) and member.session is session:
            member.tx = session.get_transaction() or session.begin()


def connection_of(session: Session) -> Connection:
    """Return the connection to write the row on."""
    return session.connection(bind_arguments={"clause": WRITES})


def _inner(manager: Any) -> Any:
    return getattr(manager, "manager", manager)  # a ThreadTransactionManager wraps one manager for each thread


def engine_of(name: str, session: Session) -> Engine:
    """Return the engine of the session's database for the outbox table; `name` is the setting, for the error."""
    try:
        bind = session.get_bind(clause=WRITES)
    except UnboundExecutionError:
        raise ImproperlyConfigured(
            f"ptemporal.outbox = {name}: this session has no database for the table {outbox.name}; add it to the "
            "session's binds, as {pyramid_temporal_compat.outbox.outbox: engine}"
        ) from None
    return bind.engine if isinstance(bind, Connection) else bind


@contextlib.contextmanager
def _session_of_app(app: AppLike, name: str) -> Iterator[Session]:
    if is_dotted(name):
        yield _as_session(name, import_object(name))
        return
    with attempt(app.registry) as run:
        yield _as_session(name, _attribute(run.request, name))


def app_engine(app: AppLike) -> Engine:
    """Return the engine of the database that holds the app's outbox. It needs no current request."""
    name = app.conf["ptemporal.outbox"]
    if name is None:
        raise ImproperlyConfigured(
            "this application has no outbox; ptemporal.outbox = dbsession names the request attribute with its session"
        )
    with _session_of_app(app, name) as session:
        return engine_of(name, session)
