"""The fund of a campaign: what arrives, what is set aside for its stocks, and where every fen is.

Money moves when the facts move: received → pool; minted → reserved for the stock; redeemed → payable
to the merchant; reversed, refunded, expired, never claimed → back; settled → paid out.  A claim
moves no money.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import asyncpg

from ledger import china
from ledger.statements import statement

# 綦商务发〔2023〕80号: the fund is transferred two working days before the issuing.
WORKING_DAYS_AHEAD = 2

_SELECT_CAMPAIGN = statement("select_campaign_locked")
_SELECT_RECEIPT = statement("select_receipt")
_INSERT_ACCOUNTS = statement("insert_accounts")
_RECEIVE_FUND = statement("receive_fund")
_RESERVE_STOCKS = statement("reserve_stocks")
_SELECT_BALANCES = statement("select_balances")
_SELECT_UNFUNDED = statement("select_unfunded_rounds")


class FundRefused(Exception):
    """The money cannot be booked; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Money that arrived.

    Attributes:
        campaign_id: For which campaign.
        amount_fen: How much.
        reference: The bank's, by which the same transfer is never booked twice.
        received_on: The day it arrived, in China.
        recorded_by: Who says so.
        deed_no: The deed in the journal of staff, of the same transaction; None without one.
    """

    campaign_id: str
    amount_fen: int
    reference: str
    received_on: date
    recorded_by: str
    deed_no: int | None = None


def today(now: datetime) -> date:
    """Return the day that it is in China."""
    return china.day_of(now)


def rehearsed(campaign_id: str, fund_fen: int) -> Receipt:
    """Return the receipt of a rehearsal, whose fund has come by itself, today."""
    return Receipt(
        campaign_id=campaign_id,
        amount_fen=fund_fen,
        reference="rehearsal",
        received_on=today(datetime.now(UTC)),
        recorded_by="grab up",
    )


@dataclass(frozen=True, slots=True)
class Received:
    """What became of it.

    Attributes:
        is_new: False if this very transfer was booked before.
        late_for: Opening days for which it came later than two working days before.
        reserved: Stocks whose vouchers have their money since now.
        unfunded: Stocks whose vouchers still have none.
    """

    is_new: bool
    late_for: tuple[date, ...]
    reserved: tuple[str, ...]
    unfunded: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "is_new": self.is_new,
            "late_for": [day.isoformat() for day in self.late_for],
            "reserved": list(self.reserved),
            "unfunded": list(self.unfunded),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfunded:
    """A round that has vouchers without money: nobody can use them.

    Attributes:
        stocks: How many of its stocks.
        needed_fen: What they need.
    """

    campaign_id: str
    round_id: str
    opens_at: datetime
    stocks: int
    needed_fen: int

    @property
    def due_on(self) -> date:
        """The day by which the money is to be there, in China: two working days before the opening."""
        return china.working_days_before(china.day_of(self.opens_at), WORKING_DAYS_AHEAD)


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds; ``holder`` is a stock, a merchant or empty."""

    kind: str
    holder: str
    balance_fen: int


async def receive_fund(connection: asyncpg.Connection, receipt: Receipt) -> Received:
    """Book money that arrived, and set aside what the stocks without money need, as far as it reaches.

    Raises:
        FundRefused: There is no such campaign, or the reference stands for another amount or day.
    """
    async with connection.transaction(isolation="read_committed"):
        campaign = await connection.fetchrow(_SELECT_CAMPAIGN, receipt.campaign_id)
        if campaign is None:
            raise FundRefused(f"no campaign {receipt.campaign_id} is stored: load it first")
        campaign_no = campaign["campaign_no"]
        await connection.execute(_INSERT_ACCOUNTS, campaign_no)
        earlier = await connection.fetchrow(_SELECT_RECEIPT, campaign_no, receipt.reference)
        if earlier is None:
            await connection.execute(
                _RECEIVE_FUND,
                campaign_no,
                receipt.amount_fen,
                receipt.reference,
                receipt.received_on,
                receipt.recorded_by,
                receipt.deed_no,
            )
        elif tuple(earlier) != (receipt.amount_fen, receipt.received_on):
            raise FundRefused(
                f"{receipt.reference} is booked already, as {earlier['amount_fen']} fen of {earlier['received_on']}"
            )
        stocks = await connection.fetch(_RESERVE_STOCKS, campaign_no)
    return Received(
        earlier is None,
        late_for(receipt.received_on, campaign["openings"]),
        tuple(row["stock_id"] for row in stocks if row["is_reserved"]),
        tuple(row["stock_id"] for row in stocks if not row["is_reserved"]),
    )


def late_for(received_on: date, openings: Sequence[datetime]) -> tuple[date, ...]:
    """Return the days of opening that are less than two working days after the money came."""
    days = [china.day_of(opens_at) for opens_at in openings]
    return tuple(day for day in days if received_on > china.working_days_before(day, WORKING_DAYS_AHEAD))


async def unfunded(connection: asyncpg.Connection) -> list[Unfunded]:
    """Return the rounds that have vouchers without money, in their order."""
    return [Unfunded(**row) for row in await connection.fetch(_SELECT_UNFUNDED)]


async def balances(connection: asyncpg.Connection, campaign_id: str) -> list[Balance]:
    """Return the balance of every account of a campaign; none if no money was ever received."""
    return [Balance(**row) for row in await connection.fetch(_SELECT_BALANCES, campaign_id)]
