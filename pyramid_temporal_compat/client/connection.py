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
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

from temporalio.client import Client, TLSConfig
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from ..exceptions import OperationalError
from ..exceptions import TimeoutError as CallTimeout
from ..payload.codecs import Codec
from ..payload.converter import CodecAdapter
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

TOO_LARGE = "larger than max"
"""What gRPC says of a call that is above its limit, with the status of a server that is busy."""

ONE_TRY = RetryConfig(max_retries=1)
"""The library counts the first one, and takes 0 for no bound."""

STOP_WITHIN = 2.0
"""Seconds that the loop's thread is given to end."""
QUIET_WITHIN = 0.25
"""Seconds that a fork waits for calls that are under way. What takes longer waits for the server, and holds no lock."""
HANDED_OVER = 0.002
"""Seconds in which the client library's threads have come to rest after the last call."""


async def connect(
    settings: ConnectionSettings,
    converter: DataConverter,
    *,
    lazy: bool = False,
    runtime: Runtime | None = None,
    identity: str | None = None,
    retries: RetryConfig | None = None,
) -> Client:
    """A client for the server that the settings name. Lazy: connects at the first call."""
    tls = settings.tls and TLSConfig(
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
        rpc_metadata=dict(settings.grpc_meta),
        data_converter=converter,
        lazy=lazy,
        runtime=runtime,
        retry_config=retries,
        identity=identity or settings.identity,
        connect_timeout=timedelta(seconds=settings.connect_timeout),
    )


