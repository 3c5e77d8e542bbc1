"""Connections of uvicorn that answer claims by themselves: no task, no scope and no message for a no.

What is not a plain claim (another route, a body, an escape, an old version) goes on to the application as with any
other server, and so does all else that HTTP asks of a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from grab_service.api.front import CLAIMS_BEGIN, CLAIMS_END, CLAIMS_PREFIX, CLAIMS_SUFFIX, Front
from grab_service.api.reply import Reply
from grab_service.api.wire import encoded

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

_PREFIX, _SUFFIX = CLAIMS_PREFIX.encode(), CLAIMS_SUFFIX.encode()
_BEGIN, _END = b"POST " + _PREFIX, _SUFFIX + b" HTTP/1.1\r\n"
_HEAD_END = b"\r\n\r\n"
_CODING, _CONNECTION = b"transfer-encoding", b"connection:"
_LENGTH, _NO_BODY = b"content-length:", b"content-length: 0\r\n"
_CLOSES = ((b"connection", b"close"),)
_CLAIM_BYTES_MAX = 4096  # a longer one is no plain claim
_FIRST_LINE_MAX = 200
_HEAD_BYTES_MAX = 65_536  # as Granian's
_NONE_WAITS = asyncio.Event()


class _UnderWay:
    """Stands where uvicorn keeps the request that is being answered, while a claim waits for the stores."""

    __slots__ = ("disconnected", "keep_alive", "more_body", "response_complete")
    message_event = _NONE_WAITS

    def __init__(self) -> None:
        self.keep_alive, self.more_body = True, False
        self.disconnected = self.response_complete = False


class Line(HttpToolsProtocol):
    """One connection.

    Args:
        config: Of the server.
        server_state: Of the server.
        app_state: Of the application.
        _loop: The event loop.
    """

    cycle: RequestResponseCycle | _UnderWay | None  # type: ignore[assignment]  # None at first: uvicorn does not tell

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        app: object = self.app
        self._front = app if isinstance(app, Front) and app.serves_claims else None
        self._turns = None if self._front is None else self._front.turns
        self._is_queued, self._later = False, b""
        self._began_s = 0.0  # the claim that is being taken in
        self._is_between = True  # requests: the next byte begins a head
        self._is_in_head, self._head_bytes = False, 0
        self._used_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin."""
        super().connection_made(transport)
        self._used_s = monotonic()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what has come: a claim when it is its turn, all else at once."""
        front, turns = self._front, self._turns
        if self._is_queued:
            # What follows a claim that waits for its turn waits as well, in the system's memory but for one read.
            self._later += data
            self.flow.pause_reading()
        elif front is None or turns is None or len(data) > _CLAIM_BYTES_MAX or not data.startswith(_BEGIN):
            super().data_received(data)
            if self._is_in_head:
                self._head_bytes += len(data)
                if self._head_bytes > _HEAD_BYTES_MAX and not self.transport.is_closing():
                    self.send_400_response("The head is too long.")
        else:
            self._is_queued = not turns.take(self, data, monotonic())

    def go_on(self, data: bytes, since_s: float, *, is_too_much: bool) -> None:
        """Handle a claim whose turn it is."""
        front, self._is_queued = self._front, False
        if self.transport.is_closing():
            return
        self._began_s = since_s
        if front is None or not (is_too_much and self._turns_away(front, data)):
            super().data_received(data)
        if self._later:
            later, self._later = self._later, b""
            self.flow.resume_reading()
            super().data_received(later)

    def _turns_away(self, front: Front, data: bytes) -> bool:
        """Turn a claim away if it is one too many and if that can be told from its first line."""
        cycle, line_end = self.cycle, data.find(_END)
        if not (
            self._is_between
            and (cycle is None or cycle.response_complete)
            and 0 < line_end < _FIRST_LINE_MAX
            and data.find(_HEAD_END) == len(data) - len(_HEAD_END)
        ):
            return False
        small = data.lower()
        if (_LENGTH in small and _NO_BODY not in small) or _CODING in small or _CONNECTION in small:
            return False
        stock_id = data[len(_BEGIN) : line_end].decode("latin-1")
        if not front.is_full(stock_id):
            return False
        self._used_s = self._began_s
        self.transport.write(front.turn_away(stock_id, self._began_s, tuple(self.server_state.default_headers)))
        return True

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_between, self._is_in_head, self._head_bytes = False, True, 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """Answer a plain claim, or let the application do so."""
        self._is_in_head = False
        front, url, parser = self._front, self.url, self.parser
        if (
            front is None
            or not url.startswith(_PREFIX)
            or not url.endswith(_SUFFIX)
            or b"%" in url
            or b"?" in url
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or parser.should_upgrade()
            or self.expect_100_continue
            or self.flow.write_paused
            or not (self.cycle is None or self.cycle.response_complete)
            or _may_have_body(self.headers)
        ):
            self._pass_on()
            return
        began_s = self._began_s
        stock_id = url[CLAIMS_BEGIN:CLAIMS_END].decode("latin-1")
        request_id, found = front.at_once(stock_id, {"headers": self.headers, "client": self.client}, began_s)
        if isinstance(found, Reply):
            self._tell(request_id, found)
            front.count(request_id, stock_id, found, began_s)
            return
        self.cycle = cycle = _UnderWay()
        task = self.loop.create_task(self._wait(front, found, cycle, request_id, stock_id))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _pass_on(self) -> None:
        """Let the application answer: only now is a scope made."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take in that a request is whole."""
        self._is_between = True
        if self.cycle is not None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with what was sent meanwhile."""
        self.server_state.total_requests += 1
        self._used_s = monotonic()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that nobody has used for long; one timer a connection sees to that, not one a request."""
        rest_s = self._used_s + self.timeout_keep_alive - monotonic()
        if self.cycle is not None and not self.cycle.response_complete:
            rest_s = self.timeout_keep_alive
        if rest_s <= 0:
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(rest_s, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._used_s = monotonic()

    async def _wait(
        self, front: Front, answer: Coroutine[Any, Any, Reply], cycle: _UnderWay, request_id: str, stock_id: str
    ) -> None:
        began_s = self._began_s
        reply = await answer
        cycle.response_complete = True
        if not cycle.disconnected:
            self._tell(request_id, reply if cycle.keep_alive else reply._replace(headers=reply.headers + _CLOSES))
            if not cycle.keep_alive:
                self.transport.close()
            self.on_response_complete()
        front.count(request_id, stock_id, reply, began_s)

    def _tell(self, request_id: str, reply: Reply) -> None:
        self.transport.write(encoded(reply, request_id, tuple(self.server_state.default_headers)))


def _may_have_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any((name == _LENGTH[:-1] and value != b"0") or name == _CODING for name, value in headers)
