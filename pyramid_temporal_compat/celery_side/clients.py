"""Connections to the broker and the result backend of a Celery application. The clients are extras."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from ..celery_names.urls import parse_url, sanitize_url, url_to_parts
from ..exceptions import ImproperlyConfigured, OperationalError

REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "unix")
AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")


def scheme_of(url: str) -> str:
    """Return the scheme of a URL. It names the kind of the broker or of the result backend."""
    return url.partition("://")[0]


def client_library(name: str, option: str) -> ModuleType:
    """Import the client of a broker or a result backend. It is an extra, so it is imported where it is needed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ImproperlyConfigured(f"{option} needs {name}: pip install 'pyramid-temporal-compat[migrate]'") from None


def unreachable(what: str, url: str, error: Exception) -> OperationalError:
    """Return the error about a broker or a result backend that does not answer."""
    return OperationalError(f"the {what} at {sanitize_url(url)} can't be read: {reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """Return an error's text in one line. An error without a text gives its class."""
    return " ".join(str(error).split()) or type(error).__name__


def redis_client(redis: ModuleType, url: str, timeout: float = 30) -> Any:
    """Return a client of the Redis that a URL of Celery names. The database is the number at its end."""
    if not url.startswith(("redis+socket://", "unix://")):
        return redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
    # redis+socket:///path?virtual_host=1
    parts = url_to_parts(url)
    database = int(parts.query.get("virtual_host") or parts.query.get("db") or 0)
    path = url.partition("://")[2].partition("?")[0]
    return redis.Redis(unix_socket_path=path, db=database, password=parts.password, socket_timeout=timeout)


def amqp_connection(amqp: ModuleType, url: str, timeout: float = 30, **options: Any) -> Any:
    """Return a connection to the broker that a URL of Celery names. It is not open yet."""
    parts = parse_url(url)
    return amqp.Connection(
        host=f"{parts['hostname'] or 'localhost'}:{parts['port'] or (5671 if url.startswith('amqps') else 5672)}",
        userid=parts["userid"] or "guest",
        password=parts["password"] or "guest",
        virtual_host=parts["virtual_host"] or "/",
        ssl=parts.get("ssl") or url.startswith("amqps"),
        connect_timeout=timeout,
        read_timeout=timeout,
        **options,
    )
