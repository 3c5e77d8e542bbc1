"""Claims that can be turned away by their head alone: recognised without taking it apart."""

from __future__ import annotations

CLAIMS_PREFIX, CLAIMS_SUFFIX = "/v1/stocks/", "/claims"
CLAIMS_BEGIN, CLAIMS_END = len(CLAIMS_PREFIX), -len(CLAIMS_SUFFIX)
CLAIM_LINE_BEGIN = b"POST " + CLAIMS_PREFIX.encode()
CONTENT_LENGTH, TRANSFER_ENCODING = b"content-length", b"transfer-encoding"

_LINE_END = CLAIMS_SUFFIX.encode() + b" HTTP/1.1\r\n"
_HEAD_END = b"\r\n\r\n"
_NO_BODY = CONTENT_LENGTH + b": 0\r\n"
_LINE_BYTES_MAX = 200
_SHAPES_MAX = 256
_TOKEN = b"uthorization: "  # of which the first letter may be a small one


class Heads:
    """Remembers what heads look like that differ in their token only, as nearly all of one client's do."""

    def __init__(self) -> None:
        self._stock_of: dict[bytes, str] = {}

    @property
    def remembered(self) -> int:
        """How many different ones are remembered."""
        return len(self._stock_of)

    def stock_of(self, data: bytes) -> str | None:
        """Return which stock a message claims, None unless it is a claim and nothing else.

        The headers are only searched for what would make the message longer than its head, or end the connection.
        """
        begin = data.find(_TOKEN) + len(_TOKEN)
        end = data.find(b"\r", begin)
        if begin < len(_TOKEN) or end < 0 or data.find(b"\n", begin, end) >= 0:
            return _stock_of(data)
        shape = data[:begin] + data[end:]
        stock_id = self._stock_of.get(shape)
        if stock_id is None:
            stock_id = _stock_of(data)
            if stock_id is not None and data.find(b"\n") < begin:
                if len(self._stock_of) == _SHAPES_MAX:
                    self._stock_of.clear()
                self._stock_of[shape] = stock_id
        return stock_id


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
