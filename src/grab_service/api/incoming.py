"""What every route needs to know of a request, read from its headers in one pass."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope

from grab_service.api import problems
from grab_service.api.json_body import JsonRefused, read_json
from grab_service.api.problems import Code
from grab_service.identity import Identity

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_LENGTH_DIGITS_MAX = 15  # no body is so long, and reading a number of thousands of digits is refused by Python
_BODY_S = 5.0  # a small body comes in one piece, or its sender holds the connection for its own sake


@dataclass(slots=True)
class Incoming:
    """The facts of one request.

    Attributes:
        request_id: The caller's ``Request-Id`` if it is a sane one, else one of ours.
        language: Of the messages in the answer.
        authorization: Every ``Authorization`` header, so that a second one can be refused.
        if_none_match: The ``If-None-Match`` header.
        content_type: The media type of the body.
        has_body: Whether the headers announce a body.
        body_length: The announced length, None when it is not told or not a number.
        identity: Who is asking, once the request was admitted to a route that is not for everybody.
        replay: The body of a signed request, which is read twice: to compare it, and by the route.
    """

    request_id: str
    language: str
    authorization: list[bytes]
    if_none_match: bytes | None = None
    content_type: bytes = b""
    has_body: bool = False
    body_length: int | None = None
    identity: Identity | None = None
    replay: Replay | None = None


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
    """Reads requests and gives out request ids."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def read(self, scope: Scope) -> Incoming:
        """Read the headers of a request."""
        request_id: str | None = None
        accept_language: bytes | None = None
        incoming = Incoming("", problems.CHINESE, [])
        for name, value in scope["headers"]:
            if name == b"authorization":
                incoming.authorization.append(value)
            elif name == b"request-id":
                request_id = value.decode() if _REQUEST_ID.fullmatch(value) else None
            elif name == b"accept-language":
                accept_language = value
            elif name == b"if-none-match":
                incoming.if_none_match = value
            elif name == b"content-type":
                incoming.content_type = value
            elif name == b"content-length":
                incoming.body_length = int(value) if value.isdigit() and len(value) <= _LENGTH_DIGITS_MAX else None
                incoming.has_body = incoming.body_length != 0
            elif name == b"transfer-encoding":
                incoming.has_body = True
        incoming.request_id = request_id or f"{self._process}-{next(self._numbers):x}"
        if accept_language is not None:
            incoming.language = problems.language_of(accept_language)
        return incoming


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
