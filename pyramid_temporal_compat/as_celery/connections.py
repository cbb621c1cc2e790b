"""`app.connection_for_write()` and its like: kombu's names for the one way to the server.

Applications hold such a connection to see whether the broker is there, to ask how long a queue is, and to pass one
producer to many calls. All of that works; what sends or receives messages of an application's own does not.
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
    """Refuses, with the reason, every name of kombu's that it does not have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        kombu_class = type(self).__name__.removeprefix("Kombu")
        raise Unsupported(f"{kombu_class}.{name} is refused here. {NO_BROKER}")


class KombuConnection(KombuObject):
    """The way to the Temporal server. It is the process's own, and stays open when this lets go of it."""

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
        """Whether the server has answered here."""

    def connect(self) -> KombuConnection:
        """Ask the server once. Raises `OperationalError` if it does not answer."""
        from ..client.queues import answers  # the client library: 0.4 s

        self.connected = False
        patience = self.connect_timeout
        try:
            self._app.temporal.call(lambda client: answers(client, patience), patience)
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
        """Ask until the server answers: `max_retries` more times (None or 0: for ever), `timeout` seconds at most."""
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
        return self

    def channel(self) -> KombuChannel:
        return KombuChannel(self._app)

    @property
    def default_channel(self) -> KombuChannel:
        return self.channel()

    def info(self) -> dict[str, Any]:
        names = ("hostname", "port", "virtual_host", "userid", "transport_cls", "connect_timeout", "heartbeat")
        return {name.replace("_cls", ""): getattr(self, name) for name in names}

    def as_uri(self, include_password: bool = False, mask: str = "**", getfields: Any = None) -> str:
        uri: str = self._app.backend.as_uri()
        return uri

    def clone(self, **kwargs: Any) -> KombuConnection:
        return KombuConnection(self._app)

    def release(self) -> None:
        """Let go of it: the next `connect` asks again."""
        self.connected = False

    close = collect = release

    def __enter__(self) -> KombuConnection:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Connection: {self.as_uri()}>"


class KombuChannel(KombuObject):
    """What a channel is asked about queues."""

    def __init__(self, app: AppLike) -> None:
        self._app = app

    def queue_declare(self, queue: str = "", passive: bool = False, **options: Any) -> QueueState:
        """How many tasks wait in a queue, and how many workers serve it. It needs no declaration to be there."""
        from ..client.queues import queue_state  # the client library: 0.4 s

        state: QueueState = self._app.temporal.call(
            lambda client: queue_state(client, queue), self._app.conf.ptemporal_dispatch_timeout
        )
        return state

    def queue_purge(self, queue: str = "", **options: Any) -> int:
        """End the tasks that wait in a queue; gives their number."""
        from ..control.waiting_tasks import purge  # the client library, as above

        count: int = self._app.temporal.call(lambda client: purge(client, [queue]))
        return count

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> KombuChannel:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class KombuProducer(KombuObject):
    """What a call takes as `producer=`. It has nothing of its own: all calls of a process share one connection."""

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
    """`app.pool` and `app.producer_pool`: as many as are asked for, since each is the same connection."""

    def __init__(self, app: AppLike, make: Callable[[AppLike], Any]) -> None:
        self._app = app
        self._make = make
        self.limit: int | None = None

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        return self._make(self._app)

    def release(self, resource: Any) -> None:
        resource.release()

    def resize(self, limit: int | None, **options: Any) -> None:
        """There is one connection whatever the limit."""
        self.limit = limit

    def force_close_all(self, close_pool: bool = True) -> None:
        """Let go of the server. The next call connects again."""
        self._app.close()


class ConnectionMethods:
    """The names that an app has for these."""

    def connection(self: Any, hostname: str | None = None, *args: Any, **options: Any) -> KombuConnection:
        """The way to the server, with kombu's names: `with app.connection() as c: c.ensure_connection()`."""
        if hostname:
            raise CeleryError(f"connection({hostname!r}) names a broker. {NO_BROKER}")
        return KombuConnection(self)

    def connection_for_read(self, url: str | None = None, **options: Any) -> KombuConnection:
        return self.connection(url)

    def connection_for_write(self, url: str | None = None, **options: Any) -> KombuConnection:
        return self.connection(url)

    broker_connection = connection

    @contextlib.contextmanager
    def connection_or_acquire(
        self, connection: Any = None, pool: bool = True, *args: Any, **options: Any
    ) -> Iterator[Any]:
        yield connection if connection is not None else self.connection()

    default_connection = connection_or_acquire

    @contextlib.contextmanager
    def producer_or_acquire(self: Any, producer: Any = None) -> Iterator[Any]:
        yield producer if producer is not None else KombuProducer(self)

    default_producer = producer_or_acquire

    @property
    def pool(self: Any) -> KombuPool:
        return KombuPool(self, KombuConnection)

    @property
    def producer_pool(self: Any) -> KombuPool:
        return KombuPool(self, KombuProducer)
