"""A TCP proxy that breaks connections: it refuses them, stops forwarding, or cuts them at a chosen moment."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from pyramid_temporal_compat.server.embedded import free_ports

CHUNK = 1 << 16
ANSWER_IS_MADE = 0.05
"""Seconds after which the server has done what the client asked for."""

Watch = Callable[[bytes], bool]
"""Called with the bytes that a client sends. True: forward them, and cut the connection before the answer arrives."""


class Proxy:
    """Forward to a port of this machine, on a separate thread. Any thread may call the methods."""

    def __init__(self, target: int, watch: Watch | None = None) -> None:
        (self.port,) = free_ports("127.0.0.1", 1)
        self.cuts = 0
        self.watch = watch
        self._target = target
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._forwards = asyncio.Event()
        self._forwards.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def listen(self) -> None:
        self._call(self._listen())

    def refuse(self) -> None:
        """Refuse new connections, and cut the open ones."""
        self._call(self._refuse())

    def cut(self) -> None:
        self._call(self._cut())

    def hang(self) -> None:
        """Forward nothing. Connections stay open and new ones are accepted, but no answer comes."""
        self._loop.call_soon_threadsafe(self._forwards.clear)

    def go_on(self) -> None:
        self._loop.call_soon_threadsafe(self._forwards.set)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *exc: object) -> None:
        self.refuse()
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._cut()  # also those whose task was cancelled before it began
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = self._loop.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there)
            cut = asyncio.Event()
            ways = (self._upwards(reader, there, cut), self._pump(there_reader, writer, cut))
            try:
                await asyncio.gather(*ways)
            finally:
                self._writers.discard(there)
                there.transport.abort()
        self._writers.discard(writer)
        writer.transport.abort()

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK):
            await self._forwards.wait()
            if self.watch is not None and self.watch(data):
                self.cuts += 1
                cut.set()
            writer.write(data)
            await writer.drain()
            if cut.is_set():
                await asyncio.sleep(ANSWER_IS_MADE)
                break
        raise ConnectionResetError

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK):
            await self._forwards.wait()
            if not cut.is_set():
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError


def commits(data: bytes) -> bool:
    """Return whether a PostgreSQL client asks for a commit with these bytes."""
    return b"COMMIT\x00" in data
