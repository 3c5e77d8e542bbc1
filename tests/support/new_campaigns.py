"""Campaigns as the vault takes them, without the campaign file's model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ledger.catalogue import NewCampaign, NewRound, NewStock


def new_campaign(
    campaign_id: str, *, quantity: int = 5, round_ids: Sequence[str] = ("r1",), spans_rounds: bool = False
) -> NewCampaign:
    """Return a campaign with one stock in each round."""
    now = datetime.now(UTC).replace(microsecond=0)
    return NewCampaign(
        campaign_id=campaign_id,
        document={"campaign_id": campaign_id, "name": "测试活动"},
        fund_fen=10_000_000,
        rounds=[
            NewRound(
                round_id=round_id,
                opens_at=now,
                closes_at=now + timedelta(days=1),
                round_limit=0,
                stocks=[_new_stock(campaign_id, round_id, quantity, now + timedelta(days=7), spans_rounds)],
            )
            for round_id in round_ids
        ],
    )


def _new_stock(
    campaign_id: str, round_id: str, quantity: int, available_until: datetime, spans_rounds: bool
) -> NewStock:
    stock_id = f"{campaign_id}-{round_id}-general-1"
    return NewStock(
        stock_id=stock_id,
        class_code="general",
        tier=1,
        name="通用券",
        threshold_fen=10_000,
        discount_fen=3_000,
        quantity=quantity,
        available_until=available_until,
        gate_tag=campaign_id if spans_rounds else stock_id,
        spans_rounds=spans_rounds,
        code_hashes=[hashlib.sha256(f"{stock_id} {number}".encode()).digest() for number in range(quantity)],
    )
