"""Uses of vouchers and frozen periods as a model knows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True, eq=False)
class Use:
    """A redemption as the model knows it."""

    redemption_id: str
    place: int
    shop: str
    at: datetime
    amount_fen: int
    refunded_fen: int = 0
    returned_fen: int = 0
    is_reversed: bool = False
    is_frozen: bool = False
    is_paid: bool = False


@dataclass(slots=True)
class Period:
    """A frozen period: what it pays to whom."""

    settlement_id: str
    paid_fen: dict[str, int]
    uses: list[Use]
