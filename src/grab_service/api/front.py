"""The outermost ASGI application: serves the two hot routes itself and leaves the rest to FastAPI."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grab_service import instants
from grab_service.api import problems
from grab_service.api.claims import Asked
from grab_service.api.ending import Ending
from grab_service.api.heads import CLAIMS_BEGIN, CLAIMS_END, CLAIMS_PREFIX, CLAIMS_SUFFIX, Heads
from grab_service.api.incoming import Headers, Incoming, Reception, Replay, refuse_content
from grab_service.api.instruments import Answered
from grab_service.api.problems import Code
from grab_service.api.refusals import Refusals
from grab_service.api.reply import Reply
from grab_service.api.safe_headers import completed
from grab_service.api.scopes import Surface, surface_of
from grab_service.api.service import Service
from grab_service.api.turns import Transport, Turns
from grab_service.claimant import Claimant
from grab_service.confirm import Settled
from grab_service.signatures import looks_signed

_log = logging.getLogger(__name__)

_FULL = problems.form(Code.SYSTEM_BUSY, problems.CHINESE, "Too many claims are under way.", ending=Ending.BUSY_PLACES)
_TURNED_AWAY = _FULL.filled_in("")
STOCK_PATH = "/v1/stock"
_STOCK_CACHING = (b"cache-control", b"public, max-age=1")


class Front:
    """Serves claims and the polled stock picture as bare ASGI.

    Args:
        app: FastAPI, for everything else.
        service: The running service.
        surface: What this port serves; the rest is not found here.

    Attributes:
        serves_claims: Whether claims are answered here.
        places: Counts the claims under way.
        turns: Lets claims in that connections hold, a slice a turn.
        heads: Those of the claims that connections hold.
        reception: Reads requests.
    """

    def __init__(self, app: ASGIApp, service: Service, surface: Surface) -> None:
        self._app = app
        self._surface = surface
        self.serves_claims = Surface.PUBLIC in surface
        self._service = service
        self._instruments = service.instruments
        self._claims = service.claims
        self.places = service.places
        self.turns = Turns(self.places, service.instruments.claims)
        self._refusals = Refusals(_FULL)
        self.reception = Reception(service.proxies)
        self.heads = Heads(self.reception)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on what is not HTTP."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if not (
            path.endswith(CLAIMS_SUFFIX)
            and path.startswith(CLAIMS_PREFIX)
            and scope["method"] == "POST"
            and self.serves_claims
        ):
            await self._serve_other(scope, receive, send)
            return
        began_s = monotonic()
        stock_id = path[CLAIMS_BEGIN:CLAIMS_END]
        if self.is_full(stock_id):
            request_id = self.reception.new_id()
            reply = _FULL.filled_in(request_id)
        else:
            incoming = self.reception.read(scope["headers"], scope.get("client"))
            request_id = incoming.request_id
            reply = await self._claim(stock_id, incoming, receive, began_s)
        start, body = reply.messages(request_id)
        await send(start)
        await send(body)
        self.count((request_id, stock_id, reply, began_s))

    def is_full(self, stock_id: str) -> bool:
        """Whether the next claim of a stock has to be turned away."""
        return self.turns.are_full or self.places.are_full(stock_id)

    def turn_away(
        self, transport: Transport, stock_id: str, began_s: float, of_every_answer: Sequence[tuple[bytes, bytes]]
    ) -> bool:
        """Answer a claim for which there is no place; return False if there is one.

        Args:
            transport: Where the answer goes.
            stock_id: What is claimed.
            began_s: When the claim came, on the monotonic clock.
            of_every_answer: Headers that the server adds.
        """
        if not self.is_full(stock_id):
            return False
        request_id = self.reception.new_id()
        answer = self._refusals.answer(request_id.encode(), of_every_answer)
        self.turns.answer(transport, answer, (request_id, stock_id, _TURNED_AWAY, began_s))
        return True

    def at_once(self, stock_id: str, incoming: Incoming, now_s: float) -> Reply | Asked:
        """Answer a claim without a body, or return what the stores have to be asked; a place is taken for it then.

        Args:
            stock_id: What is claimed.
            incoming: The request.
            now_s: This process's monotonic clock.
        """
        if (self.places.are_short or self.turns.are_full) and self.is_full(stock_id):
            return _FULL.filled_in(incoming.request_id)
        try:
            known = self._claims.answer_at_once(stock_id, incoming, now_s)
        except Exception:  # noqa: BLE001  the last resort: the caller gets a problem, the log the cause
            return _failed(incoming)
        if isinstance(known, Asked):
            self.places.take(stock_id)
        return known

    def ask(self, claim: Asked, claimant: Claimant[Settled]) -> Reply | None:
        """Ask the stores about a claim, or answer it at once; its place is free again then."""
        try:
            reply = self._claims.ask(claim, claimant)
        except Exception:  # noqa: BLE001  as above
            reply = _failed(claim.incoming)
        if reply is not None:
            self.places.leave(claim.counter.stock.stock_id)
        return reply

    def told(self, claim: Asked, settled: Settled | Exception) -> Reply | None:
        """Return the answer to a claim about which the stores were asked; None if they must be asked again.

        Its place is free again if it is answered.
        """
        try:
            reply = self._claims.told(claim, settled)
        except Exception:  # noqa: BLE001  as above
            reply = _failed(claim.incoming)
        if reply is not None:
            self.places.leave(claim.counter.stock.stock_id)
        return reply

    def count(self, answered: Answered) -> None:
        """Count a claim whose answer goes out now, or to nobody."""
        self._instruments.claims((answered,), monotonic())

    async def _claim(self, stock_id: str, incoming: Incoming, receive: Receive, now_s: float) -> Reply:
        try:
            if incoming.has_body:
                wrong = await refuse_content(incoming, receive, self._service.settings.body_bytes_max)
                if wrong is not None:
                    return problems.reply(wrong[0], incoming.request_id, incoming.language, detail=wrong[1])
        except Exception:  # noqa: BLE001  as above
            return _failed(incoming)
        found = self.at_once(stock_id, incoming, now_s)
        while isinstance(found, Asked):
            found = await self._ask(found)
        return found

    async def _ask(self, claim: Asked) -> Reply | Asked:
        """Ask the stores about a claim once; return the claim if they must be asked again."""
        waiting: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        reply = self.ask(claim, waiting)
        if reply is not None:
            return reply
        settled: Settled | Exception
        try:
            settled = await waiting
        except asyncio.CancelledError:
            self.places.leave(claim.counter.stock.stock_id)
            raise
        except Exception as error:  # noqa: BLE001  as above
            settled = error
        return self.told(claim, settled) or claim

    def stock_picture(self, headers: Headers, began_s: float) -> tuple[str, Reply]:
        """Answer a poll of the stock picture, counted; return its request id as well.

        Args:
            headers: Of the request.
            began_s: When it came, on the monotonic clock.
        """
        incoming = self.reception.read(headers, None)
        reply = self._stock(incoming)
        self._instruments.stock_picture(reply.status, monotonic() - began_s)
        return incoming.request_id, reply

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == STOCK_PATH and scope["method"] in ("GET", "HEAD"):
            request_id, reply = self.stock_picture(scope["headers"], monotonic())
            await reply.send(send, request_id)
            return
        incoming = self.reception.read(scope["headers"], scope.get("client"))
        await self._pass_on(incoming, scope, receive, self._instruments.watched(scope, send, incoming.request_id))

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


def _failed(incoming: Incoming) -> Reply:
    """Log the exception that is being handled and return what the caller is told."""
    _log.exception("claim failed unexpectedly, request %s", incoming.request_id)
    return problems.reply(Code.SYSTEM_ERROR, incoming.request_id, incoming.language)
