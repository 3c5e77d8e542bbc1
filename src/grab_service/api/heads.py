"""Heads of claims that differ in nothing but whose they are, as nearly all of one client's do: not taken apart again.

A head is known by its shape: all of it but the token, and what a proxy adds to each request (``deploy/nginx``), the
list of addresses and an id.
"""

from __future__ import annotations

from typing import NamedTuple

from grab_service.api.incoming import REQUEST_ID_BYTES_MAX, Client, Incoming, Reception

CLAIMS_PREFIX, CLAIMS_SUFFIX = "/v1/stocks/", "/claims"
CLAIMS_BEGIN, CLAIMS_END = len(CLAIMS_PREFIX), -len(CLAIMS_SUFFIX)
CLAIM_LINE_BEGIN = b"POST " + CLAIMS_PREFIX.encode()
CONTENT_LENGTH, TRANSFER_ENCODING = b"content-length", b"transfer-encoding"

_LINE_END = CLAIMS_SUFFIX.encode() + b" HTTP/1.1\r\n"
_HEAD_END = b"\r\n\r\n"
_NO_BODY = CONTENT_LENGTH + b": 0\r\n"
_LINE_BYTES_MAX = 200
_SHAPES_MAX = 256
_SCHEME = b"Bearer "
_TOKEN, _TOKEN_IN_SMALL = b"\nAuthorization: " + _SCHEME, b"\nauthorization: " + _SCHEME
_SENDER, _ID = b"\nX-Forwarded-For: ", b"\nRequest-Id: "  # as our proxy writes them
# Nothing else may stand in what is cut out of a shape, so that it hides no line.
_WORD_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_TOKEN_BYTES = _WORD_BYTES + b"~+/="
_SENDER_BYTES = b"0123456789abcdefABCDEF.:, "
_FOLDED = (b" ", b"\t")  # a line that begins so belongs to the one before


class _Parts(NamedTuple):
    """A head in parts.

    Attributes:
        shape: All but the others.
        token: Who claims.
        sender: Where he comes from, as a proxy tells it.
        request_id: What the proxy calls the request.
    """

    shape: bytes
    token: bytes
    sender: bytes | None
    request_id: bytes | None


class Heads:
    """Remembers shapes.

    Args:
        reception: Gives out request ids.
    """

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._shapes: dict[bytes, tuple[str, Incoming]] = {}

    @property
    def remembered(self) -> int:
        """How many shapes are remembered."""
        return len(self._shapes)

    def stock_of(self, data: bytes) -> str | None:
        """Return which stock a message claims, None unless it is a claim and nothing else.

        The headers are only searched for what would make the message longer than its head, or end the connection.
        """
        parts = _cut(data)
        known = None if parts is None else self._shapes.get(parts.shape)
        return _stock_of(data) if known is None else known[0]

    def read(self, data: bytes, client: Client) -> tuple[str, Incoming] | None:
        """Return what a message claims and what its head says, None unless one of its shape was learned.

        Args:
            data: The message.
            client: Who holds the connection.
        """
        parts = _cut(data)
        known = None if parts is None else self._shapes.get(parts.shape)
        if parts is None or known is None:
            return None
        _, token, sender, theirs = parts
        request_id = self._reception.new_id() if theirs is None else theirs.decode()
        return known[0], known[1].again(_SCHEME + token, sender, client, request_id)

    def learn(self, data: bytes, stock_id: str, incoming: Incoming) -> None:
        """Remember what the parser has read: a claim without a body, for which it has used nothing but this message.

        Args:
            data: What it was given, from the beginning of the head; of somebody who was believed, so that nobody else
                can make this forget.
            stock_id: What is claimed.
            incoming: What the head says.
        """
        parts = _cut(data)
        if (
            parts is not None
            and incoming.says_once
            and incoming.names_itself == (parts.request_id is not None)
            and data.find(_HEAD_END) == len(data) - len(_HEAD_END)
        ):
            if len(self._shapes) >= _SHAPES_MAX:
                self._shapes.clear()
            self._shapes[parts.shape] = stock_id, incoming


def _cut(data: bytes) -> _Parts | None:
    """Return the parts of a head; None if it has no token that can be cut out."""
    begin = data.find(_TOKEN)
    if begin < 0:
        begin = data.find(_TOKEN_IN_SMALL)
        if begin < 0:
            return None
    begin += len(_TOKEN)
    end = data.find(b"\r", begin)
    token = data[begin:end]
    if end <= begin or token.translate(None, _TOKEN_BYTES) or data[end + 2 : end + 3] in _FOLDED:
        return None
    shape, sender, request_id = data[:begin] + data[end:], None, None
    begin = shape.find(_SENDER)
    if begin >= 0:
        begin += len(_SENDER)
        end = shape.find(b"\r", begin)
        sender = shape[begin:end]
        if end < 0 or sender.translate(None, _SENDER_BYTES) or shape[end + 2 : end + 3] in _FOLDED:
            return None
        shape = shape[:begin] + shape[end:]
    begin = shape.find(_ID)
    if begin >= 0:
        begin += len(_ID)
        end = shape.find(b"\r", begin)
        request_id = shape[begin:end]
        if not 0 < end - begin <= REQUEST_ID_BYTES_MAX or request_id.translate(None, _WORD_BYTES):
            return None
        if shape[end + 2 : end + 3] in _FOLDED:
            return None
        shape = shape[:begin] + shape[end:]
    return _Parts(shape, token, sender, request_id)


def _stock_of(data: bytes) -> str | None:
    line_end = data.find(b"\n") + 1
    line, small = data[:line_end], data.lower()
    if (
        not line.startswith(CLAIM_LINE_BEGIN)
        or not line.endswith(_LINE_END)
        or line_end > _LINE_BYTES_MAX
        or data.find(_HEAD_END) != len(data) - len(_HEAD_END)
        or small.count(CONTENT_LENGTH) != small.count(_NO_BODY)
        or TRANSFER_ENCODING in small
        or b"connection:" in small
    ):
        return None
    return line[len(CLAIM_LINE_BEGIN) : -len(_LINE_END)].decode("latin-1")
