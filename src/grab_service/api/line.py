"""Connections of uvicorn that answer claims by themselves: no task, no scope and no message for a no.

The polled picture of the stocks is answered in the same way.  What is not plain (another route, a body, an escape, an
old version) goes on to the application as with any other server, and so does all else that HTTP asks of a connection.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from grab_service.api.claims import Asked
from grab_service.api.front import STOCK_PATH, Front
from grab_service.api.heads import (
    CLAIM_LINE_BEGIN,
    CLAIMS_BEGIN,
    CLAIMS_END,
    CLAIMS_PREFIX,
    CLAIMS_SUFFIX,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
)
from grab_service.api.incoming import Incoming
from grab_service.api.instruments import Answered
from grab_service.api.reply import Reply
from grab_service.api.wire import encoded
from grab_service.confirm import Settled

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

_log = logging.getLogger(__name__)

_PREFIX, _SUFFIX, _STOCK = CLAIMS_PREFIX.encode(), CLAIMS_SUFFIX.encode(), STOCK_PATH.encode()
_CLOSES = ((b"connection", b"close"),)
_CLAIM_BYTES_MAX = 4096  # a longer one is no plain claim
_HEAD_BYTES_MAX = 65_536  # as Granian's
_NONE_WAITS = asyncio.Event()
# Told to somebody who is not believed, or before it is known whether he is.
_OF_STRANGERS = frozenset({HTTPStatus.UNAUTHORIZED.value, HTTPStatus.SERVICE_UNAVAILABLE.value})


class _UnderWay:
    """A claim that waits for the stores, in the place where uvicorn keeps the request that is being answered.

    Args:
        line: Its connection.
        front: Asks the stores.
        claim: What they are asked.
        began_s: When it came, on the monotonic clock.
    """

    message_event = _NONE_WAITS
    __slots__ = (
        "_began_s",
        "_claim",
        "_front",
        "_line",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
    )

    def __init__(self, line: Line, front: Front, claim: Asked, began_s: float) -> None:
        self.keep_alive, self.more_body = True, False
        self.disconnected = self.response_complete = False
        self._line, self._front, self._claim, self._began_s = line, front, claim, began_s

    def ask(self) -> None:
        """Ask the stores."""
        reply = self._front.ask(self._claim, self)
        if reply is not None:
            self._answer(reply)

    def done(self) -> bool:
        """Whether the claim is answered."""
        return self.response_complete

    def set_result(self, result: Settled | Exception) -> None:
        """Answer the claim by what it came to, or ask again."""
        reply = self._front.told(self._claim, result)
        if reply is None:
            self.ask()
        else:
            self._answer(reply)

    def set_exception(self, exception: Exception) -> None:
        """Answer the claim although it is not known what it came to."""
        self.set_result(exception)

    def _answer(self, reply: Reply) -> None:
        self.response_complete = True
        claim = self._claim
        request_id = claim.incoming.request_id
        answered = (request_id, claim.counter.stock.stock_id, reply, self._began_s)
        try:
            if not self.disconnected:
                self._line.tell_last(self._front, answered, keeps_alive=self.keep_alive)
            else:
                self._front.count(answered)
        except Exception:  # noqa: BLE001  whoever is told next must not suffer for this connection
            _log.exception("the answer to request %s could not be sent", request_id)
            self._front.turns.send()  # it may be the rest that has failed
            self._line.transport.close()


class Line(HttpToolsProtocol):
    """One connection.

    Args:
        config: Of the server.
        server_state: Of the server.
        app_state: Of the application.
        _loop: The event loop.
    """

    # What a claim that is turned away touches, in places of its own: with thousands of connections nothing is near.
    __slots__ = ("_began_s", "_front", "_heads", "_is_between", "_is_queued", "_turns", "_used_s", "cycle", "transport")

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
        self._heads = None if self._front is None else self._front.heads
        self._whole = b""  # what the parser is given from the beginning of a head
        self._is_queued, self._later = False, b""
        self._ends = False  # once what is queued is answered
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
        self.cycle = None  # what was answered knows its connection

    def data_received(self, data: bytes) -> None:
        """Take in what has come: a claim when it is its turn, all else at once."""
        turns = self._turns
        if self._is_queued:
            # What follows a claim that waits for its turn waits as well, in the system's memory but for one read.
            self._later += data
            self.flow.pause_reading()
        elif turns is None or len(data) > _CLAIM_BYTES_MAX or not data.startswith(CLAIM_LINE_BEGIN):
            self._began_s = monotonic()
            super().data_received(data)
            if self._is_in_head:
                self._head_bytes += len(data)
                if self._head_bytes > _HEAD_BYTES_MAX and not self.transport.is_closing():
                    self.send_400_response("The head is too long.")
        else:
            now_s = monotonic()
            if turns.take(self, data, now_s):
                self._is_queued, self._used_s = True, now_s
            elif not self._turns_away(data, now_s):
                self.go_on(data, now_s, is_too_much=False)

    def go_on(self, data: bytes, since_s: float, *, is_too_much: bool) -> None:
        """Handle a claim whose turn it is."""
        self._is_queued = False
        if self.transport.is_closing():
            return
        self._began_s = since_s  # also of what follows it
        if not (is_too_much and self._turns_away(data, since_s)):
            self._take_in(data, since_s)
        if self._later:
            later, self._later = self._later, b""
            self.flow.resume_reading()
            super().data_received(later)
        if self._ends:
            self.shutdown()

    def _take_in(self, data: bytes, began_s: float) -> None:
        """Read a claim: like one of its shape that was read before, else with the parser."""
        cycle, front, heads = self.cycle, self._front, self._heads
        if front is None or heads is None or not (self._is_between and (cycle is None or cycle.response_complete)):
            super().data_received(data)
            return
        read = None if self.flow.write_paused else heads.read(data, self.client)
        if read is None:
            self._whole = data
            try:
                super().data_received(data)
            finally:
                self._whole = b""
        else:
            self._used_s = began_s
            stock_id, incoming = read
            self._claim(front, stock_id, incoming, began_s)

    def _turns_away(self, data: bytes, began_s: float) -> bool:
        """Turn a claim away if it is one too many and if that can be told from its head as it is."""
        cycle, front, heads = self.cycle, self._front, self._heads
        if front is None or heads is None or not (self._is_between and (cycle is None or cycle.response_complete)):
            return False
        stock_id = heads.stock_of(data)
        if stock_id is None:
            return False
        self._used_s = began_s
        return front.turn_away(self.transport, stock_id, began_s, self.server_state.default_headers)

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_between, self._is_in_head, self._head_bytes = False, True, 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """Answer a plain claim or poll, or let the application do so."""
        self._is_in_head = False
        front, url, parser = self._front, self.url, self.parser
        if (
            front is None
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or parser.should_upgrade()
            or self.expect_100_continue
            or self.flow.write_paused
            or not (self.cycle is None or self.cycle.response_complete)
            or _may_have_body(self.headers)
        ):
            self._pass_on()
        elif url.startswith(_PREFIX) and url.endswith(_SUFFIX) and not (b"%" in url or b"?" in url):
            if parser.get_method() == b"POST":
                stock_id = url[CLAIMS_BEGIN:CLAIMS_END].decode("latin-1")
                incoming = front.reception.read(self.headers, self.client)
                is_believed = self._claim(front, stock_id, incoming, self._began_s)
                if is_believed and self._whole:
                    front.heads.learn(self._whole, stock_id, incoming)
            else:
                self._pass_on()
        elif url == _STOCK and parser.get_method() == b"GET":
            # Much is told for little, so it is written at once: the transport says when it is too much.
            request_id, picture = front.stock_picture(self.headers, self._began_s)
            front.turns.send()
            self.transport.write(encoded(picture, request_id, self.server_state.default_headers))
        else:
            self._pass_on()

    def _claim(self, front: Front, stock_id: str, incoming: Incoming, began_s: float) -> bool:
        """Answer a claim or let it wait; return whether whoever sent it was believed to be who he says."""
        found = front.at_once(stock_id, incoming, began_s)
        if isinstance(found, Reply):
            request_id = incoming.request_id
            answer = encoded(found, request_id, self.server_state.default_headers)
            front.turns.answer(self.transport, answer, (request_id, stock_id, found, began_s))
            return found.status not in _OF_STRANGERS
        self.cycle = cycle = _UnderWay(self, front, found, began_s)
        cycle.ask()
        return True

    def tell_last(self, front: Front, answered: Answered, *, keeps_alive: bool) -> None:
        """Answer the claim that waited, and go on or end."""
        request_id, _, reply, _ = answered
        if not keeps_alive:
            reply = reply._replace(headers=reply.headers + _CLOSES)
        front.turns.answer(self.transport, encoded(reply, request_id, self.server_state.default_headers), answered)
        if not keeps_alive:
            front.turns.send()
            self.transport.close()
        self.on_response_complete()

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
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that nobody has used for long; one timer a connection sees to that, not one a request."""
        rest_s = self._used_s + self.timeout_keep_alive - monotonic()
        if self._is_queued or (self.cycle is not None and not self.cycle.response_complete):
            rest_s = self.timeout_keep_alive
        if rest_s <= 0:
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(rest_s, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._used_s = monotonic()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, after what was answered before it."""
        if self._turns is not None:
            self._turns.send()
        super().send_400_response(msg)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn's always says None
        """Send what is answered to whoever sends no more, and answer what is queued; then the connection ends."""
        if self._turns is not None:
            self._turns.send()
        self._ends = self._is_queued
        return self._ends

    def shutdown(self) -> None:
        """End as soon as what is being answered is."""
        if self._turns is not None:
            self._turns.send()
        self._ends = self._is_queued
        if not self._ends:
            super().shutdown()


def _may_have_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any((name == CONTENT_LENGTH and value != b"0") or name == TRANSFER_ENCODING for name, value in headers)