class ConnectFailed(OperationalError):
    """No connection could be made; `transient` says whether another try may succeed."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class Loop(asyncio.SelectorEventLoop):
    """Our threads' event loop. Not the application's choice of loop: what we know of the way it ends holds for this."""

    def time(self, clock: Callable[[], float] = time.monotonic) -> float:
        # Bound here, once: a test that freezes `time.monotonic` must not stop our timers and heartbeats.
        return clock()


class Connection:
    """One process's way to the server. Every thread may use it, save the loop's own."""

    def __init__(self, settings: ConnectionSettings, converter: Callable[[], DataConverter]) -> None:
        self.settings = settings
        self._converter = converter
        self._reset()
        _process.known.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._client_once: Client | None = None
        self._connecting: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}
        self._under_way: set[concurrent.futures.Future[Any]] = set()
        self._lingering: dict[concurrent.futures.Future[Any], float] = {}

    def codecs(self) -> Sequence[Codec]:
        """What payloads pass through on their way."""
        adapter = self._converter().payload_codec
        return [adapter.codec] if isinstance(adapter, CodecAdapter) else []

    def call(self, make: Callable[[Client], Awaitable[T]], timeout: float | None = None) -> T:
        """Run `make(client)` on the loop and give its result.

        `TimeoutError` when `timeout` seconds are over; `OperationalError` when the server can't be reached, or refuses.
        """

        async def work() -> T:
            return await make(await self.client())

        self.refuse_own_thread()
        future = self.submit(work)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            raise CallTimeout(f"{self} did not answer within {timeout:g} s") from None
        except concurrent.futures.CancelledError:
            raise OperationalError(f"the connection to {self} was closed while it was in use") from None
        except RPCError as error:
            raise self.explain(error) from error
        finally:
            future.cancel()  # also after Ctrl-C: nobody waits for it any more

    def submit(
        self, work: Callable[[], Coroutine[Any, Any, T]], *, linger: float | None = None
    ) -> concurrent.futures.Future[T]:
        """Begin `work()` on the loop. With `linger`, closing the connection waits that many seconds for its end."""
        # Under the lock, so that what was submitted before a close() is seen by it.
        with self._lock:
            future = asyncio.run_coroutine_threadsafe(work(), self._running_loop())
            self._under_way.add(future)
            future.add_done_callback(self._under_way.discard)
            if linger is not None:
                lingering = self._lingering
                lingering[future] = linger
                future.add_done_callback(lambda done: lingering.pop(done, None))
        return future

    async def client(self) -> Client:
        """The client, connected; belongs to the loop's thread. Raises `ConnectFailed`."""
        if self._client is None:
            async with self._connecting.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    async def client_that_tries_once(self) -> Client:
        """The same for messages that say how often they are tried: the library tries by itself otherwise."""
        if self._client_once is None:
            async with self._connecting.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                if self._client_once is None:
                    self._client_once = await self._connect(ONE_TRY)
        return self._client_once

    async def _connect(self, retries: RetryConfig | None = None) -> Client:
        try:
            return await connect(self.settings, self._converter(), runtime=_process.runtime(), retries=retries)
        except RuntimeError as error:  # which is what temporalio makes of every way to fail
            reason, transient = connect_failure(str(error))
            raise ConnectFailed(f"{self}: {reason}", transient=transient) from error

    def in_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def refuse_own_thread(self) -> None:
        if self.in_own_thread():
            raise RuntimeError(
                f"a call that waits for {self} was made on the connection's own thread, where it would wait for "
                "itself; make it on another thread (a log handler or a payload codec must not call tasks)"
            )

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = Loop()
            self._thread = threading.Thread(target=_run, args=(loop,), name="ptemporal-dispatch", daemon=True)
            self._thread.start()
            self._loop = loop
            _process.opened(self)
        return self._loop

    def close(self) -> None:
        """Wait for what was submitted to linger, and stop the loop's thread. The next call starts another."""
        with self._lock:
            loop, thread, lingering = self._loop, self._thread, self._lingering
            self._lingering = {}
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        _process.open.discard(self)
        under_way = dict(lingering)
        try:
            concurrent.futures.wait(under_way, max(under_way.values(), default=0))
        finally:
            for future in under_way:
                future.cancel()
            loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(STOP_WITHIN)
        with self._lock:
            self._connecting.pop(loop, None)
            if self._loop is None:
                self._client = self._client_once = None

    def explain(self, error: RPCError) -> OperationalError:
        hint = {
            RPCStatusCode.UNAVAILABLE: "is it running? (ptemporal-compat server)",
            RPCStatusCode.NOT_FOUND: "does the namespace exist? (ptemporal.namespace)",
            RPCStatusCode.PERMISSION_DENIED: "may this key use the namespace? (ptemporal.api_key)",
            RPCStatusCode.UNAUTHENTICATED: "is the key right? (ptemporal.api_key)",
        }.get(error.status, "")
        reason = error.message or error.status.name
        return OperationalError(
            f"{self}, namespace {self.settings.namespace!r}: {reason}" + (f"; {hint}" if hint else "")
        )

    def __str__(self) -> str:
        return f"Temporal at {self.settings.address}"

    def hold(self, until: float) -> bool:
        """Let nothing new begin, and wait for what is under way. False if that could not be had in time."""
        if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            return False
        if not self.in_own_thread():
            concurrent.futures.wait(set(self._under_way), max(0.0, until - time.monotonic()))
        return True

    def let_go(self) -> None:
        self._lock.release()

    def _forked(self) -> None:
        # What the parent started does not run here, and its threads are gone: to drop it would hang or crash this
        # process when it exits (measured), so it is kept for ever.
        _keep(self._client, self._client_once, self._loop, self._connecting, self._under_way, self._lingering)
        self._reset()


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


class _Process:
    """What this process has one of: its threads of the client library, and the connections whose loop runs."""

    def __init__(self) -> None:
        self.open: set[Connection] = set()  # held, so that an app that is let go of still sends what it has taken
        self.known: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._held: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._closes_with_multiprocessing = False

    def opened(self, connection: Connection) -> None:
        self.open.add(connection)
        # A process that multiprocessing forked runs its functions at the end, and not those of atexit.
        util = sys.modules.get("multiprocessing.util")
        if util is not None and not self._closes_with_multiprocessing:
            self._closes_with_multiprocessing = True
            util.Finalize(None, self.close_all, exitpriority=0)

    def runtime(self) -> Runtime:
        # Not temporalio's default one, which is not ours to renew after a fork.
        with self._lock:
            if self._runtime is None:
                self._runtime = Runtime(telemetry=TelemetryConfig())
                # To drop it is to wait for its threads, which may be waiting for the interpreter's lock that we hold.
                _keep(self._runtime)
            return self._runtime

    def before_fork(self) -> None:
        """Make the client library quiet: a lock that one of its threads holds now is held for ever in the child.

        The child's own client then hangs at its first call (seen in 2 of 100 forks while four threads called).
        """
        until = time.monotonic() + QUIET_WITHIN
        for connection in list(self.known):
            if connection.hold(until):
                self._held.append(connection.let_go)
        if self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            self._held.append(self._lock.release)
        if self._runtime is not None:
            time.sleep(HANDED_OVER)

    def after_fork(self) -> None:
        while self._held:
            self._held.pop()()

    def forked(self) -> None:
        connections = list(self.known)
        for connection in connections:
            connection._forked()
        self.__init__()  # type: ignore[misc]  # this is a new process
        self.known.update(connections)

    def close_all(self) -> None:
        for connection in list(self.open):
            connection.close()
            _wait_for_the_runtimes_threads()


