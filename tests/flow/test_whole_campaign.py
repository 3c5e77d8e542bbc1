"""The real campaign from the first fen to the last: funded, sold out, used, returned, expired, settled.

The file is the real one and the clock is its own, December 2023.  ``make campaign`` plays it at full length;
``CAMPAIGN_USES`` and ``CAMPAIGN_SEED`` are what it varies.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import asyncpg
import pytest
import redis.asyncio as redis
from loadtest.bench.sql import statement

from grab_service import embedded
from grab_service.campaign import Campaign, read_campaign
from ledger import expiry
from ledger.catalogue import StockRow
from ledger.holds import VoucherName
from tests.support.books import Books, code_of
from tests.support.campaign_walk import Voucher, Walk
from tests.support.settle import settle
from tests.support.till import Till, add_merchant, receive_fund

_log = logging.getLogger(__name__)

FILE = Path(__file__).parents[2] / "campaigns" / "qijiang-2023.toml"
USES = int(os.environ.get("CAMPAIGN_USES", "2500"))
SEED = int(os.environ.get("CAMPAIGN_SEED", "1"))
WALKERS = 6
CATEGORY = {"general": "超市", "dining": "火锅消费周"}
SHOPS = 10  # of each category

STATES = (
    "SELECT v.stock_no, v.claim_no, coalesce((SELECT e.to_state FROM events e"
    " WHERE e.stock_no = v.stock_no AND e.claim_no = v.claim_no ORDER BY e.version DESC LIMIT 1), 'ISSUED') AS state"
    " FROM claims v"
)


async def sold_out(books: Books) -> list[StockRow]:
    """Sell every voucher of both rounds in their hours, by rows; a recovery brings the owners to the gate."""
    await books.load()
    await books.recover()
    rows = await books.rows()
    opens_at = {round_.round_id: round_.opens_at for round_ in books.campaign.rounds}
    for row in rows:
        (round_id,) = [name for name in opens_at if f"-{name}-" in row.stock_id]
        sold_ms = int(opens_at[round_id].timestamp() * 1000) + 1_000
        await books.vault.execute(statement("insert_holders"), row.stock_no, 1, row.quantity, sold_ms)
    await books.recover()
    return rows


def vouchers_of(campaign: Campaign, rows: list[StockRow]) -> list[Voucher]:
    """Return every voucher as the model begins with it."""
    terms = {stock.stock_id: stock for stock in campaign.stocks()}
    facts = [(row, terms[row.stock_id], claim_no) for row in rows for claim_no in range(1, row.quantity + 1)]
    return [
        Voucher(
            place=place,
            stock_no=row.stock_no,
            claim_no=claim_no,
            name=VoucherName(row.stock_id, claim_no),
            code_hash=hashlib.sha256(code_of(row.stock_id, claim_no).encode()).digest(),
            category=CATEGORY["dining" if "-dining-" in row.stock_id else "general"],
            threshold_fen=stock.threshold_fen,
            discount_fen=stock.discount_fen,
        )
        for place, (row, stock, claim_no) in enumerate(facts)
    ]


@pytest.mark.timeout(900)
async def test_the_whole_campaign_is_right_to_the_fen(
    vault: asyncpg.Connection,
    redis_client: redis.Redis,
    database_url: str,
    valkey_server: embedded.Server,
    campaign_id: str,
) -> None:
    """Whatever happens in whatever order, the pool holds the fund less what was paid out, to the fen."""
    campaign = read_campaign(FILE).model_copy(update={"campaign_id": campaign_id})
    books = Books(campaign, vault, redis_client, database_url, valkey_server.url)
    till = Till(books, vault)
    rows = await sold_out(books)
    assert sum(row.quantity for row in rows) == 25_400
    await receive_fund(vault, campaign_id, campaign.fund_fen)
    assert await till.balances() == {"EXTERNAL": -campaign.fund_fen, "RESERVED": campaign.fund_fen}

    merchants: dict[str, list[str]] = {}
    for number in range(SHOPS * len(CATEGORY)):
        merchant_no, category = f"{898_500_000_000_000 + number}", list(CATEGORY.values())[number % len(CATEGORY)]
        await add_merchant(vault, merchant_no, category)
        merchants.setdefault(category, []).append(merchant_no)

    async with asyncpg.create_pool(database_url, min_size=1, max_size=WALKERS + 4) as pool:
        begins_at, until = campaign.rounds[-1].opens_at, campaign.available_until
        walk = Walk(pool, vouchers_of(campaign, rows), merchants, Random(SEED), begins_at, until)  # noqa: S311  repeatable
        step = (until - begins_at) / max(1, USES // 2)

        await walk.run(WALKERS, USES // 2, step)
        walk.now += timedelta(seconds=1)
        await settle(vault, campaign_id, walk.now)
        walk.settled_until = walk.now
        await walk.run(WALKERS, USES - USES // 2, step)

        # The validity ends while terminals are at it: a voucher is used a second before, or it expires.
        walk.now, walk.may_expire = until - timedelta(seconds=1), True
        expired = await expire_beside(walk, vault)
        expired += await expiry.expire_vouchers(vault, at=until)
        assert await expiry.expire_vouchers(vault, at=until) == 0
        for voucher in walk.vouchers:
            voucher.state = "EXPIRED" if voucher.state in ("ISSUED", "HELD") else voucher.state
        for closed in await expiry.rounds_to_seal(vault, at=until + timedelta(days=1)):
            assert await expiry.seal_round(vault, closed.round_no) == 0
        for _ in range(50):
            await walk.refund()
        await settle(vault, campaign_id, until + timedelta(days=1))

    model = {(each.stock_no, each.claim_no): each.state for each in walk.vouchers}
    found = {
        (row["stock_no"], row["claim_no"]): row["state"].replace("REFUNDED", "USED")
        for row in await vault.fetch(STATES)
    }
    assert found == model
    assert expired == Counter(model.values())["EXPIRED"]
    paid_fen = sum(use.voucher.discount_fen - use.returned_fen for use in walk.uses if not use.is_reversed)
    balances = {"EXTERNAL": -campaign.fund_fen, "POOL": campaign.fund_fen - paid_fen, "PAID_OUT": paid_fen}
    assert await till.balances() == balances, walk.told
    assert await till.violated() == []
    assert len(walk.uses) >= USES
    for outcome in ("redeem DONE", "redeem VOUCHER_USED", "redeem VOUCHER_EXPIRED", "reverse DONE", "refund DONE"):
        assert walk.told[outcome] > 0, walk.told
    for outcome in ("review hold", "review release", "review void", "redeem VOUCHER_VOID"):
        assert walk.told[outcome] > 0, walk.told
    assert walk.told["refund DONE of what was settled"] > 0, walk.told
    _log.info("%d redemptions, seed %d: %s", len(walk.uses), SEED, dict(sorted(walk.told.items())))


async def expire_beside(walk: Walk, vault: asyncpg.Connection) -> int:
    """Expire all that has not been used while the terminals go on; return how many vouchers expired."""
    expiring = asyncio.create_task(expiry.expire_vouchers(vault, at=walk.until))
    while not expiring.done():
        await asyncio.gather(*(walk.act() for _ in range(WALKERS)))
    return await expiring
