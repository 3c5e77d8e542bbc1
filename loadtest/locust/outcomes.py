"""What an answer is called in the report, whether it is in order, and when to ask again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

CREATED, REPLAYED, PENDING, CONFLICT, TOO_MANY, BUSY = 201, 200, 202, 409, 429, 503
CLAIM_IN_ORDER = frozenset({CREATED, REPLAYED, PENDING, CONFLICT, TOO_MANY})
_ASK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status: Its HTTP status; 0 when none came.
        body: Its document, empty if it has none.
        retry_after_s: When the server asks to be asked again, None if it says nothing.
    """

    status: int
    body: Mapping[str, Any]
    retry_after_s: float | None = None

    @property
    def name(self) -> str:
        """How the report calls it: the code of a refusal, else WON, REPEATED, PENDING or the status."""
        named = {CREATED: "WON", REPLAYED: "REPEATED", PENDING: "PENDING", 0: "BROKEN"}
        return str(self.body.get("code") or named.get(self.status, self.status))

    def is_in_order(self, statuses: Collection[int]) -> bool:
        """Whether a refusal or success of these statuses is what a person must expect."""
        return self.status in statuses

    @property
    def has_voucher(self) -> bool:
        """Whether it brings a voucher."""
        return self.status in (CREATED, REPLAYED)

    @property
    def ask_again_in_s(self) -> float | None:
        """How long to wait before asking again; None if the answer is final."""
        is_final = self.has_voucher or (self.status == CONFLICT and self.name != "NOT_STARTED")
        if is_final or self.status not in (0, PENDING, CONFLICT, TOO_MANY, BUSY):
            return None
        return self.retry_after_s if self.retry_after_s is not None else _ASK_AGAIN_S


def retry_after_s(header: str | None) -> float | None:
    """Read a ``Retry-After`` in seconds; None if there is none or it is a date."""
    return float(header) if header and header.isdigit() else None
