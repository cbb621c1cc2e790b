"""`app.connection_for_write()` and similar methods: kombu's objects, on top of this process's one connection.

Applications use such a connection to check that the broker answers, to read the length of a queue, and to pass one
producer to many calls. All of this works. Sending or receiving messages of the application's own is refused.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from ..celery_names.refused import NO_BROKER, Unsupported
from ..exceptions import CeleryError, OperationalError
from ..exceptions import TimeoutError as NotInTime

if TYPE_CHECKING:
    from ..client.queues import QueueState
    from ..interfaces import AppLike

T = TypeVar("T")


class KombuObject:
    """A kombu object. Any attribute that it lacks raises `Unsupported` with the reason."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        kombu_class = type(self).__name__.removeprefix("Kombu")
        raise Unsupported(f"{kombu_class}.{name} is refused here. {NO_BROKER}")


class KombuConnection(KombuObject):
    """kombu's connection object for the Temporal server. It uses the process's connection, which `close` keeps open."""

    connection_errors = recoverable_connection_errors = (OperationalError,)
    channel_errors = recoverable_channel_errors = ()
    transport_cls = "temporal"
    userid = password = None
    heartbeat = 0

    def __init__(self, app: AppLike) -> None:
        settings = app.temporal.settings
        self._app = app
        self.hostname, _, port = settings.address.rpartition(":")
        self.port = int(port)
        self.virtual_host = settings.namespace
        self.connect_timeout = settings.connect_timeout
        self.connected = False
        """Whether the server has answered `connect`."""

    def connect(self) -> KombuConnection:
        """Ask the server once. Raises `OperationalError` if it does not answer."""
        from ..client.server_absence import check_server  # the client library: 0.4 s

        self.connected = False
        patience = self.connect_timeout
        try:
            self._app.temporal.call(lambda client: check_server(client, patience), patience)
        except NotInTime as error:
            raise OperationalError(str(error)) from error
        self.connected = True
        return self

    def ensure_connection(
        self,
        errback: Callable[[BaseException, float], Any] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2,
        interval_step: float = 2,
        interval_max: float = 30,
        callback: Callable[[], Any] | None = None,
        reraise_as_library_errors: bool = True,
        timeout: float | None = None,
    ) -> KombuConnection:
        """Ask the server until it answers, with `max_retries` retries and for at most `timeout` seconds.

        A `max_retries` of None or 0 means no limit.
        """
        until = None if timeout is None else time.monotonic() + timeout
        tried, pause = 0, interval_start
        while True:
            try:
                return self.connect()
            except OperationalError as error:
                over = until is not None and time.monotonic() + pause > until
                if over or (max_retries and tried >= max_retries):
                    raise
                if errback is not None:
                    errback(error, pause)
            if callback is not None:
                callback()
            time.sleep(pause)
            tried, pause = tried + 1, min(pause + interval_step, interval_max)

    ensure = ensure_connection

    @property
    def connection(self) -> KombuConnection:
        """Return this connection."""
        return self

    def channel(self) -> KombuChannel:
        """Return an object that answers questions about queues."""
        return KombuChannel(self._app)

    @property
    def default_channel(self) -> KombuChannel:
        """Return a channel."""
        return self.channel()

    def info(self) -> dict[str, Any]:
        """Return the parts of the server's address as kombu names them."""
        names = ("hostname", "port", "virtual_host", "userid", "transport_cls", "connect_timeout", "heartbeat")
        return {name.replace("_cls", ""): getattr(self, name) for name in names}

    def as_uri(self, include_password: bool = False, mask: str = "**", getfields: Any = None) -> str:
        """Return the address and the namespace of the server as a URI."""
        uri: str = self._app.backend.as_uri()
        return uri

    def clone(self, **kwargs: Any) -> KombuConnection:
        """Return another object for the same connection."""
        return KombuConnection(self._app)

    def release(self) -> None:
        """Forget that the server has answered: the next `connect` asks again."""
        self.connected = False

    close = collect = release

    def __enter__(self) -> KombuConnection:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Connection: {self.as_uri()}>"


