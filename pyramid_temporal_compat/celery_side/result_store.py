"""Read what Celery has written into its result backend about a task: in Redis, or in a database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from ..celery_names.urls import sanitize_url
from ..exceptions import ContentDisallowed, ImproperlyConfigured, OperationalError
from ..payload.serializers import find, plain_pickle
from ..payload.types import Unreadable, loads
from .clients import REDIS_SCHEMES, client_library, redis_client, scheme_of, unreachable

KEY = "celery-task-meta-"
TABLE = "celery_taskmeta"
DATABASE = "db+"
"""The beginning of the URL of a database, before SQLAlchemy's own URL."""
ANSWER_TIMEOUT = 5.0
PICKLED = b"\x80"
"""The first byte of a pickle. No JSON begins with it."""
ENCODED = ("result", "children")
"""The columns of a database that are decoded. The arguments are encoded, too, and nobody asks for them."""


class ResultStore(Protocol):
    """A result backend of Celery's. Every thread may use it."""

    def meta(self, task_id: str) -> Mapping[str, Any] | None:
        """Return what is stored about a task, by Celery's names; None if nothing is."""


def open_store(url: str, named_by: str, accept: Collection[str]) -> ResultStore:
    """Return the result backend at `url`. `accept` names the serialisers that the application reads."""
    if scheme_of(url) in REDIS_SCHEMES:
        return RedisResults(url, accept)
    if url.startswith(DATABASE):
        return DatabaseResults(url, accept)
    raise ImproperlyConfigured(
        f"{named_by} = {sanitize_url(url)}: results of this kind can't be read; redis:// and db+…:// can"
    )


class RedisResults:
    """Results in Redis: one key for each task."""

    def __init__(self, url: str, accept: Collection[str]) -> None:
        self._url = url
        self._accept = accept
        self._redis = client_library("redis", f"reading the results at {sanitize_url(url)}")
        self._client = redis_client(self._redis, url, ANSWER_TIMEOUT)

    def meta(self, task_id: str) -> Mapping[str, Any] | None:
        try:
            raw = self._client.get(KEY + task_id)
        except self._redis.RedisError as error:
            raise unreachable("result backend", self._url, error) from error
        found = None if raw is None else decoded(raw, self._accept)
        return found if isinstance(found, Mapping) else None


class DatabaseResults:
    """Results in a table, of which Celery has two forms: with the columns of `result_extended`, and without."""

    def __init__(self, url: str, accept: Collection[str]) -> None:
        import sqlalchemy  # for applications with such a backend only: 0.2 s

        self._url = url
        self._accept = accept
        self._sqlalchemy = sqlalchemy
        try:
            self._engine = sqlalchemy.create_engine(url.removeprefix(DATABASE))
        except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
            raise unreachable("result backend", url, error) from error

    def meta(self, task_id: str) -> Mapping[str, Any] | None:
        question = self._sqlalchemy.text(f"SELECT * FROM {TABLE} WHERE task_id = :id")
        try:
            with self._engine.connect() as connection:
                row = connection.execute(question, {"id": task_id}).mappings().first()
        except self._sqlalchemy.exc.SQLAlchemyError as error:
            raise unreachable("result backend", self._url, error) from error
        if row is None:
            return None
        return {name: self._value(name, value) for name, value in row.items()}

    def _value(self, name: str, value: Any) -> Any:
        if name not in ENCODED or not isinstance(value, (bytes, memoryview)):
            return value
        return decoded(bytes(value), self._accept)


def decoded(raw: bytes, accept: Collection[str]) -> Any:
    """Return the value that Celery wrote as JSON or as a pickle.

    Older releases of Celery write a pickle into a database, also with the serialiser JSON. If the application does not
    accept pickle, such a pickle is read if it holds plain values only.
    """
    try:
        if not raw.startswith(PICKLED):
            return loads(raw)
        unpickle = find("pickle").decoder if "pickle" in accept else None
        return (unpickle or plain_pickle)(raw)
    except (Unreadable, ContentDisallowed):
        raise
    except Exception as error:
        raise OperationalError(f"a result of Celery's can't be read: {type(error).__name__}: {error}") from error
