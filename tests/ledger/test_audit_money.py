"""The audit of the money: green through the whole life of vouchers, and able to fail, one invariant at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from ledger.corridor import WATCH
from ledger.money_watch import look_at_money
from tests.support.settle import settle
from tests.support.till import Till
from tests.support.wait import wait_until

TABLES = ("balances", "events", "fund_receipts", "redemptions", "refunds", "requests", "reversals", "transfers")


async def break_freely(till: Till, *statements: str) -> None:
    """Change rows by hand that nobody may change: triggers off, keys not looked at."""
    for table in TABLES:
        await till.vault.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    await till.vault.execute(
        "ALTER TABLE balances DROP CONSTRAINT balance_is_not_overdrawn;"
        "ALTER TABLE events DROP CONSTRAINT transition_is_allowed, DROP CONSTRAINT life_begins_with_the_claim"
    )
    for statement in statements:
        await till.vault.execute(statement)


async def test_all_is_well_through_a_whole_life(till: Till) -> None:
    """Used, reversed, used again, returned in part, settled, returned after that, expired: every invariant holds."""
    first = await till.redeemed(order_no="o-1")
    await till.reverse(first)
    second = await till.redeemed(order_no="o-1")
    await till.refund(second, 3_333)
    assert (await till.redeem()).refusal is not None
    assert await till.violated() == []
    await settle(till.vault, till.books.campaign.campaign_id, datetime.now(UTC) + timedelta(seconds=1))
    await till.refund(second, 6_667)
    await till.lapse()
    await till.expire()
    assert await till.violated() == []


async def _skip_a_version(till: Till) -> None:
    await break_freely(till, "UPDATE events SET version = 2 WHERE kind = 'REDEEM'")


async def _start_from_another_state(till: Till) -> None:
    await break_freely(till, "UPDATE events SET from_state = 'REFUNDED' WHERE kind = 'REDEEM'")


async def _move_another_amount(till: Till) -> None:
    await break_freely(till, "UPDATE transfers SET amount_fen = amount_fen - 1 WHERE event_kind = 'FUND_RECEIVED'")
    await till.vault.execute("UPDATE balances SET balance_fen = balance_fen - 1 WHERE kind = 'POOL'")


async def _lose_a_transfer(till: Till) -> None:
    await break_freely(till, "DELETE FROM transfers WHERE event_kind = 'REDEEM'")


async def _touch_a_balance(till: Till) -> None:
    await break_freely(till, "UPDATE balances SET balance_fen = balance_fen + 1 WHERE kind = 'POOL'")


async def _owe_a_merchant_more(till: Till) -> None:
    await break_freely(till, "UPDATE redemptions SET discount_fen = discount_fen + 1")


async def _receive_more(till: Till) -> None:
    await break_freely(till, "UPDATE fund_receipts SET amount_fen = amount_fen + 1")


async def _forget_a_request(till: Till) -> None:
    await break_freely(till, "DELETE FROM requests")


async def _refuse_what_was_done(till: Till) -> None:
    await break_freely(till, "UPDATE requests SET verdict = 'VOUCHER_USED'")


async def _do_nothing_for_a_request(till: Till) -> None:
    await till.vault.execute(
        "INSERT INTO requests (caller, out_request_no, body_digest, verdict, answer)"
        " SELECT caller, 'forged', body_digest, verdict, answer FROM requests"
    )


async def _use_too_late(till: Till) -> None:
    await break_freely(till, "UPDATE events SET at = at + interval '1 year' WHERE kind = 'REDEEM'")


async def _let_vouchers_be(till: Till) -> None:
    await till.vault.execute("UPDATE stocks SET available_until = now() - interval '11 minutes'")
    await break_freely(till, "UPDATE events SET at = at - interval '1 hour' WHERE kind = 'REDEEM'")


Break = Callable[[Till], Awaitable[None]]


@pytest.mark.parametrize(
    ("invariant", "damage"),
    [
        ("I-10", _skip_a_version),
        ("I-10", _start_from_another_state),
        ("I-11", _move_another_amount),
        ("I-11", _lose_a_transfer),
        ("I-11", _touch_a_balance),
        ("I-12", _owe_a_merchant_more),
        ("I-12", _receive_more),
        ("I-16", _forget_a_request),
        ("I-16", _refuse_what_was_done),
        ("I-16", _do_nothing_for_a_request),
        ("I-17", _use_too_late),
        ("I-17", _let_vouchers_be),
    ],
)
async def test_what_is_broken_by_hand_is_reported_and_nothing_else(till: Till, invariant: str, damage: Break) -> None:
    """Each damage violates exactly its invariant, and the watch over the money says the same."""
    await till.redeemed()
    assert await till.violated() == []
    assert await look_at_money(till.vault) == []
    await damage(till)
    assert await till.violated() == [invariant]
    found = await look_at_money(till.vault)
    assert {each.invariant for each in found if not each.sentence.startswith("the vault lacks")} == {invariant}


@pytest.mark.parametrize(
    ("invariant", "table", "guard"),
    [
        ("I-10", "events", "event_starts_where_the_last_ended"),
        ("I-11", "transfers", "transfer_follows_the_rule"),
        ("I-12", "refunds", "refund_returns_its_share"),
        ("I-16", "requests", "one_answer_per_request"),
        ("I-18", "settlement_payouts", "payout_was_agreed"),
    ],
)
async def test_a_guard_of_the_money_that_is_gone_is_noticed(till: Till, invariant: str, table: str, guard: str) -> None:
    """By the invariant that rests on it; whoever took it away may still undo it before anything happens."""
    await till.vault.execute(f"ALTER TABLE {table} DROP CONSTRAINT {guard} CASCADE")
    found = {each.invariant: each.sentence for each in await look_at_money(till.vault)}
    assert guard in found[invariant]


async def test_what_is_wrong_with_the_money_is_told_and_closes_nothing(till: Till) -> None:
    """Who holds a voucher is not in doubt, so the sale goes on; people are told."""
    await till.vault.execute("ALTER TABLE balances DISABLE TRIGGER ALL")
    await till.vault.execute("UPDATE balances SET balance_fen = balance_fen + 1 WHERE kind = 'POOL'")
    await till.vault.execute("ALTER TABLE balances ENABLE TRIGGER ALL")

    async def is_told() -> bool:
        verdict = str(await till.books.client.hget(WATCH, "I-11") or "")
        return "its transfers say" in verdict

    async with till.books.working():
        await wait_until(is_told, "the balance is told")
        assert [counts.is_open for counts in await till.books.gate.counts(till.books.stocks)] == [True, True]


async def test_a_round_that_nobody_seals_is_told(till: Till) -> None:
    """Ten minutes after its end it should have been; one that is sealed has returned what was never claimed."""
    await till.vault.execute("UPDATE rounds SET closes_at = now() - interval '9 minutes'")
    assert not [each for each in await look_at_money(till.vault) if "not sealed" in each.sentence]
    await till.vault.execute("UPDATE rounds SET closes_at = now() - interval '11 minutes'")
    [found] = await look_at_money(till.vault)
    assert (found.invariant, "not sealed" in found.sentence) == ("I-17", True)
    await till.vault.execute("UPDATE rounds SET sealed_at = now()")
    [found] = await look_at_money(till.vault)
    assert "has not come back" in found.sentence
