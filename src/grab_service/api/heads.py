"""Heads of claims that differ in nothing but whose they are, as nearly all of one client's do: not taken apart again.

A head is known by its shape: all of it but the token, and the list of addresses that a proxy adds.
"""

from __future__ import annotations

from dataclasses import dataclass

from grab_service.api.incoming import Client, Incoming, Reception

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
_SENDER = b"\nX-Forwarded-For: "
# Nothing else may stand in what is cut out of a shape, so that it hides no line.
_TOKEN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/=-"
_SENDER_BYTES = b"0123456789abcdefABCDEF.:, "


@dataclass(slots=True)
class _Shape:
    """What all heads of one shape say.

    Attributes:
        stock_id: What is claimed.
        incoming: What the parser of HTTP has read in one of them; None as long as it was asked for none.
    """

    stock_id: str
    incoming: Incoming | None = None


class Heads:
    """Remembers shapes.

    Args:
        reception: Gives out request ids.
    """

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._shapes: dict[bytes, _Shape] = {}

    @property
    def remembered(self) -> int:
        """How many shapes are remembered."""
        return len(self._shapes)

    def stock_of(self, data: bytes) -> str | None:
        """Return which stock a message claims, None unless it is a claim and nothing else.

        The headers are only searched for what would make the message longer than its head, or end the connection.
        """
        parts = _cut(data)
        if parts is None:
            return _stock_of(data)
        known = self._shapes.get(parts[0])
        if known is not None:
            return known.stock_id
        stock_id = _stock_of(data)
        if stock_id is not None:
            self._remember(parts[0], _Shape(stock_id))
        return stock_id

    def read(self, data: bytes, client: Client) -> tuple[str, Incoming] | None:
        """Return what a message claims and what its head says, None unless the parser has read one of its shape.

        Args:
            data: The message.
            client: Who holds the connection.
        """
        parts = _cut(data)
        if parts is None:
            return None
        shape, token, sender = parts
        known = self._shapes.get(shape)
        if known is None or known.incoming is None:
            return None
        incoming = known.incoming.again(_SCHEME + token, sender, client, self._reception.new_id())
        return known.stock_id, incoming

    def learn(self, data: bytes, stock_id: str, incoming: Incoming) -> None:
        """Remember what the parser has read: a claim without a body, for which it has used nothing but this message.

        Args:
            data: What it was given, from the beginning of the head.
            stock_id: What is claimed.
            incoming: What the head says.
        """
        parts = _cut(data)
        if parts is not None and incoming.says_once and data.find(_HEAD_END) == len(data) - len(_HEAD_END):
            self._remember(parts[0], _Shape(stock_id, incoming))

    def _remember(self, shape: bytes, known: _Shape) -> None:
        if len(self._shapes) >= _SHAPES_MAX:
            self._shapes.clear()
        self._shapes[shape] = known


def _cut(data: bytes) -> tuple[bytes, bytes, bytes | None] | None:
    """Return a head's shape, its token and its sender's addresses; None if it has no token that can be cut out."""
    begin = data.find(_TOKEN)
    if begin < 0:
        begin = data.find(_TOKEN_IN_SMALL)
        if begin < 0:
            return None
    begin += len(_TOKEN)
    end = data.find(b"\r", begin)
    token = data[begin:end]
    if end < 0 or token.translate(None, _TOKEN_BYTES):
        return None
    shape = data[:begin] + data[end:]
    begin = shape.find(_SENDER)
    if begin < 0:
        return shape, token, None
    begin += len(_SENDER)
    end = shape.find(b"\r", begin)
    sender = shape[begin:end]
    if end < 0 or sender.translate(None, _SENDER_BYTES):
        return None
    return shape[:begin] + shape[end:], token, sender


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
