"""Settlement: a period is frozen, somebody else agrees, and every merchant is paid once, to the fen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ledger import settlement
from ledger.settlement import SettlementRefused
from tests.support.settle import settle
from tests.support.till import OTHER_SHOP, SHOP, Till
from tests.support.wait import wait_until


def soon(seconds: float = 1) -> datetime:
    """Return an instant a little ahead, after what a test has done."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def freeze(till: Till, until: datetime) -> settlement.Settlement:
    """Freeze a period as somebody who is called li, at its end."""
    campaign_id = till.books.campaign.campaign_id
    return await settlement.freeze(till.vault, campaign_id, until, subject="li", reason="due", at=until)


async def approve(till: Till, frozen: settlement.Settlement, by: str = "wang") -> settlement.Settlement:
    """Agree to it."""
    return await settlement.approve(till.vault, frozen.settlement_id, subject=by, reason="checked")


async def test_each_merchant_is_paid_what_stands(till: Till) -> None:
    """Uses less reversals and returned shares, merchant by merchant; the sum is what is paid out."""
    await till.reverse(await till.redeemed(1))
    await till.refund(await till.redeemed(2), 5_000)
    await till.redeemed(3, merchant_no=OTHER_SHOP)
    frozen = await freeze(till, soon())
    assert (frozen.settlement_id, frozen.state) == (f"{till.books.campaign.campaign_id}-s1", "FROZEN")
    assert (await till.balances()).get("PAID_OUT", 0) == 0
    paid = await approve(till, frozen)
    assert (paid.state, paid.requested_by, paid.approved_by) == ("PAID", "li", "wang")
    shop, other = await settlement.lines(till.vault, paid)
    assert (shop.merchant_no, shop.redeemed, shop.reversed_fen, shop.refunded_fen) == (SHOP, 2, 3_000, 1_500)
    assert (shop.paid_fen, other.paid_fen, paid.paid_fen, paid.net_fen) == (1_500, 3_000, 4_500, 4_500)
    async with till.vault.transaction():
        items = [each async for each in settlement.items(till.vault, paid)]
    assert [each.kind for each in items] == ["REDEEM", "REVERSE", "REDEEM", "REFUND", "REDEEM"]
    balances = await till.balances()
    assert (balances["PAID_OUT"], balances.get("PAYABLE", 0)) == (4_500, 0)
    assert await till.violated() == []


async def test_what_comes_back_after_the_payout_is_owed_into_the_next_periods(till: Till) -> None:
    """A claw-back above what the merchant earns is carried on until it is paid off; nothing is paid meanwhile."""
    first = await till.redeemed(1)
    start = soon()
    await settle(till.vault, till.books.campaign.campaign_id, start)
    await till.refund(first, 10_000, at=start + timedelta(seconds=1))
    second = await settle(till.vault, till.books.campaign.campaign_id, start + timedelta(seconds=2))
    assert (second.clawed_back_fen, second.paid_fen, second.carried_fen) == (3_000, 0, -3_000)
    idle = await settle(till.vault, till.books.campaign.campaign_id, start + timedelta(seconds=3))
    assert (idle.brought_fen, idle.merchants, idle.carried_fen) == (-3_000, 1, -3_000)
    for claim_no in (2, 3):
        await till.redeem(till.order(claim_no), at=start + timedelta(seconds=4))
    last = await settle(till.vault, till.books.campaign.campaign_id, start + timedelta(seconds=5))
    assert (last.brought_fen, last.redeemed_fen, last.paid_fen, last.carried_fen) == (-3_000, 6_000, 3_000, 0)
    assert (await till.balances())["PAID_OUT"] == 6_000
    assert await till.violated() == []


async def test_what_happens_between_freezing_and_payout_is_the_next_periods(till: Till) -> None:
    """The figures that were agreed to are paid; a reversal meanwhile is owed by the merchant."""
    first = await till.redeemed(1)
    now = datetime.now(UTC)
    frozen = await freeze(till, now + timedelta(seconds=1))
    assert (await till.reverse(first, at=now + timedelta(seconds=2))).refusal is None
    assert (await approve(till, frozen)).paid_fen == 3_000
    assert (await till.balances())["PAYABLE"] == -3_000
    second = await settle(till.vault, till.books.campaign.campaign_id, now + timedelta(seconds=3))
    assert (second.reversed_fen, second.paid_fen, second.carried_fen) == (3_000, 0, -3_000)
    assert await till.violated() == []


async def test_a_period_is_frozen_once(till: Till) -> None:
    """The same end again is the same settlement; an earlier one, or one to come, is refused."""
    await till.redeemed(1)
    until = soon()
    frozen = await freeze(till, until)
    assert await freeze(till, until) == frozen
    campaign_id = till.books.campaign.campaign_id
    with pytest.raises(SettlementRefused, match="which is later"):
        await freeze(till, until - timedelta(seconds=1))
    with pytest.raises(SettlementRefused, match="not over yet"):
        await settlement.freeze(till.vault, campaign_id, soon(3_600), subject="li", reason="due")
    with pytest.raises(SettlementRefused, match="no campaign"):
        await settlement.freeze(till.vault, "none", until, subject="li", reason="due")


async def test_nobody_pays_what_he_has_asked_for(till: Till) -> None:
    """Two persons, and the settlements in their order; a refusal leaves nothing behind."""
    await till.redeemed(1)
    first = await freeze(till, soon())
    second = await freeze(till, soon(2))
    with pytest.raises(SettlementRefused, match="somebody else must approve"):
        await approve(till, first, by="li")
    with pytest.raises(SettlementRefused, match="comes first"):
        await approve(till, second)
    with pytest.raises(SettlementRefused, match="there is no settlement"):
        await settlement.approve(till.vault, "none-s1", subject="wang", reason="checked")
    assert (await till.balances()).get("PAID_OUT", 0) == 0
    assert [each.state for each in await settlement.settlements(till.vault)] == ["FROZEN", "FROZEN"]


