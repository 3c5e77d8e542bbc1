"""The history of a run: each request and what was answered to it, one JSON object a line.

A request that was sent is in the history, whatever came back: one without an answer is UNKNOWN, and
may still take effect after its client has given up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WON, PENDING, SOLD_OUT, UNKNOWN = "WON", "PENDING", "SOLD_OUT", "UNKNOWN"
NOT_STARTED, ENDED, PAUSED, LIMIT = "NOT_STARTED", "ENDED", "PAUSED", "LIMIT"
BUSY, REFUSED, ERROR = "BUSY", "REFUSED", "ERROR"

NO_ANSWER, FOR_THE_FIRST_TIME = 0, 201  # statuses: the connection broke or timed out; this very request has won

_BY_STATUS = {NO_ANSWER: UNKNOWN, 200: WON, FOR_THE_FIRST_TIME: WON, 202: PENDING, 429: BUSY, 503: BUSY}
_BY_CODE = {name: name for name in (SOLD_OUT, NOT_STARTED, ENDED, PAUSED)} | {"LIMIT_REACHED": LIMIT}
_LINES_MAX = 1000  # operations that wait to be written


@dataclass(frozen=True, slots=True)
class Operation:
    """One claim as its client saw it.

    Attributes:
        at_start_ms: When the request was sent, Unix milliseconds by the client's clock.
        at_end_ms: When the answer was there, or the client gave up.
        user: Whose claim it was, by the name that the token gives (``sub``).
        stock_id: What was claimed.
        outcome: One of the names above.
        status: Of the answer, 0 if there was none.
        claim_no: The voucher's number; this and what follows only if ``outcome`` is WON.
        voucher_code: The voucher's code as it was told.
        claimed_at: The instant of the claim as it was told, RFC 3339.
    """

    at_start_ms: float
    at_end_ms: float
    user: str
    stock_id: str
    outcome: str
    status: int
    claim_no: int | None = None
    voucher_code: str | None = None
    claimed_at: str | None = None

    @property
    def has_just_won(self) -> bool:
        """Whether this very request took the voucher, as opposed to being told of it again."""
        return self.outcome == WON and self.status == FOR_THE_FIRST_TIME


def operation(at_start_ms: float, at_end_ms: float, user: str, stock_id: str, *, status: int, body: bytes) -> Operation:
    """Make an operation of an answer as it came over the wire; ``status`` is 0 if none came."""
    document = _document(body)
    outcome = outcome_of(status, str(document.get("code", "")))
    if outcome != WON:
        return Operation(at_start_ms, at_end_ms, user, stock_id, outcome, status)
    told = (document.get("claim_no"), document.get("voucher_code"), document.get("claimed_at"))
    return Operation(at_start_ms, at_end_ms, user, stock_id, outcome, status, *told)


def outcome_of(status: int, code: str) -> str:
    """Name an answer by its status and the ``code`` of its problem document."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return ERROR if status >= 500 else _BY_CODE.get(code, REFUSED)  # noqa: PLR2004  the class of HTTP's statuses


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


class HistoryWriter:
    """Appends operations to a file; for one process, whose event loop is held up by a write now and then.

    Args:
        path: The file; what is in it stays.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lines: list[str] = []

    def append(self, done: Operation) -> None:
        """Add an operation that has ended."""
        self._lines.append(json.dumps(asdict(done), ensure_ascii=False, separators=(",", ":")) + "\n")
        if len(self._lines) >= _LINES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._file.write("".join(self._lines))
        self._file.flush()
        self._lines.clear()

    def close(self) -> None:
        """Write what waits, and close the file."""
        self.flush()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_history(path: Path) -> Iterator[Operation]:
    """Yield the operations of a file; a last line that a dying writer has left unfinished is passed over.

    Raises:
        OSError: The file cannot be read.
        ValueError, TypeError: A line is not an operation.
    """
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield Operation(**json.loads(line))
