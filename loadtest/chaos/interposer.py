"""A proxy that steps between a server's Unix socket and its clients, and spoils what passes.

The socket is renamed and the proxy listens under its name, so clients need not know.  A server that is
started again meanwhile takes its name back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Spoil:
    """What is done to a connection.

    Attributes:
        delay_s: Every answer comes so much later.
        cut_after: Both ends are cut when so many bytes of answers have passed; the last of them are lost.
        cut_at: Both ends are cut when the answer to a request with these bytes has come: carried out, and not told.
    """

    delay_s: float = 0.0
    cut_after: int | None = None
    cut_at: bytes | None = None


@dataclass(slots=True)
class Wire:
    """A wire that is spoilt.

    Attributes:
        spoil: How.
        cuts: How many connections were cut on purpose.
    """

    spoil: Spoil
    cuts: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, real: Path) -> None:
        """Connect a client with the server at ``real``."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  this is one
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):  # cancelled when the fault is over
            await self._pass_on(reader, writer, real)
        writer.close()
        self._tasks.discard(task)

    def cancel(self) -> None:
        """Cut every connection."""
        for task in list(self._tasks):
            task.cancel()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, real: Path) -> None:
        answers, requests = await asyncio.open_unix_connection(real)
        doomed = asyncio.Event()
        asking = asyncio.create_task(_copy(reader, requests, self.spoil.cut_at, doomed))
        left = self.spoil.cut_after
        try:
            while chunk := await answers.read(_CHUNK):
                await asyncio.sleep(self.spoil.delay_s)
                if left is not None:
                    left -= len(chunk)
                if doomed.is_set() or (left is not None and left < 0):
                    self.cuts += 1
                    return
                writer.write(chunk)
                await writer.drain()
        finally:
            asking.cancel()
            requests.close()


@asynccontextmanager
async def interposed(socket: Path, spoil: Spoil) -> AsyncIterator[Wire]:
    """Stand between a server's socket and whoever connects from now on."""
    real = socket.with_name(socket.name + ".real")
    socket.rename(real)
    wire = Wire(spoil)
    server = await asyncio.start_unix_server(lambda reader, writer: wire.carry(reader, writer, real), socket)
    ours = socket.stat().st_ino
    socket.chmod(0o777)
    try:
        yield wire
    finally:
        server.close()
        with contextlib.suppress(FileNotFoundError):
            if socket.stat().st_ino == ours:
                real.replace(socket)
        wire.cancel()


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut_at: bytes | None, doomed: asyncio.Event
) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            if cut_at is not None and cut_at in chunk:
                doomed.set()
            writer.write(chunk)
            await writer.drain()
        writer.close()