def _keep(*objects: object) -> None:
    for kept in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


def _wait_for_the_runtimes_threads() -> None:
    """Wait until none of the runtime's threads is handing a result to a loop.

    The interpreter ends a thread that it catches in its code while it ends itself, and that aborts the process,
    status 134 (seen under load, where the process ended right after a call).
    """
    deadline = time.monotonic() + STOP_WITHIN
    while time.monotonic() < deadline:
        time.sleep(0.001)  # also lets go of the interpreter's lock, for those that are about to
        if not any(map(_hands_over, sys._current_frames().values())):
            return


def _hands_over(frame: FrameType) -> bool:
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code is asyncio.BaseEventLoop.call_soon_threadsafe.__code__


_process = _Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_process.before_fork, after_in_parent=_process.after_fork, after_in_child=_process.forked
    )
atexit.register(_process.close_all)


def connect_failure(reason: str) -> tuple[str, bool]:
    """What a failure to connect means, in words, and whether another try may succeed."""
    for sign, words in REFUSALS.items():
        if sign in reason:
            return words, False
    for sign, words in ABSENCES.items():
        if sign in reason:
            return words, True
    return " ".join(reason.split()), True


CLOSED = (
    "it closed the connection at once; does it speak TLS (ptemporal.tls), "
    "or ask for a client certificate (ptemporal.tls_cert_file)?"
)
REFUSALS = {
    "UnknownIssuer": "its certificate is signed by an authority that is not trusted here; "
    "name the file with the authority's certificate (ptemporal.tls_ca_file)",
    "NotValidForName": "its certificate carries another name than the one asked for; "
    "give the name that it carries (ptemporal.tls_server_name)",
    "InvalidCertificate(Expired": "its certificate has expired",
    "InvalidCertificate(": "its certificate is not valid",
    "InvalidContentType": "it does not speak TLS; turn TLS off (ptemporal.tls = false), or give the address that does",
    "InconsistentKeys": "the client certificate and the private key do not belong together "
    "(ptemporal.tls_cert_file, ptemporal.tls_key_file)",
    "PrivateKeyParseError": "the client's private key can't be read (ptemporal.tls_key_file)",
    "code: PermissionDenied": "it refuses this client; may this key or certificate use it? (ptemporal.api_key)",
    "code: Unauthenticated": "it does not know this client; is the key or certificate right? (ptemporal.api_key)",
}
"""How the client library's reason reads where another try fails the same way."""
ABSENCES = {
    "ConnectionRefused": "connection refused; is it running? (ptemporal-compat server)",
    "dns error": "no address is known for this name; is it spelled right? (ptemporal.address)",
    "code: Unimplemented": "what answers there is not a Temporal server; is it the right address? (ptemporal.address)",
    "transport error": CLOSED,
    "operation was canceled": CLOSED,
}
"""The same, where the server may come, or come back."""


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, RPCError):
        return error.status in TRANSIENT and TOO_LARGE not in error.message
    if isinstance(error, ConnectFailed):
        return error.transient
    return isinstance(error, (OSError, asyncio.TimeoutError, CallTimeout))


__all__ = ["Client", "ConnectFailed", "Connection", "connect", "connect_failure", "is_transient"]
