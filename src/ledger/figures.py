"""The figures of a campaign for its final report: issued, used, lapsed, and what people spent for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import asyncpg

from ledger.statements import statement

_SELECT_STOCKS = statement("report_stocks")
_SELECT_TOWNS = statement("report_towns")
_SELECT_DAYS = statement("report_days")
_COUNT_USED = statement("count_used")


@dataclass(frozen=True, slots=True, kw_only=True)
class StockFigures:
    """One stock.

    Attributes:
        quantity: Vouchers there are.
        issued: Claimed.
        used: Claimed and used at a merchant, without those whose use was reversed.
        expired: Claimed and never used in time.
        returned: Never claimed, once the round is sealed.
        voided: Claimed and taken back for good by two persons.
        spent_fen: What the orders came to before the discount, less the goods that came back.
        subsidy_fen: The discounts of them, less what came back to the pool.
    """

    stock_id: str
    name: str
    round_id: str
    class_code: str
    tier: int
    quantity: int
    issued: int
    used: int
    expired: int
    returned: int
    voided: int
    spent_fen: int
    subsidy_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TownFigures:
    """One town; ``merchants`` are those at which a voucher was used."""

    town: str
    merchants: int
    used: int
    spent_fen: int
    subsidy_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFigures:
    """One day in China; goods that came back count on the day of the purchase.

    Attributes:
        lapsed: Vouchers that were never used in time, never claimed, or taken back, on the day that this was booked.
    """

    day: date
    issued: int
    used: int
    lapsed: int
    spent_fen: int
    subsidy_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of it."""

    stocks: tuple[StockFigures, ...]
    towns: tuple[TownFigures, ...]
    days: tuple[DayFigures, ...]


async def figures_of(connection: asyncpg.Connection, campaign_id: str) -> Figures:
    """Return the figures of a campaign, all of one instant; empty if there is no such campaign."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return Figures(
            stocks=tuple([StockFigures(**row) for row in await connection.fetch(_SELECT_STOCKS, campaign_id)]),
            towns=tuple([TownFigures(**row) for row in await connection.fetch(_SELECT_TOWNS, campaign_id)]),
            days=tuple([DayFigures(**row) for row in await connection.fetch(_SELECT_DAYS, campaign_id)]),
        )


async def used_vouchers(connection: asyncpg.Connection) -> int:
    """Return how many vouchers of all campaigns are used."""
    return int(await connection.fetchval(_COUNT_USED))
