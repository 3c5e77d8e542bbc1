"""Campaigns for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from grab_service.campaign import Campaign


def small_campaign(campaign_id: str, quantity: int = 5, **changes: Any) -> Campaign:
    """Return a campaign of two stocks that opened an hour ago.

    Args:
        campaign_id: Its id.
        quantity: Of each stock.
        changes: Members of the document to change; ``round_changes`` changes those of its round.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    round_ = {
        "round_id": "r1",
        "name": "第一场",
        "opens_at": (now - timedelta(hours=1)).isoformat(),
        "closes_at": (now + timedelta(days=1)).isoformat(),
        "budget_fen": quantity * 3_000 * 2,
        "quantities": {"general-1": quantity, "dining-1": quantity},
    }
    tier = {"tier": 1, "threshold_fen": 10_000, "discount_fen": 3_000}
    document: dict[str, Any] = {
        "campaign_id": campaign_id,
        "name": "测试活动",
        "source": "test",
        "organiser": "test",
        "platform": "test",
        "fund_fen": 10_000_000,
        "available_until": (now + timedelta(days=7)).isoformat(),
        "settle_by": (now + timedelta(days=60)).isoformat(),
        "limit_scope": "round",
        "eligible_regions": ["50"],
        "classes": [
            {"class_code": "general", "name": "通用券", "merchant_categories": ["超市"], "tiers": [tier]},
            {"class_code": "dining", "name": "餐饮券", "merchant_categories": ["火锅"], "tiers": [tier]},
        ],
        "rounds": [round_ | changes.pop("round_changes", {})],
        "merchants": {"accepts": ["payment_code"], "towns": ["古南街道"]},
    }
    return Campaign.from_document(document | changes)
