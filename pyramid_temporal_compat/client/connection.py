"""The connection to the Temporal server, for code that uses threads and may fork.

temporalio needs asyncio, but Pyramid uses threads, and its servers fork. So each process has one thread with an event
loop and one client on the loop. Both are made at the first call, and made again after a fork.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import ctypes
import functools
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

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import Client, TLSConfig
from temporalio.runtime import LogForwardingConfig, Runtime
from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from ..exceptions import OperationalError
from ..exceptions import TimeoutError as CallTimeout
from ..payload.codecs import Codec
from ..payload.converter import CodecAdapter
from ..settings import ConnectionSettings
from .client_options import ClientOptions
from .forwarded_log import telemetry

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
"""Statuses of errors that may go away by themselves. The others (permission, namespace, argument) come again."""

TOO_LARGE = "larger than max"
"""Part of gRPC's message for a call above its size limit. The call has the same status as for a busy server."""

ONE_ATTEMPT = RetryConfig(max_retries=1)
"""One attempt: temporalio counts the first attempt as a retry, and reads 0 as no limit."""

STOP_TIMEOUT = 2.0
"""Seconds that `close` waits for the end of the loop's thread."""
QUIET_TIMEOUT = 0.25
"""Seconds that a fork waits for calls that are under way. A call that takes longer waits for the server, and holds no
lock."""
SETTLING_TIME = 0.002
"""Seconds after the last call until temporalio's threads hold no lock."""


async def connect(
    settings: ConnectionSettings,
    options: ClientOptions,
    *,
    lazy: bool = False,
    runtime: Runtime | None = None,
    identity: str | None = None,
    retries: RetryConfig | None = None,
) -> Client:
    """Return a client for the server that the settings name. With `lazy`, it connects at its first call."""
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
        **options.of_client(),
        lazy=lazy,
        runtime=runtime,
        retry_config=retries,
        identity=identity or settings.identity,
        connect_timeout=timedelta(seconds=settings.connect_timeout),
    )


