"""What every route needs to know of a request, read from its headers in one pass."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import Message, Receive

from grab_service.addresses import Proxies, block_of_request
from grab_service.api import problems
from grab_service.api.json_body import JsonRefused, read_json
from grab_service.api.problems import Code
from grab_service.identity import Identity

REQUEST_ID_BYTES_MAX = 64
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,%d}" % REQUEST_ID_BYTES_MAX)
_LENGTH_DIGITS_MAX = 15  # no body is so long, and reading a number of thousands of digits is refused by Python
_AUTHORIZATION, _CONTENT_LENGTH, _FORWARDED_FOR = b"authorization", b"content-length", b"x-forwarded-for"
_BODY_S = 5.0  # a small body comes in one piece, or its sender holds the connection for its own sake

Headers = Sequence[tuple[bytes, bytes]]
Client = Sequence[Any] | None


class Incoming:
    """The facts of one request; those that few routes need are read from the headers when they are asked for.

    Args:
        headers: As the server tells them.
        known: The last of each name.
        client: Who holds the connection, as an ASGI scope tells it.
        proxies: Whose word about the sender's address is believed.
        authorization: Every ``Authorization`` header, so that a second one can be refused.
        has_body: Whether the headers announce a body.
        language: Of the messages in the answer.
        request_id: The caller's ``Request-Id`` if it is a sane one, else one of ours.

    Attributes:
        authorization: As above, and so are those that follow.
        has_body: As above.
        language: As above.
        request_id: As above.
        identity: Who is asking, once the request was admitted to a route that is not for everybody.
        replay: The body of a signed request, which is read twice: to compare it, and by the route.
    """

    __slots__ = (
        "_client",
        "_headers",
        "_known",
        "_proxies",
        "authorization",
        "has_body",
        "identity",
        "language",
        "replay",
        "request_id",
    )

    def __init__(  # noqa: PLR0917  made once a request: names would cost a part of it
        self,
        headers: Headers,
        known: Mapping[bytes, bytes],
        client: Client,
        proxies: Proxies,
        authorization: list[bytes],
        has_body: bool,
        language: str,
        request_id: str,
    ) -> None:
        self._headers = headers
        self._known = known
        self._client = client
        self._proxies = proxies
        self.authorization = authorization
        self.has_body = has_body
        self.language = language
        self.request_id = request_id
        self.identity: Identity | None = None
        self.replay: Replay | None = None

    @property
    def if_none_match(self) -> bytes | None:
        """The ``If-None-Match`` header."""
        return self._known.get(b"if-none-match")

    @property
    def content_type(self) -> bytes:
        """The media type of the body."""
        return self._known.get(b"content-type", b"")

    @property
    def body_length(self) -> int | None:
        """The announced length, None when it is not told or not a number."""
        return _length(self._known.get(_CONTENT_LENGTH))

    @property
    def says_once(self) -> bool:
        """Whether no header comes twice."""
        return len(self._known) == len(self._headers)

    @property
    def names_itself(self) -> bool:
        """Whether a header names the request."""
        return b"request-id" in self._known

    def again(self, authorization: bytes, forwarded_for: bytes | None, client: Client, request_id: str) -> Incoming:
        """Return the facts of another request, whose headers differ in these values alone.

        Args:
            authorization: Its ``Authorization``.
            forwarded_for: Its ``X-Forwarded-For``, None if it has none or the same.
            client: Who holds its connection.
            request_id: Its id.
        """
        headers = self._headers if forwarded_for is None else ((_FORWARDED_FOR, forwarded_for),)
        known, proxies, has_body, language = self._known, self._proxies, self.has_body, self.language
        return Incoming(headers, known, client, proxies, [authorization], has_body, language, request_id)

    def block(self) -> str | None:
        """Return the block of addresses that the request comes from, None if it is one of the operator's own."""
        return block_of_request(self._proxies, self._client, self._headers)


