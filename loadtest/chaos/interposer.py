"""A proxy that steps between a server's Unix socket and its clients, and spoils what passes.

The socket is renamed and the proxy listens under its name, so clients need not know.  A server that is
started again meanwhile takes its name back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Spoil:
    """What is done to a connection.

    Attributes:
        delay_s: Every answer comes so much later.
        cut_after: Both ends are cut when so many bytes of answers have passed; the last of them are lost.
    """

    delay_s: float = 0.0
    cut_after: int | None = None


@asynccontextmanager
async def interposed(socket: Path, spoil: Spoil) -> AsyncIterator[None]:
    """Stand between a server's socket and whoever connects from now on."""
    real = socket.with_name(socket.name + ".real")
    socket.rename(real)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  this is one
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):  # cancelled when the fault is over
            await _pass_on(reader, writer, real, spoil)
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_unix_server(serve, socket)
    ours = socket.stat().st_ino
    socket.chmod(0o777)
    try:
        yield
    finally:
        server.close()
        with contextlib.suppress(FileNotFoundError):
            if socket.stat().st_ino == ours:
                real.replace(socket)
        for task in list(tasks):
            task.cancel()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, real: Path, spoil: Spoil) -> None:
    answers, requests = await asyncio.open_unix_connection(real)
    asking = asyncio.create_task(_copy(reader, requests))
    left = spoil.cut_after
    try:
        while chunk := await answers.read(_CHUNK):
            await asyncio.sleep(spoil.delay_s)
            if left is not None:
                left -= len(chunk)
                if left < 0:
                    return
            writer.write(chunk)
            await writer.drain()
    finally:
        asking.cancel()
        requests.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        writer.close()