class KombuChannel(KombuObject):
    """kombu's channel object: reads the length of a queue, and purges it."""

    def __init__(self, app: AppLike) -> None:
        self._app = app

    def queue_declare(self, queue: str = "", passive: bool = False, **options: Any) -> QueueState:
        """Return how many tasks wait in a queue, and how many workers serve it. No declaration is needed."""
        from ..control.waiting_tasks import queue_state  # the client library: 0.4 s

        state: QueueState = self._app.temporal.call(
            lambda client: queue_state(client, queue), self._app.conf.ptemporal_dispatch_timeout
        )
        return state

    def queue_purge(self, queue: str = "", **options: Any) -> int:
        """End the tasks that wait in a queue. Return their number."""
        from ..control.waiting_tasks import purge  # the client library, as above

        count: int = self._app.temporal.call(lambda client: purge(client, [queue]))
        return count

    def close(self) -> None:
        """Do nothing: a channel holds nothing open."""

    def __enter__(self) -> KombuChannel:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class KombuProducer(KombuObject):
    """kombu's producer object, for `apply_async(producer=…)`. All calls of a process share one connection."""

    def __init__(self, app: AppLike) -> None:
        self.connection = KombuConnection(app)
        self.channel = self.connection.default_channel

    def release(self) -> None:
        self.connection.release()

    close = release

    def __enter__(self) -> KombuProducer:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


class KombuPool(KombuObject):
    """`app.pool` and `app.producer_pool`. It gives out any number of objects, because they share one connection."""

    def __init__(self, app: AppLike, make: Callable[[AppLike], Any]) -> None:
        self._app = app
        self._make = make
        self.limit: int | None = None

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """Return a connection or producer at once."""
        return self._make(self._app)

    def release(self, resource: Any) -> None:
        """Release what `acquire` returned."""
        resource.release()

    def resize(self, limit: int | None, **options: Any) -> None:
        """Store the limit. It does nothing, because there is one connection."""
        self.limit = limit

    def force_close_all(self, close_pool: bool = True) -> None:
        """Close the process's connection. The next call connects again."""
        self._app.close()


class ConnectionMethods:
    """The methods of an app that return connections, producers and pools."""

    def connection(self: Any, hostname: str | None = None, *args: Any, **options: Any) -> KombuConnection:
        """Return a kombu connection object: `with app.connection() as c: c.ensure_connection()`."""
        if hostname:
            raise CeleryError(f"connection({hostname!r}) names a broker. {NO_BROKER}")
        return KombuConnection(self)

    def connection_for_read(self, url: str | None = None, **options: Any) -> KombuConnection:
        """Return a connection, as `connection` does."""
        return self.connection(url)

    def connection_for_write(self, url: str | None = None, **options: Any) -> KombuConnection:
        """Return a connection, as `connection` does."""
        return self.connection(url)

    broker_connection = connection

    @contextlib.contextmanager
    def connection_or_acquire(
        self, connection: Any = None, pool: bool = True, *args: Any, **options: Any
    ) -> Iterator[Any]:
        """Give the block the connection, or a new one if it is None."""
        yield connection if connection is not None else self.connection()

    default_connection = connection_or_acquire

    @contextlib.contextmanager
    def producer_or_acquire(self: Any, producer: Any = None) -> Iterator[Any]:
        """Give the block the producer, or a new one if it is None."""
        yield producer if producer is not None else KombuProducer(self)

    default_producer = producer_or_acquire

    @property
    def pool(self: Any) -> KombuPool:
        """Return a pool of connections."""
        return KombuPool(self, KombuConnection)

    @property
    def producer_pool(self: Any) -> KombuPool:
        """Return a pool of producers."""
        return KombuPool(self, KombuProducer)
