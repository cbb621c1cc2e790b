"""A collector on this machine that keeps what agents send: by HTTP, and in the frames of Scout's core agent."""

from __future__ import annotations

import contextlib
import gzip
import json
import socketserver
import struct
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Collector:
    """Where agents send to, and what they have sent."""

    def __init__(self, http: str, core_agent: str) -> None:
        self.http = http
        """`host:port` of the HTTP server."""
        self.core_agent = core_agent
        """`host:port` of the stand-in for Scout's core agent."""
        self.posts: list[tuple[str, bytes]] = []
        """The path and the body of each HTTP request, uncompressed."""
        self.commands: list[dict[str, Any]] = []
        """What Scout's library has sent to its core agent."""

    def bodies(self, path: str) -> list[bytes]:
        """Return the bodies that came to paths that begin with this."""
        return [body for found, body in self.posts if found.startswith(path)]


@contextlib.contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector on free ports."""
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _Posts) as http,
        _CoreAgent(("127.0.0.1", 0), _Frames) as core_agent,
    ):
        collector = Collector(*(f"127.0.0.1:{server.server_address[1]}" for server in (http, core_agent)))
        for server in (http, core_agent):
            server.collector = collector  # type: ignore[union-attr]
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        http.shutdown()
        core_agent.shutdown()


class _Posts(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self._sized()
        encoding = self.headers.get("Content-Encoding")
        body = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(encoding or "", bytes)(body)
        self.server.collector.posts.append((self.path, body))  # type: ignore[attr-defined]
        self._answer()

    do_PUT = do_POST

    def do_GET(self) -> None:
        self._answer()

    def _sized(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class _CoreAgent(socketserver.ThreadingTCPServer):
    daemon_threads = True


class _Frames(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while len(header := self.rfile.read(4)) == 4:
            command = json.loads(self.rfile.read(struct.unpack(">I", header)[0]))
            self.server.collector.commands.append(command)  # type: ignore[attr-defined]
            self.wfile.write(struct.pack(">I", 2) + b"{}")
