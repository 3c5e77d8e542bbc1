"""Goods that come back: the discount's share, to the fen, once, and against settlement and reversal."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.redemption import find
from ledger.refund import share_fen
from ledger.requests import Refusal
from tests.support.settle import settle
from tests.support.till import Till, new_number


@given(st.integers(2, 10**9), st.data())
def test_shares_add_up_to_the_discount(order_amount_fen: int, data: st.DataObject) -> None:
    """However an order comes back, each share is right to half a fen, and all of it returns exactly the discount."""
    discount_fen = data.draw(st.integers(1, order_amount_fen - 1))
    parts = data.draw(st.lists(st.integers(1, order_amount_fen), max_size=10))
    refunded = returned = 0
    for part in [*(each for each in parts), order_amount_fen]:
        refunded = min(refunded + part, order_amount_fen)
        total = share_fen(discount_fen, refunded, order_amount_fen)
        assert returned <= total <= discount_fen
        assert abs(2 * (total * order_amount_fen - discount_fen * refunded)) <= order_amount_fen
        returned = total
    assert returned == discount_fen


@pytest.mark.parametrize(
    ("order_amount_fen", "refund_fen", "returned_fen"),
    [(10_000, 10_000, 3_000), (10_000, 5_000, 1_500), (10_001, 5_001, 1_500), (20_000, 3_330, 500), (12_000, 2, 1)],
)
async def test_a_refund_returns_the_share(
    till: Till, order_amount_fen: int, refund_fen: int, returned_fen: int
) -> None:
    """The share goes from the merchant to the pool, half a fen upwards; the voucher stays used."""
    redemption_id = await till.redeemed(order_amount_fen=order_amount_fen)
    before = await till.balances()
    answer = await till.refund(redemption_id, refund_fen)
    assert answer.refusal is None
    assert answer.body["discount_returned_fen"] == returned_fen
    after = await till.balances()
    assert after["POOL"] - before["POOL"] == returned_fen
    assert after.get("PAYABLE", 0) == 3_000 - returned_fen
    assert (await till.redeem()).refusal is Refusal.VOUCHER_USED
    assert await till.violated() == []


async def test_a_share_of_nothing_is_a_refund_too(till: Till) -> None:
    """A fen's worth of goods returns no discount, but counts: the payment cannot be reversed any more."""
    redemption_id = await till.redeemed()
    before = await till.balances()
    assert (await till.refund(redemption_id, 1)).body["discount_returned_fen"] == 0
    assert (await till.refund(redemption_id, 1)).body["discount_returned_fen"] == 1
    assert (await till.reverse(redemption_id)).refusal is Refusal.ALREADY_REFUNDED
    assert (await till.balances())["POOL"] == before["POOL"] + 1
    assert await till.violated() == []


async def test_refunds_end_with_the_order(till: Till) -> None:
    """Several may come, in sum never above the order; together they return the whole discount."""
    redemption_id = await till.redeemed()
    for amount_fen in (3_333, 3_333, 3_334):
        assert (await till.refund(redemption_id, amount_fen)).refusal is None
    assert (await till.refund(redemption_id, 1)).refusal is Refusal.REFUND_EXCEEDS_ORDER
    assert (await till.refund("R0", 1)).refusal is Refusal.RESOURCE_NOT_EXISTS
    shown = await find(till.vault, redemption_id)
    assert shown is not None
    assert (shown["state"], shown["refunded_fen"], shown["discount_returned_fen"]) == ("USED", 10_000, 3_000)
    assert "PAYABLE" not in await till.balances()
    assert await till.violated() == []


async def test_one_refund_sent_twice_has_one_effect(till: Till, more_tills: list[Till]) -> None:
    """Every copy of a request gets the one answer, one after the other and at once."""
    redemption_id, number = await till.redeemed(), new_number()
    answers = await asyncio.gather(*(each.refund(redemption_id, 5_000, number) for each in more_tills))
    answers.append(await till.refund(redemption_id, 5_000, number))
    assert {str(answer.body["refund_id"]) for answer in answers} == {str(answers[0].body["refund_id"])}
    assert (await till.balances())["PAYABLE"] == 1_500
    assert (await till.refund(redemption_id, 5_001, number)).refusal is Refusal.REQUEST_NO_REUSED


async def test_refunds_at_once_never_exceed_the_order(till: Till, more_tills: list[Till]) -> None:
    """Of several that are too much together, as many are accepted as there is room for."""
    redemption_id = await till.redeemed()
    answers = await asyncio.gather(*(each.refund(redemption_id, 4_000) for each in more_tills))
    refusals = sorted(str(answer.refusal) for answer in answers)
    assert refusals == ["None"] * 2 + ["REFUND_EXCEEDS_ORDER"] * (len(more_tills) - 2)
    assert (await till.balances())["PAYABLE"] == 600
    assert await till.violated() == []


async def test_a_reversal_and_a_refund_at_once_have_one_winner(till: Till, more_tills: list[Till]) -> None:
    """A payment never completed, or goods came back, never both."""
    redemption_id = await till.redeemed()
    reversed_, refunded = await asyncio.gather(
        more_tills[0].reverse(redemption_id), more_tills[1].refund(redemption_id, 10_000)
    )
    assert (reversed_.refusal, refunded.refusal) in (
        (None, Refusal.ALREADY_REVERSED),
        (Refusal.ALREADY_REFUNDED, None),
    )
    assert "PAYABLE" not in await till.balances()
    assert await till.violated() == []


async def test_a_refund_after_the_settlement_is_owed_by_the_merchant(till: Till) -> None:
    """What was paid out is clawed back from the merchant's next payable; a reversal is too late."""
    first = await till.redeemed()
    await settle(till.vault, till.books.campaign.campaign_id, datetime.now(UTC) + timedelta(seconds=1))
    assert (await till.balances())["PAID_OUT"] == 3_000
    assert (await till.reverse(first)).refusal is Refusal.ALREADY_SETTLED
    assert (await till.refund(first, 5_000)).refusal is None
    assert (await till.balances())["PAYABLE"] == -1_500
    kinds = await till.vault.fetch("SELECT kind FROM events WHERE redemption_no IS NOT NULL ORDER BY event_no")
    assert [row["kind"] for row in kinds] == ["REDEEM", "CLAW_BACK"]
    later = datetime.now(UTC) + timedelta(seconds=2)
    await till.redeem(till.order(2), at=later)
    assert (await till.balances())["PAYABLE"] == 1_500
    assert await till.violated() == []
