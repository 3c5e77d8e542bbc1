"""Using vouchers: what is refused, what is answered again, and who wins when two want the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ledger.figures import used_vouchers
from ledger.redemption import find
from ledger.requests import Refusal
from tests.ledger.conftest import OpenBooks
from tests.support.campaigns import small_campaign
from tests.support.till import (
    HOTPOT,
    OTHER_SHOP,
    SHOP,
    Till,
    add_merchant,
    new_number,
    receive_fund,
    suspend_merchant,
)

RESERVED_FEN = 2 * 5 * 3_000
POOL_FEN = 10_000_000 - RESERVED_FEN


async def test_a_voucher_is_used_once(till: Till) -> None:
    """Its money goes from what is reserved for the stock to the merchant; a second use is refused and names nothing.
    A reversal ends the use.
    """
    order = till.order()
    answer = await till.redeem(order)
    assert answer.refusal is None
    assert answer.body["state"] == "USED"
    assert (answer.body["discount_fen"], answer.body["payable_fen"]) == (3_000, 7_000)
    assert await till.balances() == {
        "EXTERNAL": -10_000_000,
        "PAYABLE": 3_000,
        "POOL": POOL_FEN,
        "RESERVED": RESERVED_FEN - 3_000,
    }
    again = await till.redeem(till.order())
    assert (again.refusal, again.body) == (Refusal.VOUCHER_USED, {})
    shown = await find(till.vault, str(answer.body["redemption_id"]))
    assert shown is not None
    assert shown.items() >= answer.body.items()
    assert await used_vouchers(till.vault) == 1
    await till.reverse(str(answer.body["redemption_id"]))
    assert await used_vouchers(till.vault) == 0


Prepare = Callable[[Till], Awaitable[None]]


async def _nothing(_: Till) -> None:
    return


async def _lapse(till: Till) -> None:
    await till.lapse()


async def _expire(till: Till) -> None:
    await till.lapse()
    assert await till.expire() == 3


async def _suspend(till: Till) -> None:
    await suspend_merchant(till.vault, SHOP)


@pytest.mark.parametrize(
    ("prepare", "changes", "refusal"),
    [
        (_nothing, {"code_hash": bytes(32)}, Refusal.RESOURCE_NOT_EXISTS),
        (_nothing, {"claim_no": 5}, Refusal.VOUCHER_NOT_ISSUED),
        (_lapse, {}, Refusal.VOUCHER_EXPIRED),
        (_expire, {}, Refusal.VOUCHER_EXPIRED),
        (_nothing, {"order_amount_fen": 9_999}, Refusal.BELOW_THRESHOLD),
        (_nothing, {"merchant_no": HOTPOT}, Refusal.CATEGORY_NOT_ACCEPTED),
        (_nothing, {"merchant_no": "898340149999999"}, Refusal.MERCHANT_NOT_APPROVED),
        (_suspend, {}, Refusal.MERCHANT_NOT_APPROVED),
        (_nothing, {"channel": "scan"}, Refusal.CHANNEL_NOT_ACCEPTED),
        (_nothing, {"merchant_no": OTHER_SHOP, "channel": "scan"}, Refusal.CHANNEL_NOT_ACCEPTED),
    ],
)
async def test_what_must_not_be_used_is_refused_for_its_own_reason(
    till: Till, prepare: Prepare, changes: dict[str, object], refusal: Refusal
) -> None:
    """A refusal changes nothing, and is the answer of its request for ever."""
    await prepare(till)
    before = await till.balances()
    order, number = till.order(**changes), new_number()  # type: ignore[arg-type]  # by name
    assert (await till.redeem(order, number)).refusal is refusal
    assert await till.balances() == before
    again = await till.redeem(order, number)
    assert (again.refusal, again.is_replay) == (refusal, True)
    assert await till.violated() == []


async def test_a_voucher_without_money_is_not_used(open_books: OpenBooks, campaign_id: str) -> None:
    """Before the fund has come nobody is owed anything."""
    books = await open_books(small_campaign(campaign_id))
    await books.sell("a")
    await add_merchant(books.vault, SHOP)
    till = Till(books, books.vault)
    assert (await till.redeem()).refusal is Refusal.FUND_NOT_RECEIVED
    await receive_fund(books.vault, campaign_id)
    assert (await till.redeem()).refusal is None


async def test_an_order_takes_one_voucher(till: Till) -> None:
    """A second voucher on the same order is refused, at another merchant the number is another order."""
    await till.redeemed(1, order_no="o-1")
    assert (await till.redeem(till.order(2, order_no="o-1"))).refusal is Refusal.ORDER_HAS_VOUCHER
    assert (await till.redeem(till.order(2, order_no="o-1", merchant_no=OTHER_SHOP))).refusal is None


async def test_a_request_is_answered_once(till: Till) -> None:
    """The same request gets the same answer; its number for anything else is refused, also across operations."""
    order, number = till.order(), new_number()
    first = await till.redeem(order, number)
    second = await till.redeem(order, number)
    assert (second.body, second.is_replay) == (first.body, True)
    assert (await till.redeem(till.order(2), number)).refusal is Refusal.REQUEST_NO_REUSED
    redemption_id = str(first.body["redemption_id"])
    assert (await till.refund(redemption_id, 1, number)).refusal is Refusal.REQUEST_NO_REUSED
    assert (await till.redeem(order, number)).body == first.body


async def test_two_terminals_at_once_use_a_voucher_once(till: Till, more_tills: list[Till]) -> None:
    """Of many terminals that scan one code, one is served and the others are told that it is used."""
    answers = await asyncio.gather(*(each.redeem() for each in more_tills))
    refusals = [answer.refusal for answer in answers]
    assert sorted(map(str, refusals)) == ["None"] + ["VOUCHER_USED"] * (len(more_tills) - 1)
    assert (await till.balances())["PAYABLE"] == 3_000
    assert await till.violated() == []


async def test_one_request_sent_many_times_at_once_has_one_effect(till: Till, more_tills: list[Till]) -> None:
    """Every copy gets the one answer."""
    order, number = till.order(), new_number()
    answers = await asyncio.gather(*(each.redeem(order, number) for each in more_tills))
    assert {str(answer.body["redemption_id"]) for answer in answers} == {str(answers[0].body["redemption_id"])}
    assert sum(not answer.is_replay for answer in answers) == 1
    assert (await till.balances())["PAYABLE"] == 3_000


async def test_two_vouchers_for_one_order_at_once(more_tills: list[Till]) -> None:
    """One of them is used for it."""
    orders = [each.order(number, order_no="o-1") for number, each in enumerate(more_tills[:3], start=1)]
    answers = await asyncio.gather(*(each.redeem(order) for each, order in zip(more_tills, orders, strict=False)))
    refusals = sorted(str(answer.refusal) for answer in answers)
    assert refusals == ["None", "ORDER_HAS_VOUCHER", "ORDER_HAS_VOUCHER"]


async def test_a_redemption_and_the_expiry_have_one_winner(till: Till, more_tills: list[Till]) -> None:
    """At the last instant either the voucher is used or it expires; its money goes one way."""
    await till.lapse()
    in_time = datetime.now(UTC) - timedelta(minutes=1)
    used, *_ = await asyncio.gather(
        more_tills[0].redeem(at=in_time), more_tills[1].expire(), more_tills[2].expire(batch_max=1)
    )
    await till.expire()
    balances = await till.balances()
    if used.refusal is None:
        assert balances["PAYABLE"] == 3_000
    else:
        assert used.refusal is Refusal.VOUCHER_EXPIRED
        assert "PAYABLE" not in balances
    assert balances["RESERVED"] == RESERVED_FEN - 3 * 3_000
    assert await till.violated() == []


async def test_a_reversal_makes_the_voucher_and_the_order_free_again(till: Till) -> None:
    """After a reversal both can be used anew, as often as payments fail."""
    before = await till.balances()
    for _ in range(3):
        redemption_id = await till.redeemed(order_no="o-1")
        answer = await till.reverse(redemption_id)
        assert (answer.refusal, answer.body["voucher_state"]) == (None, "ISSUED")
        assert await till.balances() == before
        shown = await find(till.vault, redemption_id)
        assert shown is not None
        assert shown["state"] == "REVERSED"
    await till.redeemed(order_no="o-1", merchant_no=OTHER_SHOP)
    await till.redeemed(2, order_no="o-1")
    assert await till.violated() == []


async def test_a_reversal_of_what_is_used_elsewhere_is_refused(till: Till) -> None:
    """An old redemption has no power over the new one of the same voucher."""
    first = await till.redeemed()
    await till.reverse(first)
    await till.redeemed(merchant_no=OTHER_SHOP)
    before = await till.balances()
    assert (await till.reverse(first)).refusal is Refusal.ALREADY_REVERSED
    assert (await till.refund(first, 100)).refusal is Refusal.ALREADY_REVERSED
    assert await till.balances() == before


async def test_a_reversal_has_its_time(till: Till) -> None:
    """Only a payment of just now can be one that never completed."""
    redemption_id = await till.redeemed()
    late = datetime.now(UTC) + timedelta(hours=2)
    assert (await till.reverse(redemption_id, at=late)).refusal is Refusal.REVERSAL_TOO_LATE
    assert (await till.reverse("R0")).refusal is Refusal.RESOURCE_NOT_EXISTS


async def test_a_reversal_after_the_validity_lets_the_voucher_expire(till: Till) -> None:
    """It comes back, cannot be used, and its money returns to the pool."""
    redemption_id = await till.redeemed()
    await till.lapse()
    assert (await till.reverse(redemption_id)).body["voucher_state"] == "EXPIRED"
    assert (await till.redeem()).refusal is Refusal.VOUCHER_EXPIRED
    assert await till.expire() == 3
    assert await till.expire() == 0
    assert await till.violated() == []


async def test_reversals_at_once_have_one_effect(till: Till, more_tills: list[Till]) -> None:
    """One undoes the payment, the others are told so."""
    before = await till.balances()
    redemption_id = await till.redeemed()
    answers = await asyncio.gather(*(each.reverse(redemption_id) for each in more_tills))
    refusals = sorted(str(answer.refusal) for answer in answers)
    assert refusals == ["ALREADY_REVERSED"] * (len(more_tills) - 1) + ["None"]
    assert await till.balances() == before


async def test_trouble_leaves_nothing_half_done(till: Till) -> None:
    """When the money cannot move, neither redemption nor answer is stored, and the request can be repeated."""
    await till.vault.execute("CREATE RULE no_money AS ON UPDATE TO balances DO INSTEAD NOTHING")
    order, number = till.order(), new_number()
    with pytest.raises(asyncpg.PostgresError):
        await till.redeem(order, number)
    assert await till.vault.fetchval("SELECT count(*) FROM redemptions") == 0
    assert await till.vault.fetchval("SELECT count(*) FROM requests") == 0
    await till.vault.execute("DROP RULE no_money ON balances")
    assert (await till.redeem(order, number)).refusal is None