class Replay:
    """The receiving end of a request whose body can be taken in whole, and is then told once more.

    Args:
        receive: The server's.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._taken: bytes | None = None

    async def take(self, body_bytes_max: int) -> bytes | tuple[Code, str]:
        """Read the whole body, or return what is wrong with it."""
        body = await _read_all(self._receive, body_bytes_max)
        if isinstance(body, bytes):
            self._taken = body
        return body

    async def __call__(self) -> Message:
        """Return the next message of the request."""
        if self._taken is None:
            return await self._receive()
        body, self._taken = self._taken, None
        return {"type": "http.request", "body": body, "more_body": False}


class Reception:
    """Reads requests and gives out request ids.

    Args:
        proxies: Whose word about a sender's address is believed.
    """

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies
        self._process = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def new_id(self) -> str:
        """Return a request id that no other request has."""
        return f"{self._process}-{next(self._numbers):x}"

    def read(self, headers: Headers, client: Client) -> Incoming:
        """Read the headers of a request."""
        known = dict(headers)
        authorization = [known[_AUTHORIZATION]] if _AUTHORIZATION in known else []
        if authorization and len(known) != len(headers):
            authorization = [value for name, value in headers if name == _AUTHORIZATION]
        length = known.get(_CONTENT_LENGTH, b"0")
        has_body = b"transfer-encoding" in known or (length != b"0" and _length(length) != 0)
        theirs = known.get(b"request-id")
        request_id = self.new_id() if theirs is None or not _REQUEST_ID.fullmatch(theirs) else theirs.decode()
        accept_language = known.get(b"accept-language")
        language = problems.CHINESE if accept_language is None else problems.language_of(accept_language)
        return Incoming(headers, known, client, self._proxies, authorization, has_body, language, request_id)


def _length(value: bytes | None) -> int | None:
    if value is None or not value.isdigit() or len(value) > _LENGTH_DIGITS_MAX:
        return None
    return int(value)


async def read_body(incoming: Incoming, receive: Receive, body_bytes_max: int) -> bytes | tuple[Code, str]:
    """Read a body of JSON, empty if there is none, or return what is wrong with it."""
    if not incoming.has_body:
        return b""
    if incoming.body_length is not None and incoming.body_length > body_bytes_max:
        return _too_large(body_bytes_max)
    try:
        async with asyncio.timeout(_BODY_S):
            body = await _read_all(receive, body_bytes_max)
    except TimeoutError:
        return (Code.PARAM_ERROR, f"The body did not arrive within {_BODY_S:.0f} s.")
    if isinstance(body, tuple):
        return body
    if body.strip() and not incoming.content_type.lower().startswith(b"application/json"):
        return (Code.PARAM_ERROR, "A body must be sent as application/json.")
    return body.strip()


async def _read_all(receive: Receive, body_bytes_max: int) -> bytes | tuple[Code, str]:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return (Code.PARAM_ERROR, "The body ended early.")
        body += message.get("body", b"")
        if len(body) > body_bytes_max:
            return _too_large(body_bytes_max)
        more = message.get("more_body", False)
    return bytes(body)


def _too_large(body_bytes_max: int) -> tuple[Code, str]:
    return (Code.TOO_LARGE, f"The body must not exceed {body_bytes_max} bytes.")


async def refuse_content(incoming: Incoming, receive: Receive, body_bytes_max: int) -> tuple[Code, str] | None:
    """Read a body that should be absent or an empty JSON object; return what is wrong with it, if anything.

    Who claims is in the token and what is claimed is in the path; a body that says more is refused
    before anybody relies on it.
    """
    body = await read_body(incoming, receive, body_bytes_max)
    if not body:
        return None
    if isinstance(body, tuple):
        return body
    try:
        content = read_json(body)
    except JsonRefused as error:
        return (Code.PARAM_ERROR, str(error))
    return None if content == {} else (Code.PARAM_ERROR, "This request takes no members in its body.")
