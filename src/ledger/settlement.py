"""Settlement: a period is frozen, somebody else agrees, every merchant is paid once what his line says.

Freezing takes in every event of a merchant that lies before the period's end and is in no settlement
yet, so nothing is left out that was committed late and nothing is in two of them.  What happens after
the freezing belongs to the next period; a merchant that got too much owes it from there.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from ledger import admin, catalogue
from ledger.admin import Action
from ledger.journals import STAFF, journals
from ledger.statements import statement

_SELECT_CAMPAIGN = statement("select_campaign_locked")
_INSERT = statement("insert_settlement")
_INSERT_LINES = statement("insert_settlement_lines")
_APPROVE = statement("approve_settlement")
_PAY = statement("pay_settlement")
_SELECT = statement("select_settlements")
_SELECT_LINES = statement("select_settlement_lines")
_SELECT_ITEMS = statement("select_settlement_items")
_SELECT_DEADLINES = statement("select_settlement_deadlines")
_SELECT_COMPARISON = statement("select_latest_comparison")
_ACCEPT = statement("insert_acceptance")

_FETCH_ROWS = 2_000


class SettlementRefused(Exception):
    """This cannot be settled so; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What is settled, in fen, and how many events make it up.

    Attributes:
        brought_fen: What was owed by merchants after the settlement before; never above 0.
        refunded_fen: Discounts of goods that came back before they were paid out.
        clawed_back_fen: Discounts of goods that came back after they were paid out.
        paid_fen: What merchants get; never below 0.
        carried_fen: What merchants owe into the next settlement; never above 0.
    """

    brought_fen: int
    redeemed: int
    redeemed_fen: int
    reversed: int
    reversed_fen: int
    refunded: int
    refunded_fen: int
    clawed_back: int
    clawed_back_fen: int
    paid_fen: int
    carried_fen: int

    @property
    def net_fen(self) -> int:
        """What the period comes to; of a merchant, either paid or carried."""
        return self.paid_fen + self.carried_fen


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement(Amounts):
    """A frozen period of a campaign with its totals.

    Attributes:
        nth: 1, 2, 3 … of its campaign.
        begins_at: Where the period before ended; None for the first.
        until: Its end, exclusive.
        heads: JSON: the heads of the campaign's journals and of that of staff at the freezing.
        state: FROZEN, APPROVED (agreed, not paid) or PAID.
        merchants: How many lines it has.
    """

    settlement_no: int
    request_no: int
    campaign_id: str
    nth: int
    begins_at: datetime | None
    until: datetime
    frozen_at: datetime
    heads: str
    requested_by: str
    reason: str
    approved_by: str | None
    approved_at: datetime | None
    state: str
    merchants: int

    @property
    def settlement_id(self) -> str:
        """Its name outside: ``qijiang-2023-s1``."""
        return f"{self.campaign_id}-s{self.nth}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Amounts):
    """What one merchant gets."""

    merchant_no: str
    name: str
    town: str
    category: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One event of a settlement: a use, its reversal, or goods that came back.

    Attributes:
        kind: REDEEM, REVERSE, REFUND or CLAW_BACK.
        refund_amount_fen: The goods that came back, at their price; None if it is no refund.
        amount_fen: The discount, or the part of it that is taken back.
    """

    event_no: int
    at: datetime
    kind: str
    merchant_no: str
    name: str
    stock_id: str
    claim_no: int
    redemption_id: str
    order_no: str
    order_amount_fen: int
    refund_id: str | None
    refund_amount_fen: int | None
    amount_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """By when a campaign must be settled, and what is not.

    Attributes:
        settle_by: The first instant at which it is late.
        days_left: Whole days; negative when it is over.
        owed_fen: What merchants are still owed, whether frozen or not.
        owing_fen: What other merchants owe, for goods that came back after they were paid.
    """

    campaign_id: str
    settle_by: datetime
    is_over: bool
    days_left: int
    owed_fen: int
    owing_fen: int
    paid_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What the latest comparison with the other side's list has found, and who accepted it; amounts without sign."""

    comparison_no: int
    compared_at: datetime
    compared_by: str
    agreeing: int
    differences: int
    only_ours: int
    only_ours_fen: int
    only_theirs: int
    only_theirs_fen: int
    amount_differs: int
    amount_differs_fen: int
    accepted_by: str | None
    accepted_for: str | None


async def freeze(
    connection: asyncpg.Connection,
    campaign_id: str,
    until: datetime,
    *,
    subject: str,
    reason: str,
    at: datetime | None = None,
) -> Settlement:
    """Freeze the period that ends at an instant; the one that ended there before is returned as it is.

    Args:
        connection: To the vault, outside a transaction.
        campaign_id: Of which campaign.
        until: The end, exclusive; it must have come.
        subject: Who asks for the payout.
        reason: Why; it stays in the journal of two persons.
        at: The instant; None for the vault's clock.

    Raises:
        SettlementRefused: There is no such campaign, or the period is not over or lies in another.
    """
    async with connection.transaction(isolation="read_committed"):
        campaign = await connection.fetchrow(_SELECT_CAMPAIGN, campaign_id)
        if campaign is None:
            raise SettlementRefused(f"no campaign {campaign_id} is stored")
        earlier = await settlements(connection, campaign_id)
        if same := next((each for each in earlier if each.until == until), None):
            return same
        if earlier and until < earlier[-1].until:
            last = earlier[-1]
            raise SettlementRefused(f"{last.settlement_id} is settled until {last.until.isoformat()}, which is later")
        nth = earlier[-1].nth + 1 if earlier else 1
        target = f"{campaign_id}-s{nth} until {until.isoformat()}"
        try:
            request_no = await admin.request(connection, Action.SETTLE, target, reason=reason, subject=subject)
            heads = json.dumps(await _heads(connection, campaign_id))
            settlement_no = await connection.fetchval(_INSERT, campaign["campaign_no"], until, at, request_no, heads)
        except asyncpg.CheckViolationError as error:
            if error.constraint_name == "period_is_over":
                raise SettlementRefused(f"the period until {until.isoformat()} is not over yet") from error
            raise SettlementRefused("the reason or the name is empty or too long") from error
        await connection.fetchval(_INSERT_LINES, settlement_no)
        return (await settlements(connection, campaign_id))[-1]