class ConnectFailed(OperationalError):
    """No connection could be made. `transient` tells whether another attempt may succeed."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class Loop(asyncio.SelectorEventLoop):
    """The event loop of this package's threads.

    It is not the loop that the application has chosen, because the end of the process is tested with this loop only.
    """

    def time(self, clock: Callable[[], float] = time.monotonic) -> float:
        # The default argument keeps the real clock: a test that freezes `time.monotonic` must not stop our timers and
        # heartbeats.
        return clock()


class Connection:
    """One process's connection to the server. Every thread but the loop's own may use it."""

    def __init__(self, settings: ConnectionSettings, options: Callable[[], ClientOptions]) -> None:
        self.settings = settings
        self._make_options = options
        self.on_connected: Callable[[Client], Coroutine[Any, Any, None]] | None = None
        """Runs beside the calls, once this process has connected. It raises nothing."""
        self._reset()
        _process.known.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._client_without_retries: Client | None = None
        self._lazy_client: Client | None = None
        self._connecting: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}
        self._under_way: set[concurrent.futures.Future[Any]] = set()
        self._lingering: dict[concurrent.futures.Future[Any], float] = {}

    @functools.cached_property
    def options(self) -> ClientOptions:
        """Return what the application adds to the client. Raises `ImproperlyConfigured`."""
        return self._make_options()

    def codecs(self) -> Sequence[Codec]:
        """Return the codecs that payloads pass through."""
        adapter = self.options.converter.payload_codec
        return [adapter.codec] if isinstance(adapter, CodecAdapter) else []

    def call(self, make: Callable[[Client], Awaitable[T]], timeout: float | None = None) -> T:
        """Run `make(client)` on the loop and return its result.

        Raises `TimeoutError` after `timeout` seconds, and `OperationalError` if the server can't be reached or refuses.
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
            future.cancel()  # also after Ctrl-C: no caller waits for it any more

    def submit(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        linger: float | None = None,
        into: concurrent.futures.Future[T] | None = None,
    ) -> concurrent.futures.Future[T]:
        """Start `work()` on the loop. With `linger`, `close` waits up to this many seconds for its end.

        :param into: the future that gets the result. The caller has it also when Ctrl-C interrupts this method.
        """
        future: concurrent.futures.Future[T] = concurrent.futures.Future() if into is None else into
        # Under the lock, so that close() sees all work that was submitted before it.
        with self._lock:
            loop = self._running_loop()
            self._under_way.add(future)
            future.add_done_callback(self._under_way.discard)
            if linger is not None:
                lingering = self._lingering
                lingering[future] = linger
                future.add_done_callback(lambda done: lingering.pop(done, None))
            # Last, because Ctrl-C can interrupt the caller as soon as the work runs.
            loop.call_soon_threadsafe(_begin, work, future)
        return future

    @property
    def lingering(self) -> list[concurrent.futures.Future[Any]]:
        """The work that was submitted with `linger` and has not ended. It may end at any moment."""
        with self._lock:
            return [*self._lingering]

    async def client(self) -> Client:
        """Return the connected client. It belongs to the loop's thread. Raises `ConnectFailed`."""
        if self._client is None:
            async with self._connecting.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                if self._client is None:
                    self._client = client = await self.new_client()
                    if (beside := self.on_connected) is not None:
                        self.submit(lambda: beside(client))
        return self._client

    async def client_without_retries(self) -> Client:
        """Return a client that makes one attempt per call, for messages with a retry policy of their own.

        The other client retries by itself. Raises `ConnectFailed`.
        """
        if self._client_without_retries is None:
            async with self._connecting.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                if self._client_without_retries is None:
                    self._client_without_retries = await self.new_client(ONE_ATTEMPT)
        return self._client_without_retries

    def lazy_client(self) -> Client:
        """Return the client for asynchronous code of the application. It connects at its first call, on any loop."""
        if self._lazy_client is None:
            self.refuse_own_thread()
            made = self.submit(lambda: connect(self.settings, self.options, lazy=True, runtime=_process.runtime()))
            self._lazy_client = made.result()
        return self._lazy_client

    async def new_client(self, retries: RetryConfig | None = None) -> Client:
        """Return a client of the caller's own, connected on the running event loop. Raises `ConnectFailed`."""
        try:
            return await connect(self.settings, self.options, runtime=_process.runtime(), retries=retries)
        except RuntimeError as error:  # temporalio raises RuntimeError for every failure to connect
            reason, transient = connect_failure(str(error))
            raise ConnectFailed(f"{self}: {reason}", transient=transient) from error

    def in_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def refuse_own_thread(self) -> None:
        """Raise `RuntimeError` on the loop's own thread, where a wait for the loop would never end."""
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
        """Wait for work that was submitted with `linger`, and stop the loop's thread. The next call starts another."""
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
            thread.join(STOP_TIMEOUT)
        with self._lock:
            self._connecting.pop(loop, None)
            if self._loop is None:
                self._client = self._client_without_retries = self._lazy_client = None

    def explain(self, error: RPCError) -> OperationalError:
        """Return the server's error with the address, the namespace and a hint at the setting to check."""
        hint = hint_at(error)
        reason = error.message or error.status.name
        return OperationalError(
            f"{self}, namespace {self.settings.namespace!r}: {reason}" + (f"; {hint}" if hint else "")
        )

    def __str__(self) -> str:
        return f"Temporal at {self.settings.address}"

    def hold(self, until: float) -> bool:
        """Let no new call begin, and wait for the calls under way. Return False if the lock was not free in time."""
        if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            return False
        if not self.in_own_thread():
            concurrent.futures.wait(set(self._under_way), max(0.0, until - time.monotonic()))
        return True

    def release(self) -> None:
        self._lock.release()

    def _forked(self) -> None:
        # The parent's client and loop do not run here, and their threads are gone. To drop these objects would hang or
        # crash this process at its exit (measured), so they are kept for ever.
        _keep(
            self._client,
            self._client_without_retries,
            self._lazy_client,
            self._loop,
            self._connecting,
            self._under_way,
            self._lingering,
        )
        self._reset()


def _begin(work: Callable[[], Coroutine[Any, Any, T]], future: concurrent.futures.Future[T]) -> None:
    """Run `work()` on the running loop, and hand its end to the future. A cancelled future cancels the work."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work())

    def hand_over(ended: asyncio.Task[T]) -> None:
        if ended.cancelled():
            future.cancel()
        if not future.set_running_or_notify_cancel():
            return
        if (error := ended.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(ended.result())

    def cancel(ended: concurrent.futures.Future[T]) -> None:
        if ended.cancelled() and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    task.add_done_callback(hand_over)
    future.add_done_callback(cancel)


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


class _ProcessState:
    """The state of this process: temporalio's runtime with its threads, and the connections whose loop runs."""

    def __init__(self) -> None:
        self.open: set[Connection] = set()  # strong references, so that a dropped app still sends its messages
        self.known: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._held: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._closes_with_multiprocessing = False

    def opened(self, connection: Connection) -> None:
        self.open.add(connection)
        # A process that multiprocessing has forked runs the finalizers of multiprocessing at its end, not atexit's.
        util = sys.modules.get("multiprocessing.util")
        if util is not None and not self._closes_with_multiprocessing:
            self._closes_with_multiprocessing = True
            util.Finalize(None, self.close_all, exitpriority=0)

    def runtime(self) -> Runtime:
        # temporalio's default runtime can't be replaced after a fork.
        with self._lock:
            if self._runtime is None:
                self._runtime = Runtime(telemetry=telemetry())
                # To drop a runtime waits for its threads, and they may wait for the interpreter's lock that we hold.
                _keep(self._runtime)
            return self._runtime

    def before_fork(self) -> None:
        """Wait until temporalio's threads hold no lock, because the child would inherit a lock that is never released.

        The child's own client then hangs at its first call (seen in 2 of 100 forks while four threads called).
        """
        until = time.monotonic() + QUIET_TIMEOUT
        for connection in list(self.known):
            if connection.hold(until):
                self._held.append(connection.release)
        if self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            self._held.append(self._lock.release)
        if self._runtime is not None:
            time.sleep(SETTLING_TIME)

    def after_fork(self) -> None:
        while self._held:
            self._held.pop()()

    def forked(self) -> None:
        connections = list(self.known)
        for connection in connections:
            connection._forked()
        self.__init__()  # type: ignore[misc]  # the child is a new process
        self.known.update(connections)

    def close_all(self) -> None:
        for connection in list(self.open):
            connection.close()
        # Also with no connection open: the application may have closed it a moment ago, or have run a worker.
        _wait_for_the_runtimes_threads()


