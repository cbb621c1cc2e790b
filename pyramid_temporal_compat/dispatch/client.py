"""The connection to the Temporal server, for code that is not asynchronous and may fork.

temporalio speaks asyncio; Pyramid speaks threads, and its servers fork. So each process has one thread
with an event loop and one client on it, made when first needed and made anew after a fork.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import ctypes
import logging
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from temporalio.client import Client, TLSConfig
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode

from ..exceptions import OperationalError
from ..exceptions import TimeoutError as CallTimeout
from ..settings import ConnectionSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

TRANSIENT = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.ABORTED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.RESOURCE_EXHAUSTED,
    }
)
"""What may go away by itself. The rest (permission, namespace, argument) is the same the next time."""


async def connect(
    settings: ConnectionSettings,
    converter: DataConverter,
    *,
    lazy: bool = False,
    runtime: Runtime | None = None,
    identity: str | None = None,
) -> Client:
    """A client for the server that the settings name. Lazy: connects at the first call."""
    tls: bool | TLSConfig | None = settings.tls
    if settings.tls is not False and settings.has_tls_files:
        tls = TLSConfig(
            server_root_ca_cert=settings.tls_ca,
            domain=settings.tls_server_name,
            client_cert=settings.tls_cert,
            client_private_key=settings.tls_key,
        )
    return await Client.connect(
        settings.address,
        namespace=settings.namespace,
        api_key=settings.api_key,
        tls=tls,
        rpc_metadata=settings.grpc_meta,
        data_converter=converter,
        lazy=lazy,
        runtime=runtime,
        identity=identity,
        connect_timeout=timedelta(seconds=settings.connect_timeout),
    )


class Connection:
    """One process's way to the server. `call` may be used from every thread."""

    def __init__(self, settings: ConnectionSettings, converter: Callable[[], DataConverter]) -> None:
        self.settings = settings
        self._converter = converter
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._runtime: Runtime | None = None
        self._connecting: asyncio.Lock | None = None
        _connections.add(self)

    def call(self, make: Callable[[Client], Awaitable[T]], timeout: float | None = None) -> T:
        """Run `make(client)` on the loop and give its result; `TimeoutError` when `timeout` seconds are over."""
        future = self.submit(make)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise CallTimeout(f"Temporal at {self.settings.address} did not answer within {timeout} s") from None
        except RPCError as error:
            raise self.explain(error) from error

    def submit(self, make: Callable[[Client], Awaitable[T]]) -> concurrent.futures.Future[T]:
        """Begin `make(client)` on the loop."""
        return asyncio.run_coroutine_threadsafe(self._with_client(make), self._running_loop())

    async def _with_client(self, make: Callable[[Client], Awaitable[T]]) -> T:
        return await make(await self._connected())

    async def _connected(self) -> Client:
        if self._client is None:
            assert self._connecting is not None
            async with self._connecting:
                if self._client is None:
                    # A runtime of its own, never the process-wide default: that one is not ours to renew after a fork.
                    self._runtime = Runtime(telemetry=TelemetryConfig())
                    self._client = await connect(self.settings, self._converter(), lazy=True, runtime=self._runtime)
        return self._client

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            with self._lock:
                if self._loop is None:
                    loop = asyncio.new_event_loop()
                    self._connecting = asyncio.Lock()
                    threading.Thread(target=_run, args=(loop,), name="ptemporal-dispatch", daemon=True).start()
                    self._loop = loop
        return self._loop

    def close(self) -> None:
        """Stop the loop's thread. The next call starts another."""
        with self._lock:
            loop, self._loop, self._client, self._runtime = self._loop, None, None, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def explain(self, error: RPCError) -> OperationalError:
        where = f"Temporal at {self.settings.address}, namespace {self.settings.namespace!r}"
        hint = {
            RPCStatusCode.UNAVAILABLE: "is it running? (ptemporal-compat server)",
            RPCStatusCode.NOT_FOUND: "does the namespace exist? (ptemporal.namespace)",
            RPCStatusCode.PERMISSION_DENIED: "may this key use the namespace? (ptemporal.api_key)",
            RPCStatusCode.UNAUTHENTICATED: "is the key right? (ptemporal.api_key)",
        }.get(error.status, "")
        return OperationalError(f"{where}: {error.message or error.status.name}" + (f"; {hint}" if hint else ""))

    def _forked(self) -> None:
        # What the parent started does not run here, and the runtime's threads are gone: to drop it would hang or
        # crash this process when it exits (measured), so it is kept for ever.
        for inherited in (self._client, self._runtime, self._loop):
            if inherited is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
        self._lock = threading.Lock()
        self._loop = self._client = self._runtime = self._connecting = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.close()


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork() -> None:
    for connection in list(_connections):
        connection._forked()


def _at_exit() -> None:
    for connection in list(_connections):
        connection.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, RPCError):
        return error.status in TRANSIENT
    return isinstance(error, (ConnectionError, OSError, asyncio.TimeoutError, CallTimeout, RuntimeError))


__all__ = ["Client", "Connection", "connect", "is_transient"]
