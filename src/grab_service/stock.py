"""One stock: the vouchers of one class and tier in one round, as the claim path knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from grab_service.keys import StockKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """The facts of a stock that never change once its campaign is loaded.

    Attributes:
        stock_id: ``{campaign}-{round}-{class}-{tier}``, ``qijiang-2023-r1-general-1``.
        campaign_id: The campaign, ``qijiang-2023``.
        round_id: The round within its campaign, ``r1``.
        class_code: The class within its campaign, ``general``.
        class_name: What users call the class, ``通用券``.
        tier: The number of the tier within its class, from 1.
        name: What users call the voucher, ``通用券 满100减30``.
        threshold_fen: What a payment must reach for the voucher to be used.
        discount_fen: What the voucher takes off it.
        quantity: How many vouchers there are.
        opens_at: The first instant at which a claim is granted; aware.
        closes_at: The first instant at which none is any more; aware.
        available_until: The first instant at which the voucher cannot be used any more; aware.
        gate_tag: Hash tag of its keys in the gate: the first characters of ``stock_id``.
        round_limit: Vouchers that a user may have in the round, over all its stocks; 0 for no such limit.
        spans_rounds: Whether a user may have one voucher of this class and tier in the campaign, not one a round.
        keys: Names of its keys in the gate.
    """

    stock_id: str
    campaign_id: str
    round_id: str
    class_code: str
    class_name: str
    tier: int
    name: str
    threshold_fen: int
    discount_fen: int
    quantity: int
    opens_at: datetime
    closes_at: datetime
    available_until: datetime
    gate_tag: str
    round_limit: int
    spans_rounds: bool
    keys: StockKeys = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Name the keys once: every claim needs them."""
        keys = StockKeys.of(self.stock_id, self.gate_tag, f"{self.class_code}-{self.tier}")
        object.__setattr__(self, "keys", keys)