async def test_many_approve_at_once_and_it_is_paid_once(till: Till, more_tills: list[Till]) -> None:
    """All of them are told the same; the money moved once."""
    await till.redeemed(1)
    frozen = await freeze(till, soon())
    told = await asyncio.gather(*(approve(each, frozen) for each in more_tills))
    assert {each.state for each in told} == {"PAID"}
    assert (await till.balances())["PAID_OUT"] == 3_000
    assert await till.violated() == []


async def test_killed_in_the_midst_of_the_payout_it_is_paid_once_by_the_next_run(
    till: Till, more_tills: list[Till]
) -> None:
    """A connection that dies with everything written and nothing committed leaves nothing; the next run pays."""
    await till.redeemed(1)
    frozen = await freeze(till, soon())
    # Nobody gets at the account of what was paid out, so the payout is stopped in its midst.
    blocker = till.vault.transaction()
    await blocker.start()
    await till.vault.execute("SELECT FROM balances WHERE kind = 'PAID_OUT' FOR UPDATE")
    victim, observer = more_tills[0], more_tills[1]
    pid = victim.vault.get_server_pid()
    dying = asyncio.create_task(approve(victim, frozen))

    async def is_in_its_midst() -> bool:
        waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'"
        return bool(await observer.vault.fetchval(waiting, pid))

    await wait_until(is_in_its_midst, "the payout waits in its midst")
    await observer.vault.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await dying
    await blocker.rollback()
    assert (await settlement.find(till.vault, frozen.settlement_id)).state == "FROZEN"
    assert (await approve(till, frozen)).paid_fen == 3_000
    assert (await approve(till, frozen)).paid_fen == 3_000
    assert (await till.balances())["PAID_OUT"] == 3_000
    assert await till.violated() == []


async def test_the_deadline_is_told_with_what_is_owed(till: Till) -> None:
    """By when, how many days are left, what merchants are owed and what others owe: these do not cancel out."""
    first = await till.redeemed(1)
    start = soon()
    await settle(till.vault, till.books.campaign.campaign_id, start)
    await till.refund(first, 10_000, at=start + timedelta(seconds=1))
    await till.redeemed(2, merchant_no=OTHER_SHOP)
    [deadline] = await settlement.deadlines(till.vault)
    assert deadline.settle_by == till.books.campaign.settle_by
    assert (deadline.is_over, deadline.days_left) == (False, 59)
    assert (deadline.owed_fen, deadline.owing_fen, deadline.paid_fen) == (3_000, 3_000, 3_000)
    [late] = await settlement.deadlines(till.vault, at=deadline.settle_by)
    assert (late.is_over, late.days_left) == (True, 0)


TABLES = ("settlements", "settlement_lines", "settlement_items", "settlement_payouts")


async def break_freely(till: Till, *statements: str) -> None:
    """Change rows by hand that nobody may change: triggers off, keys not looked at."""
    for table in (*TABLES, "events"):
        await till.vault.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    for statement in statements:
        await till.vault.execute(statement)


async def _change_a_line(till: Till) -> None:
    await break_freely(till, "UPDATE settlement_lines SET redeemed_fen = redeemed_fen + 1, refunded_fen = 1")


async def _count_an_event_less(till: Till) -> None:
    await break_freely(till, "DELETE FROM settlement_items")


async def _give_an_event_to_another_merchant(till: Till) -> None:
    tables = ("settlement_items", "settlement_lines", "settlement_payouts")
    await break_freely(till, *(f"UPDATE {table} SET merchant_no = '{OTHER_SHOP}'" for table in tables))  # noqa: S608  names of this file


async def _settle_what_comes_later(till: Till) -> None:
    await break_freely(
        till,
        "UPDATE settlements SET until = until - interval '1 hour'",
        "UPDATE events SET settled_until = settled_until - interval '1 hour' WHERE kind = 'SETTLE'",
    )


async def _lose_a_payout(till: Till) -> None:
    await break_freely(till, "DELETE FROM settlement_payouts")


async def _pay_for_another_period(till: Till) -> None:
    await break_freely(till, "UPDATE events SET settled_until = settled_until + interval '1 s' WHERE kind = 'SETTLE'")


async def _pay_what_nobody_agreed_to(till: Till) -> None:
    await break_freely(till, "ALTER TABLE admin_acts DISABLE TRIGGER ALL", "DELETE FROM admin_acts")


async def _pay_outside_of_any_settlement(till: Till) -> None:
    await till.vault.execute(
        "INSERT INTO events (kind, campaign_no, merchant_no, settled_until, amount_fen)"
        " SELECT 'SETTLE', campaign_no, $1, now(), 0 FROM campaigns",
        SHOP,
    )


@pytest.mark.parametrize(
    "damage",
    [
        _change_a_line,
        _count_an_event_less,
        _give_an_event_to_another_merchant,
        _settle_what_comes_later,
        _lose_a_payout,
        _pay_for_another_period,
        _pay_what_nobody_agreed_to,
        _pay_outside_of_any_settlement,
    ],
)
async def test_a_settlement_that_is_broken_by_hand_is_reported_and_nothing_else(
    till: Till, damage: Callable[[Till], Awaitable[None]]
) -> None:
    """Each damage violates exactly I-18."""
    await till.redeemed(1)
    await settle(till.vault, till.books.campaign.campaign_id, soon())
    assert await till.violated() == []
    await damage(till)
    assert await till.violated() == ["I-18"]
