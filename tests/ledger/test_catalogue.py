"""The catalogue: a campaign is stored whole or not at all, and read back as it was."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from ledger import catalogue
from ledger.catalogue import CampaignDiffers, NewCampaign
from ledger.record import record
from tests.support.books import Books, user_ref
from tests.support.new_campaigns import new_campaign


async def vouchers(vault: asyncpg.Connection) -> int:
    """Return how many vouchers are minted."""
    return int(await vault.fetchval("SELECT count(*) FROM vouchers"))


async def test_a_campaign_is_minted_and_read_back(vault: asyncpg.Connection, campaign_id: str) -> None:
    """Every fact of a stock comes back, its hashes stand under its numbers, and its round was never opened."""
    campaign = new_campaign(campaign_id, quantity=3)
    assert await catalogue.load_campaign(vault, campaign)
    [row] = await catalogue.stock_rows(vault)
    [round_] = campaign.rounds
    [stock] = round_.stocks
    facts = ("stock_id", "class_code", "tier", "name", "threshold_fen", "discount_fen", "quantity", "available_until")
    assert [getattr(row, fact) for fact in facts] == [getattr(stock, fact) for fact in facts]
    assert (row.campaign_id, row.round_id, row.opens_at, row.closes_at) == (
        campaign_id,
        "r1",
        round_.opens_at,
        round_.closes_at,
    )
    assert (row.limit_no, row.class_tier_limit, row.paused, row.epoch, row.gate_run_id) == (
        row.stock_no,
        0,
        False,
        0,
        None,
    )
    hashes = await vault.fetch("SELECT code_hash FROM vouchers ORDER BY claim_no")
    assert [each["code_hash"] for each in hashes] == list(stock.code_hashes)
    assert await catalogue.documents(vault) == {campaign_id: campaign.document}


async def test_the_same_campaign_is_loaded_once(vault: asyncpg.Connection, campaign_id: str) -> None:
    """A second load says that it is there already, whatever the order of the document's members."""
    campaign = new_campaign(campaign_id, quantity=3)
    assert await catalogue.load_campaign(vault, campaign)
    turned = replace(campaign, document=dict(reversed(list(campaign.document.items()))))
    assert not await catalogue.load_campaign(vault, turned)
    assert await vouchers(vault) == 3


async def test_another_campaign_under_the_same_id_is_refused(vault: asyncpg.Connection, campaign_id: str) -> None:
    """What is stored stands, and the sentence says what to do."""
    campaign = new_campaign(campaign_id, quantity=3)
    await catalogue.load_campaign(vault, campaign)
    with pytest.raises(CampaignDiffers, match="give the changed campaign another id"):
        await catalogue.load_campaign(vault, replace(campaign, document={"changed": True}))
    assert await catalogue.documents(vault) == {campaign_id: campaign.document}


async def test_two_loads_at_once_store_it_once(vault: asyncpg.Connection, database_url: str, campaign_id: str) -> None:
    """Two processes that start together may both load the campaign."""
    other = await asyncpg.connect(database_url)
    campaign = new_campaign(campaign_id, quantity=500)
    loaded = await asyncio.gather(*(catalogue.load_campaign(each, campaign) for each in (vault, other)))
    assert sorted(loaded) == [False, True]
    assert await vouchers(vault) == 500
    await other.close()


@pytest.mark.parametrize("count", [2, 4])
async def test_a_stock_without_exactly_its_vouchers_is_not_stored(
    vault: asyncpg.Connection, campaign_id: str, count: int
) -> None:
    """One code too few or too many: nothing of the campaign remains."""
    campaign = new_campaign(campaign_id, quantity=3)
    [round_] = campaign.rounds
    stock = replace(round_.stocks[0], code_hashes=[bytes([number]) * 32 for number in range(count)])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        await catalogue.load_campaign(vault, replace(campaign, rounds=[replace(round_, stocks=[stock])]))
    assert await catalogue.documents(vault) == {}


async def test_a_code_that_is_minted_twice_is_refused(vault: asyncpg.Connection, campaign_id: str) -> None:
    """Two campaigns cannot share a voucher's code."""
    await catalogue.load_campaign(vault, new_campaign(campaign_id, quantity=3))
    copy = _under_another_id(new_campaign(campaign_id, quantity=3), f"{campaign_id}-copy")
    with pytest.raises(asyncpg.UniqueViolationError, match="code_hash"):
        await catalogue.load_campaign(vault, copy)
    assert list(await catalogue.documents(vault)) == [campaign_id]


def _under_another_id(campaign: NewCampaign, campaign_id: str) -> NewCampaign:
    [round_] = campaign.rounds
    stock_id = f"{campaign_id}-r1-general-1"
    stock = replace(round_.stocks[0], stock_id=stock_id, gate_tag=stock_id)
    return replace(campaign, campaign_id=campaign_id, rounds=[replace(round_, stocks=[stock])])


async def test_a_limit_that_spans_rounds_is_that_of_the_first_stock_of_its_class_and_tier(
    vault: asyncpg.Connection, campaign_id: str
) -> None:
    """Both rounds' stocks share a limit; that of another campaign is another."""
    for each in (campaign_id, f"{campaign_id}-more"):
        await catalogue.load_campaign(vault, new_campaign(each, round_ids=("r1", "r2"), spans_rounds=True))
    first, second, other_first, other_second = await catalogue.stock_rows(vault)
    assert first.limit_no == second.limit_no == first.stock_no
    assert other_first.limit_no == other_second.limit_no == other_first.stock_no
    assert {row.class_tier_limit for row in (first, second)} == {1}
    assert first.keys.class_tier_taken == second.keys.class_tier_taken


async def test_the_claims_of_a_user_are_found(books: Books) -> None:
    """All of them, oldest first, and only theirs; the instant is that of the stream's id."""
    first, second = await books.rows()
    for row, ms in ((first, 1_700_000_000_002), (second, 1_700_000_000_001)):
        fields = {"v": "1", "epoch": str(row.epoch), "claim_no": "1", "user_ref": user_ref("a")}
        await record(books.vault, row, [(f"{ms}-0", fields)])
    claims = await catalogue.claims_of_user(books.vault, user_ref("a"))
    assert [claim.stock_id for claim in claims] == [second.stock_id, first.stock_id]
    assert claims[0].claimed_at.timestamp() * 1000 == pytest.approx(1_700_000_000_001, abs=0.01)
    assert claims[1] == await catalogue.claim_of_user(books.vault, first.stock_id, user_ref("a"))
    assert claims[1].stream_id == "1700000000002-0"
    assert claims[1].claimed_at - claims[0].claimed_at == timedelta(milliseconds=1)
    assert await catalogue.claims_of_user(books.vault, user_ref("b")) == []
    assert await catalogue.claim_of_user(books.vault, "nothing", user_ref("a")) is None
