"""A TCP proxy in front of PostgreSQL that cuts the ledger's connection at the worst moments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum

CHUNK_BYTES = 64 * 1024


class Cut(Enum):
    """When to cut, seen from the batch that is on its way."""

    # Half of its statements have left.
    IN_BATCH = "in batch"
    # It is committed, and the answer that says so never arrives.
    AFTER_COMMIT = "after commit"


class CuttingProxy:
    """Passes bytes both ways until told to cut."""

    def __init__(self, port: int) -> None:
        self._upstream_port = port
        self._links: set[_Link] = set()
        self._armed: tuple[Cut, asyncio.Future[None]] | None = None
        self.port = 0

    async def cut(self, when: Cut) -> None:
        """Cut the ledger's next batch so; returns once it was."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._armed = (when, done)
        await done

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), upstream)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)
            link.abort()

    def due(self, when: Cut) -> bool:
        """Whether this cut was asked for."""
        return self._armed is not None and self._armed[0] is when

    def was_cut(self) -> None:
        """Tell who asked."""
        if self._armed is not None:
            self._armed[1].set_result(None)
            self._armed = None

    def abort(self) -> None:
        """Cut everything."""
        for link in self._links:
            link.abort()


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """A client's connection and ours to the database."""

    def __init__(self, proxy: CuttingProxy, client: _Streams, upstream: _Streams) -> None:
        self._proxy = proxy
        self._client = client
        self._upstream = upstream
        # Only the ledger locks rows; its first batch on a connection spells the statement.
        self._is_ledger = False
        self._committing = False

    async def run(self) -> None:
        """Pass bytes until either side ends, or the cut comes."""
        ways = [asyncio.create_task(self._up()), asyncio.create_task(self._down())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def abort(self) -> None:
        """Reset both connections."""
        for _, writer in (self._client, self._upstream):
            writer.transport.abort()

    async def _up(self) -> None:
        writer = self._upstream[1]
        while data := await self._client[0].read(CHUNK_BYTES):
            self._is_ledger = self._is_ledger or b"FOR UPDATE" in data
            commits = self._is_ledger and b"COMMIT" in data
            if self._is_ledger and not commits and self._proxy.due(Cut.IN_BATCH):
                writer.write(data[: len(data) // 2])
                await writer.drain()
                self.abort()
                self._proxy.was_cut()
                return
            self._committing = commits and self._proxy.due(Cut.AFTER_COMMIT)
            writer.write(data)
            await writer.drain()

    async def _down(self) -> None:
        writer = self._client[1]
        while data := await self._upstream[0].read(CHUNK_BYTES):
            # The tag of the command that was completed: from here on it is durable.
            if self._committing and b"COMMIT\0" in data:
                self.abort()
                self._proxy.was_cut()
                return
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def cutting_proxy(port: int) -> AsyncIterator[CuttingProxy]:
    """A proxy on loopback to a PostgreSQL on `port`."""
    proxy = CuttingProxy(port)
    handlers: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            handlers.add(task)
            task.add_done_callback(handlers.discard)
        await proxy.serve(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.abort()
        await asyncio.gather(*handlers, return_exceptions=True)