def _keep(*objects: object) -> None:
    for kept in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


def _wait_for_the_runtimes_threads() -> None:
    """Wait until no thread of the runtime is handing a result to a loop, or a log line to Python.

    While the interpreter exits, it ends every thread that calls into it. For a thread of the runtime this aborts the
    process with status 134 (seen under load, when the process ended right after a call).
    """
    deadline = time.monotonic() + STOP_TIMEOUT
    while time.monotonic() < deadline:
        time.sleep(0.001)  # also releases the interpreter's lock, so that a thread about to hand over is seen
        if not any(map(_hands_over, sys._current_frames().values())):
            return


HANDING_OVER = (asyncio.BaseEventLoop.call_soon_threadsafe.__code__, LogForwardingConfig._on_logs.__code__)


def _hands_over(frame: FrameType) -> bool:
    """Tell whether a thread, seen by its innermost frame, is handing a result to a loop, or a log line to Python."""
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code in HANDING_OVER


_process = _ProcessState()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_process.before_fork, after_in_parent=_process.after_fork, after_in_child=_process.forked
    )
atexit.register(_process.close_all)


def connect_failure(reason: str) -> tuple[str, bool]:
    """Return what temporalio's reason means in plain words, and whether another attempt may succeed."""
    for sign, meaning in FINAL_FAILURES.items():
        if sign in reason:
            return meaning, False
    for sign, meaning in PASSING_FAILURES.items():
        if sign in reason:
            return meaning, True
    return " ".join(reason.split()), True


CLOSED = (
    "it closed the connection at once; does it speak TLS (ptemporal.tls), "
    "or ask for a client certificate (ptemporal.tls_cert_file)?"
)
FINAL_FAILURES = {
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
"""Part of temporalio's reason, and its meaning, where another attempt fails in the same way."""
PASSING_FAILURES = {
    "ConnectionRefused": "connection refused; is it running? (ptemporal-compat server)",
    "dns error": "no address is known for this name; is it spelled right? (ptemporal.address)",
    "code: Unimplemented": "what answers is not a Temporal server; is it the right address? (ptemporal.address)",
    "transport error": CLOSED,
    "operation was canceled": CLOSED,
}
"""The same, where another attempt may succeed because the server may come back."""


NO_WORKFLOW = "workflow not found"
"""Part of the server's message if no workflow has the id of the call."""
HINTS = {
    RPCStatusCode.UNAVAILABLE: "is it running? (ptemporal-compat server)",
    RPCStatusCode.NOT_FOUND: "does the namespace exist? (ptemporal.namespace)",
    RPCStatusCode.PERMISSION_DENIED: "may this key use the namespace? (ptemporal.api_key)",
    RPCStatusCode.UNAUTHENTICATED: "is the key right? (ptemporal.api_key)",
}


def hint_at(error: RPCError) -> str:
    """Return what a user may check after this error of the server."""
    if not is_absent(error):
        return HINTS.get(error.status, "")
    return "is the id right? (ptemporal-compat workflow find)" if NO_WORKFLOW in error.message else ""


def is_absent(error: RPCError) -> bool:
    """Tell whether the server lacks the workflow or schedule of a call. A missing namespace has the same status."""
    about_namespace = any(detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details)
    return error.status is RPCStatusCode.NOT_FOUND and not about_namespace


def is_transient(error: BaseException) -> bool:
    """Tell whether the same call may succeed later."""
    if isinstance(error, RPCError):
        return error.status in TRANSIENT and TOO_LARGE not in error.message
    if isinstance(error, ConnectFailed):
        return error.transient
    return isinstance(error, (OSError, asyncio.TimeoutError, CallTimeout))


__all__ = ["Client", "ConnectFailed", "Connection", "connect", "connect_failure", "is_absent", "is_transient"]
