"""Merchants for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncpg

from ledger import catalogue, merchants
from ledger.merchant_facts import NewMerchant
from ledger.merchants import Verdict
from tests.support.campaigns import small_campaign
from tests.support.new_campaigns import new_campaign

TOWNS = ["古南街道", "石角镇"]


def number(n: int) -> str:
    """Return the n-th merchant's UnionPay number."""
    return f"{898_500_000_000_000 + n}"


def new_merchant(n: int = 1, **changes: Any) -> NewMerchant:
    """Return a merchant that the small campaign takes."""
    facts = NewMerchant(
        merchant_no=number(n),
        name=f"第{n}超市",
        address=f"人民路{n}号",
        town="古南街道",
        category="超市",
        accepts=("payment_code",),
    )
    return replace(facts, **changes)


async def load_rules(vault: asyncpg.Connection, campaign_id: str) -> None:
    """Store a campaign with two towns and the categories of two classes."""
    document = small_campaign(campaign_id, merchants={"accepts": ["payment_code"], "towns": TOWNS}).document()
    await catalogue.load_campaign(vault, replace(new_campaign(campaign_id), document=document))


async def approve(vault: asyncpg.Connection, *new: NewMerchant) -> None:
    """Store merchants and approve them."""
    assert not await merchants.submit(vault, new, actor="bank", reason="list")
    numbers = [each.merchant_no for each in new]
    assert not await merchants.decide(vault, numbers, Verdict.APPROVE, actor="officer", reason="all in order")
