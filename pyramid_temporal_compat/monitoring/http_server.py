"""A small HTTP server for probes and metrics, in a thread of its own.

It answers while the event loop, the pool and the application are stuck, because it uses none of them.
"""

from __future__ import annotations

import contextlib
import http.server
import logging
import os
import socket
import socketserver
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..exceptions import ImproperlyConfigured

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a client may take to send its request. Then the connection is closed."""
MOST_AT_ONCE = 8
"""How many requests are answered at a time. Probes and scrapes are few; more are somebody's mistake, and wait."""


class Page(NamedTuple):
    """The answer to a request."""

    status: int
    text: str
    content_type: str = "text/plain; charset=utf-8"


class Address(NamedTuple):
    """Where a server listens. An empty host means every address of this machine."""

    host: str
    port: int


class HttpServer:
    """Serves pages by their paths until `close`. `address.port` is the port in use, also if 0 was asked for."""

    def __init__(self, address: Address, pages: Mapping[str, Callable[[], Page]]) -> None:
        try:
            self._server = _Server(address, pages)
        except (OSError, OverflowError) as error:
            raise ImproperlyConfigured(
                f"port {address.port} for probes and metrics can't be used: {error}; choose another port"
            ) from None
        host, port = self._server.server_address[:2]
        self.address = Address(str(host), int(port))
        self.paths = tuple(pages)
        self._owner = os.getpid()
        _open.add(self)
        threading.Thread(target=self._server.serve_forever, name="ptemporal-http", daemon=True).start()

    def close(self) -> None:
        """Stop listening. Answers under way are finished by their threads."""
        if os.getpid() == self._owner:
            self._server.shutdown()
        self._server.server_close()
        _open.discard(self)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    # A worker that starts again at once finds its port free.
    allow_reuse_address = True
    request_queue_size = 16

    def __init__(self, address: Address, pages: Mapping[str, Callable[[], Page]]) -> None:
        self.pages = pages
        self.turns = threading.BoundedSemaphore(MOST_AT_ONCE)
        if ":" in address.host:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the machine's full name here, which may take seconds.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.turns.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.turns.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the client went away, or sent no request within `PATIENCE`."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE
    server_version = "ptemporal"
    sys_version = ""

    def do_GET(self) -> None:
        found = self.server.pages.get(self.path.partition("?")[0])
        page = Page(404, "the pages are " + ", ".join(self.server.pages) + "\n") if found is None else answer(found)
        body = page.text.encode()
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a probe comes every few seconds."""


def answer(page: Callable[[], Page]) -> Page:
    """Return the page; an error of ours is the answer 500, and a line in the log."""
    try:
        return page()
    except Exception as error:
        log.exception("a page for probes or metrics failed")
        return Page(500, f"{type(error).__name__}: {error}\n")


_open: weakref.WeakSet[HttpServer] = weakref.WeakSet()


def _close_in_child() -> None:
    """Close what a forked child inherited. Else the port would stay taken after the parent's end."""
    for server in list(_open):
        with contextlib.suppress(OSError):
            server.close()


os.register_at_fork(after_in_child=_close_in_child)
