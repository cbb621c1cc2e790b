"""The server of probes and metrics: what it answers, and what it survives."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator

import pytest

from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.monitoring.http_server import Address, HttpServer, Page

HERE = Address("127.0.0.1", 0)


def broken() -> Page:
    raise LookupError("no such thing")


@pytest.fixture
def server() -> Iterator[HttpServer]:
    found = HttpServer(HERE, {"/live": lambda: Page(200, "ok\n"), "/broken": broken})
    yield found
    found.close()


def get(server: HttpServer, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_pages_are_found_by_their_path(server: HttpServer) -> None:
    assert get(server, "/live") == (200, "ok\n")
    assert get(server, "/live?verbose=1") == (200, "ok\n")
    assert get(server, "/live", "HEAD") == (200, "")
    assert get(server, "/passwd") == (404, "the pages are /live, /broken\n")
    assert get(server, "/live", "POST")[0] == 501


def test_an_error_is_an_answer(server: HttpServer) -> None:
    assert get(server, "/broken") == (500, "LookupError: no such thing\n")


def test_silent_clients_and_nonsense_keep_nobody_waiting(server: HttpServer) -> None:
    silent = [socket.create_connection(server.address) for _ in range(5)]
    with socket.create_connection(server.address) as odd:
        odd.sendall(b"\x00\xff no http at all\r\n\r\n")
        odd.recv(1000)
    assert get(server, "/live") == (200, "ok\n")
    for connection in silent:
        connection.close()


def test_a_taken_port_is_named(server: HttpServer) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"port {server.address.port} .*choose another port"):
        HttpServer(server.address, {})


def test_a_forked_child_does_not_keep_the_port(server: HttpServer) -> None:
    ready, tell = os.pipe()
    if (child := os.fork()) == 0:
        os.read(ready, 1)
        os._exit(0)
    server.close()
    HttpServer(server.address, {}).close()  # the child lives, and has let the port go
    os.write(tell, b"x")
    os.waitpid(child, 0)
