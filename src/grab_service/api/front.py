"""The outermost ASGI application: serves the two hot routes itself and leaves the rest to FastAPI."""

from __future__ import annotations

import logging
import time
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grab_service import instants
from grab_service.api import problems
from grab_service.api.ending import Ending
from grab_service.api.incoming import Incoming, Reception, Replay, refuse_content
from grab_service.api.problems import Code
from grab_service.api.reply import Reply
from grab_service.api.safe_headers import completed
from grab_service.api.scopes import Surface, surface_of
from grab_service.api.service import Service
from grab_service.signatures import looks_signed

_log = logging.getLogger(__name__)

_CLAIMS_PREFIX, _CLAIMS_SUFFIX = "/v1/stocks/", "/claims"
_CLAIMS_BEGIN, _CLAIMS_END = len(_CLAIMS_PREFIX), -len(_CLAIMS_SUFFIX)
_FULL = problems.form(Code.SYSTEM_BUSY, problems.CHINESE, "Too many claims are under way.", ending=Ending.BUSY_PLACES)
_STOCK_PATH = "/v1/stock"
_STOCK_CACHING = (b"cache-control", b"public, max-age=1")


class Front:
    """Serves claims and the polled stock picture as bare ASGI.

    Args:
        app: FastAPI, for everything else.
        service: The running service.
        surface: What this port serves; the rest is not found here.
    """

    def __init__(self, app: ASGIApp, service: Service, surface: Surface) -> None:
        self._app = app
        self._surface = surface
        self._serves_claims = Surface.PUBLIC in surface
        self._service = service
        self._instruments = service.instruments
        self._claims = service.claims
        self._places = service.places
        self._reception = Reception(service.proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on what is not HTTP."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if not (
            path.endswith(_CLAIMS_SUFFIX)
            and path.startswith(_CLAIMS_PREFIX)
            and scope["method"] == "POST"
            and self._serves_claims
        ):
            await self._serve_other(scope, receive, send)
            return
        began_s = monotonic()
        stock_id = path[_CLAIMS_BEGIN:_CLAIMS_END]
        if self._places.are_full(stock_id):
            request_id = self._reception.new_id()
            reply = _FULL.filled_in(request_id)
        else:
            incoming = self._reception.read(scope)
            request_id = incoming.request_id
            reply = await self._claim(stock_id, incoming, receive, began_s)
        start, body = reply.messages(request_id)
        await send(start)
        await send(body)
        self._instruments.claim(request_id, stock_id, reply, monotonic() - began_s)

    async def _claim(self, stock_id: str, incoming: Incoming, receive: Receive, now_s: float) -> Reply:
        try:
            if incoming.has_body:
                wrong = await refuse_content(incoming, receive, self._service.settings.body_bytes_max)
                if wrong is not None:
                    return problems.reply(wrong[0], incoming.request_id, incoming.language, detail=wrong[1])
            known = self._claims.answer_at_once(stock_id, incoming, now_s)
            if isinstance(known, Reply):
                return known
            self._places.take(stock_id)
            try:
                return await self._claims.ask(stock_id, known, incoming)
            finally:
                self._places.leave(stock_id)
        except Exception:  # noqa: BLE001  the last resort: the caller gets a problem, the log the cause
            _log.exception("claim failed unexpectedly, request %s", incoming.request_id)
            return problems.reply(Code.SYSTEM_ERROR, incoming.request_id, incoming.language)

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s = monotonic()
        instruments = self._instruments
        incoming = self._reception.read(scope)
        if scope["path"] == _STOCK_PATH and scope["method"] in ("GET", "HEAD"):
            reply = self._stock(incoming)
            await reply.send(send, incoming.request_id)
            instruments.stock_picture(reply.status, monotonic() - began_s)
        else:
            await self._pass_on(incoming, scope, receive, instruments.watched(scope, send, incoming.request_id))

    def _stock(self, incoming: Incoming) -> Reply:
        snapshot = self._service.snapshot
        headers = ((b"etag", snapshot.etag), _STOCK_CACHING)
        if incoming.if_none_match is not None and snapshot.etag in incoming.if_none_match:
            return Reply(304, b"", headers=headers)
        server_time = instants.written(time.time_ns() // 1_000_000)
        return Reply(200, snapshot.body + server_time + b'"}', headers=headers)

    async def _pass_on(self, incoming: Incoming, scope: Scope, receive: Receive, send: Send) -> None:
        if not surface_of(scope["path"]) & self._surface:
            await problems.reply(Code.RESOURCE_NOT_EXISTS, incoming.request_id, incoming.language).send(
                send, incoming.request_id
            )
            return
        scope["state"]["incoming"] = incoming
        if incoming.authorization and looks_signed(incoming.authorization[0]):
            receive = incoming.replay = Replay(receive)
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = completed(message["headers"], incoming.request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            _log.exception("request %s failed unexpectedly", incoming.request_id)
            if has_begun:
                raise
            reply = problems.reply(Code.SYSTEM_ERROR, incoming.request_id, incoming.language)
            await reply.send(send, incoming.request_id)