async def approve(
    connection: asyncpg.Connection,
    settlement_id: str,
    *,
    subject: str,
    reason: str,
    accept_differences: str | None = None,
    at: datetime | None = None,
) -> Settlement:
    """Agree to a settlement and pay it, in one transaction; one that is paid is returned as it is.

    Args:
        connection: To the vault, outside a transaction.
        settlement_id: Which one; those before it must be paid.
        subject: Who agrees, somebody other than who asked.
        reason: Why.
        accept_differences: Why it is paid although the latest comparison with the other side's list has found some.
        at: The instant of the payout; None for the vault's clock.

    Raises:
        SettlementRefused: There is none, one before it is not paid, its payout was asked for by the same person, or
            differences were found that nobody accepts.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.fetchrow(_SELECT_CAMPAIGN, settlement_id.rpartition("-s")[0])
        found = await find(connection, settlement_id)
        if found.state == "PAID":
            return found
        before = next(
            (each for each in await settlements(connection, found.campaign_id) if each.state != "PAID"), found
        )
        if before.nth < found.nth:
            raise SettlementRefused(f"{before.settlement_id} comes first, and is not paid yet")
        compared = await latest_comparison(connection, found)
        if compared is not None and compared.differences and compared.accepted_by is None and not accept_differences:
            raise SettlementRefused(
                f"the latest comparison of {settlement_id} has found {compared.differences} differences: clear them "
                "and compare again, or say why they are accepted with --accept-differences"
            )
        try:
            await connection.execute(_APPROVE, found.request_no, subject, reason)
            if compared is not None and accept_differences:
                await connection.execute(_ACCEPT, compared.comparison_no, subject, accept_differences)
        except asyncpg.CheckViolationError as error:
            if error.constraint_name == "two_persons":
                raise SettlementRefused(f"{subject} has asked for it; somebody else must approve") from error
            raise SettlementRefused("the reason or the name is empty or too long") from error
        await connection.fetchrow(_PAY, found.settlement_no, at)
        return await find(connection, settlement_id)


async def settlements(connection: asyncpg.Connection, campaign_id: str | None = None) -> list[Settlement]:
    """Return the settlements of a campaign, or of every campaign, in their order."""
    return [Settlement(**row) for row in await connection.fetch(_SELECT, campaign_id)]


async def find(connection: asyncpg.Connection, settlement_id: str) -> Settlement:
    """Return a settlement.

    Raises:
        SettlementRefused: There is none of this id.
    """
    for each in await settlements(connection, settlement_id.rpartition("-s")[0]):
        if each.settlement_id == settlement_id:
            return each
    raise SettlementRefused(f"there is no settlement {settlement_id}; 'grab settle list' shows them")


async def lines(connection: asyncpg.Connection, settlement: Settlement) -> list[Line]:
    """Return what each merchant gets, in the order of their numbers."""
    return [Line(**row) for row in await connection.fetch(_SELECT_LINES, settlement.settlement_no)]


async def items(connection: asyncpg.Connection, settlement: Settlement) -> AsyncIterator[Item]:
    """Yield every event of a settlement, merchant by merchant; needs a transaction."""
    async for row in connection.cursor(_SELECT_ITEMS, settlement.settlement_no, prefetch=_FETCH_ROWS):
        yield Item(**row)


async def contents(connection: asyncpg.Connection, settlement_id: str) -> tuple[Settlement, list[Line], list[Item]]:
    """Return a settlement with its lines and events, of which its files are made.

    Raises:
        SettlementRefused: There is none of this id.
    """
    found = await find(connection, settlement_id)
    async with connection.transaction(readonly=True):
        listed = [each async for each in items(connection, found)]
    return found, await lines(connection, found), listed


async def latest_comparison(connection: asyncpg.Connection, settlement: Settlement) -> Compared | None:
    """Return what was last found when a settlement was compared with the other side's list; None if it never was."""
    row = await connection.fetchrow(_SELECT_COMPARISON, settlement.settlement_no)
    return None if row is None else Compared(**row)


async def deadlines(connection: asyncpg.Connection, *, at: datetime | None = None) -> Sequence[Deadline]:
    """Return by when each campaign must be settled, and what is not."""
    return [Deadline(**row) for row in await connection.fetch(_SELECT_DEADLINES, at)]


async def _heads(connection: asyncpg.Connection, campaign_id: str) -> list[dict[str, object]]:
    stocks = {stock.stock_id for stock in await catalogue.stock_rows(connection) if stock.campaign_id == campaign_id}
    names = {STAFF, f"money/{campaign_id}", *(f"claims/{stock_id}" for stock_id in stocks)}
    return [
        {"journal": each.name, "block_no": each.block_no, "hash": each.hash.hex()}
        for each in await journals(connection)
        if each.name in names and each.hash is not None
    ]
