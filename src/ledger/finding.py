"""What the watch finds wrong."""

from __future__ import annotations

from dataclasses import dataclass

Where = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Finding:
    """A violated invariant.

    Attributes:
        invariant: Its id.
        stock_id: Of the stock; None if it concerns all of them.
        sentence: What is wrong.
        difference: By how many vouchers, where two counts differ.
    """

    invariant: str
    stock_id: str | None
    sentence: str
    difference: int = 0

    @property
    def where(self) -> Where:
        """What is violated, whatever the figures are."""
        return self.invariant, self.stock_id
