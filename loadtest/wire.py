"""HTTP/1.1 keep-alive connections that cost the generator as little as possible."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

_HEADERS_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_RETRY_AFTER = b"retry-after:"


def header_number(headers: bytes, name: bytes) -> int | None:
    """Return the number in a header of a response, None if it is not there."""
    begin = headers.lower().find(b"\r\n" + name)
    if begin < 0:
        return None
    begin += 2 + len(name)
    end = headers.find(b"\r\n", begin)
    return int(headers[begin : end if end >= 0 else None])


def retry_after_s(headers: bytes) -> int | None:
    """Return how long the server asks to wait."""
    return header_number(headers, _RETRY_AFTER)


class Line(asyncio.Protocol):
    """One connection: sends a request, calls back with the answer, is idle again.

    Args:
        on_answer: Called with this line, the status (0 when the connection broke), headers and body.
    """

    def __init__(self, on_answer: Callable[[Line, int, bytes, bytes], None]) -> None:
        self._on_answer = on_answer
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._is_waiting = False

    @property
    def is_open(self) -> bool:
        """Whether the connection stands."""
        return self._transport is not None

    def send(self, request: bytes) -> None:
        """Send a request; exactly one answer will be called back."""
        self._is_waiting = True
        if self._transport is None:
            asyncio.get_running_loop().call_soon(self._broken)
        else:
            self._transport.write(request)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the base class names it
        """Call a request that waits broken."""
        self._transport = None
        self._broken()

    def data_received(self, data: bytes) -> None:
        """Collect an answer; a server that speaks unasked is not listened to."""
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(_HEADERS_END)
        if end < 0:
            return
        headers = self._buffer[:end]
        length = header_number(headers, _LENGTH) or 0
        body = self._buffer[end + 4 :]
        if len(body) < length:
            return
        self._buffer = b""
        if self._is_waiting:
            self._is_waiting = False
            self._on_answer(self, int(headers[9:12]), headers, body)

    def _broken(self) -> None:
        self._buffer = b""
        if self._is_waiting:
            self._is_waiting = False
            self._on_answer(self, 0, b"", b"")


async def ask(host: str, port: int, request: bytes, within_s: float = 10.0) -> tuple[int, bytes, bytes]:
    """Send one request over a connection of its own; return status, headers and body.

    Raises:
        OSError: The server cannot be reached or does not answer.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[int, bytes, bytes]] = loop.create_future()

    def take(_: Line, status: int, headers: bytes, body: bytes) -> None:
        if not answer.done():
            answer.set_result((status, headers, body))

    _, line = await loop.create_connection(lambda: Line(take), host, port)
    line.send(request)
    try:
        status, headers, body = await asyncio.wait_for(answer, within_s)
    finally:
        line.close()
    if status == 0:
        raise ConnectionResetError("the server closed the connection")
    return status, headers, body
