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
_TOKEN_BEGINS = len(_TOKEN)
_SENDER, _ID = b"\nX-Forwarded-For: ", b"\nRequest-Id: "  # as our proxy writes them
# Nothing else may stand in what is cut out of a shape, so that it hides no line.
_WORD_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_TOKEN_BYTES = _WORD_BYTES + b"~+/="
_SENDER_BYTES = b"0123456789abcdefABCDEF.:, "


class _Known(NamedTuple):
    """What a shape says.

    Attributes:
        stock_id: What is claimed.
        incoming: What the head said that was learned.
    """

    stock_id: str
    incoming: Incoming


class Heads:
    """Remembers shapes.

    Args:
        reception: Gives out request ids.
    """

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        # By what they are without the token; those with values of a proxy by what they are without these as well.
        self._plain: dict[bytes, _Known] = {}
        self._told: dict[bytes, _Known] = {}

    @property
    def remembered(self) -> int:
        """How many shapes are remembered."""
        return len(self._plain) + len(self._told)

    def stock_of(self, data: bytes) -> str | None:
        """Return which stock a message claims, None unless it is a claim and nothing else.

        The headers are only searched for what would make the message longer than its head, or end the connection.
        """
        found = self._find(data)
        return _stock_of(data) if found is None else found[0].stock_id

    def read(self, data: bytes, client: Client) -> tuple[str, Incoming] | None:
        """Return what a message claims and what its head says, None unless one of its shape was learned.

        Args:
            data: The message.
            client: Who holds the connection.
        """
        found = self._find(data)
        if found is None:
            return None
        (stock_id, incoming), token, sender, theirs = found
        request_id = self._reception.new_id() if theirs is None else theirs.decode()
        return stock_id, incoming.again(_SCHEME + token, sender, client, request_id)

    def learn(self, data: bytes, stock_id: str, incoming: Incoming) -> None:
        """Remember what the parser has read: a claim without a body, for which it has used nothing but this message.

        Args:
            data: What it was given, from the beginning of the head; of somebody who was believed, so that nobody else
                can make this forget.
            stock_id: What is claimed.
            incoming: What the head says.
        """
        if not incoming.says_once or data.find(_HEAD_END) != len(data) - len(_HEAD_END) or _is_folded(data):
            return
        parts = _cut(data)
        told = None if parts is None else _cut_told(parts[0])
        if parts is None or told is None:
            return
        shape, sender, request_id = told
        if incoming.names_itself != (request_id is not None):
            return
        if self.remembered >= _SHAPES_MAX:
            self._plain.clear()
            self._told.clear()
        if sender is None and request_id is None:
            self._plain[shape] = _Known(stock_id, incoming)
        else:
            self._told[shape] = _Known(stock_id, incoming)

    def _find(self, data: bytes) -> tuple[_Known, bytes, bytes | None, bytes | None] | None:
        """Return what is known of a head, its token, its sender as a proxy tells him, and what the proxy calls it."""
        parts = _cut(data)
        if parts is None:
            return None
        shape, token = parts
        known = self._plain.get(shape)
        if known is not None:
            return known, token, None, None
        told = _cut_told(shape) if self._told else None
        if told is None:
            return None
        shape, sender, request_id = told
        known = self._told.get(shape)
        return None if known is None else (known, token, sender, request_id)


def _cut(data: bytes) -> tuple[bytes, bytes] | None:
    """Return a head without its token, and the token; None if it has none that can be cut out."""
    begin = data.find(_TOKEN)
    if begin < 0:
        begin = data.find(_TOKEN_IN_SMALL)
        if begin < 0:
            return None
    begin += _TOKEN_BEGINS
    end = data.find(b"\r", begin)
    token = data[begin:end]
    if end <= begin or token.translate(None, _TOKEN_BYTES):
        return None
    return data[:begin] + data[end:], token


def _cut_told(shape: bytes) -> tuple[bytes, bytes | None, bytes | None] | None:
    """Return a head without what a proxy adds, whom it saw and its name for the request; None if these are strange."""
    sender = request_id = None
    begin = shape.find(_SENDER)
    if begin >= 0:
        begin += len(_SENDER)
        end = shape.find(b"\r", begin)
        sender = shape[begin:end]
        if end < 0 or sender.translate(None, _SENDER_BYTES):
            return None
        shape = shape[:begin] + shape[end:]
    begin = shape.find(_ID)
    if begin >= 0:
        begin += len(_ID)
        end = shape.find(b"\r", begin)
        request_id = shape[begin:end]
        if not 0 < end - begin <= REQUEST_ID_BYTES_MAX or request_id.translate(None, _WORD_BYTES):
            return None
        shape = shape[:begin] + shape[end:]
    return shape, sender, request_id


def _is_folded(data: bytes) -> bool:
    """Whether a line belongs to the one before, so that a value does not end where its line does."""
    return b"\n " in data or b"\n\t" in data


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
