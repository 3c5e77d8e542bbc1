"""A shelf: one stock in the real gate, opened the way a recovery opens it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import redis.asyncio as redis

from grab_service.gate import Gate
from grab_service.stock import Stock

LIBRARY = Path(__file__).parents[2] / "lua" / "grab.lua"
NOW = datetime.now(UTC)
LONG_AGO, FAR_AHEAD = NOW - timedelta(days=1), NOW + timedelta(days=1)


def make_stock(
    campaign_id: str,
    *,
    class_code: str = "general",
    round_id: str = "r1",
    quantity: int = 5,
    gate_tag: str | None = None,
    round_limit: int = 0,
    spans_rounds: bool = False,
    opens_at: datetime = LONG_AGO,
    closes_at: datetime = FAR_AHEAD,
) -> Stock:
    """Return a stock of the campaign."""
    stock_id = f"{campaign_id}-{round_id}-{class_code}-1"
    return Stock(
        stock_id=stock_id,
        campaign_id=campaign_id,
        round_id=round_id,
        class_code=class_code,
        class_name=class_code,
        tier=1,
        name=class_code,
        threshold_fen=10_000,
        discount_fen=3_000,
        quantity=quantity,
        opens_at=opens_at,
        closes_at=closes_at,
        available_until=FAR_AHEAD,
        gate_tag=gate_tag or stock_id,
        round_limit=round_limit,
        spans_rounds=spans_rounds,
    )


@dataclass(frozen=True, slots=True)
class Shelf:
    """Puts stocks into the gate and looks at what is there."""

    client: redis.Redis
    gate: Gate

    async def rebuild(
        self, stock: Stock, epoch: int = 1, free: str = "all", holders: Mapping[str, str] | None = None
    ) -> int:
        """Do what a recovery does before it opens; ``free`` is 'all' or pairs of first and last number."""
        keys = stock.keys
        begun = await self.call("grab_rebuild", [keys.rules, keys.free, keys.holders, keys.refused], epoch)
        runs = ["1", str(stock.quantity)] if free == "all" else free.split()
        if runs:
            await self.call("grab_put_free", [keys.rules, keys.free], epoch, *runs)
        if holders:
            pairs = [part for pair in holders.items() for part in pair]
            await self.call("grab_put_hash", [keys.rules, keys.holders], epoch, *pairs)
        return begun

    async def open(
        self, stock: Stock, epoch: int = 1, *, opens_ms: int | None = None, closes_ms: int | None = None, **facts: int
    ) -> int:
        """Open a rebuilt stock; ``facts`` may set paused, clock_floor_ms, sold_out_ms, booked."""
        keys = stock.keys
        return await self.call(
            "grab_open",
            [keys.rules, keys.free, keys.holders, keys.claims, keys.progress],
            epoch,
            stock.quantity,
            int(stock.opens_at.timestamp() * 1000) if opens_ms is None else opens_ms,
            int(stock.closes_at.timestamp() * 1000) if closes_ms is None else closes_ms,
            facts.get("paused", 0),
            stock.round_limit,
            1 if stock.spans_rounds else 0,
            facts.get("clock_floor_ms", 0),
            facts.get("sold_out_ms", 0),
            facts.get("booked", 0),
        )

    async def stand(self, stock: Stock, epoch: int = 1, **facts: int) -> Stock:
        """Rebuild and open a stock with all its numbers free."""
        assert await self.rebuild(stock, epoch) == 1
        assert await self.open(stock, epoch, **facts) == 1
        return stock

    async def call(self, function: str, keys: list[str], *args: object) -> int:
        """Call a function of the library."""
        reply = await self.client.fcall(function, len(keys), *keys, *args)
        assert isinstance(reply, int)
        return reply

    async def letters(self, stock: Stock, *users: str) -> str:
        """Claim for these users and return the letters of the answers."""
        return "".join(answer.letter for answer in await self.gate.claim(stock, list(users)))

    async def entries(self, stock: Stock) -> list[tuple[str, dict[str, str]]]:
        """Return the stream of claims."""
        return cast("list[tuple[str, dict[str, str]]]", await self.client.xrange(stock.keys.claims))

    async def now_ms(self) -> int:
        """Return the gate's clock."""
        seconds, microseconds = await self.client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


@pytest.fixture
async def shelf(redis_client: redis.Redis) -> Shelf:
    """A shelf on this process's gate, with the library loaded."""
    if not await redis_client.function_list(library="grab"):
        await redis_client.function_load(LIBRARY.read_text())
    return Shelf(redis_client, Gate(redis_client))


@pytest.fixture
def stock_of(campaign_id: str) -> Callable[..., Stock]:
    """Make stocks of this test's own campaign."""

    def make(**facts: object) -> Stock:
        return make_stock(campaign_id, **facts)  # type: ignore[arg-type]  # forwarded as they are

    return make
