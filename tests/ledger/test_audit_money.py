"""The audit of the money: green through the whole life of vouchers, and able to fail, one invariant at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.settle import settle
from tests.support.till import Till

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
    """Each damage violates exactly its invariant."""
    await till.redeemed()
    assert await till.violated() == []
    await damage(till)
    assert await till.violated() == [invariant]
