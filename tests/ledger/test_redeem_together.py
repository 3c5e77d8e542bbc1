"""Uses of vouchers that travel together: each keeps its own answer, whatever becomes of the others."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from ledger.redeem import Asked, Order, Outcome, redeem_together
from ledger.requests import Answer
from tests.support.till import CALLER, OTHER_SHOP, Till, new_number, suspend_merchant


def asked(order: Order, number: str | None = None) -> Asked:
    """Return a request for an order."""
    return order.request(CALLER, number or new_number()), order


def told(outcomes: list[Outcome]) -> list[str]:
    """Return the refusals, DONE for what was done and the name of an exception."""
    return [
        (outcome.refusal.value if outcome.refusal else "DONE")
        if isinstance(outcome, Answer)
        else type(outcome).__name__
        for outcome in outcomes
    ]


async def test_each_has_its_own_answer(till: Till) -> None:
    """Uses and refusals of many kinds in one batch; money moves once for each use, and each answer is kept."""
    batch = [
        asked(till.order(1)),
        asked(till.order(1, order_amount_fen=9_999)),
        asked(till.order(2, channel="scan")),
        asked(till.order(4)),
        asked(till.order(2, merchant_no=OTHER_SHOP, channel="payment_code")),
        asked(till.order(1, code_hash=bytes(32))),
        asked(till.order(3, merchant_no="000000000000000")),
    ]
    first = await redeem_together(till.vault, batch)
    assert told(first) == [
        "DONE",
        "BELOW_THRESHOLD",
        "CHANNEL_NOT_ACCEPTED",
        "VOUCHER_NOT_ISSUED",
        "DONE",
        "RESOURCE_NOT_EXISTS",
        "MERCHANT_NOT_APPROVED",
    ]
    assert (await till.balances())["PAYABLE"] == 6_000
    again = await redeem_together(till.vault, batch)
    for before, after in zip(first, again, strict=True):
        assert isinstance(before, Answer)
        assert isinstance(after, Answer)
        assert (after.refusal, dict(after.body), after.is_replay) == (before.refusal, dict(before.body), True)
    assert await till.violated() == []


async def test_equal_requests_of_one_batch_have_one_effect(till: Till) -> None:
    """The later ones are told what the first was; another body under the number is refused."""
    order, number = till.order(1), new_number()
    other = till.order(2)
    outcomes = await redeem_together(
        till.vault, [asked(order, number), asked(order, number), asked(other, number), asked(order, number)]
    )
    assert told(outcomes) == ["DONE", "DONE", "REQUEST_NO_REUSED", "DONE"]
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    assert [answer.is_replay for answer in answers] == [False, True, False, True]
    assert answers[0].body == answers[1].body == answers[3].body
    assert (await till.balances())["PAYABLE"] == 3_000


async def test_equal_refusals_of_one_batch_are_one(till: Till) -> None:
    """A refusal is stored once and repeated."""
    wrong, number = till.order(1, order_amount_fen=9_999), new_number()
    outcomes = await redeem_together(till.vault, [asked(wrong, number)] * 3)
    assert told(outcomes) == ["BELOW_THRESHOLD"] * 3


async def test_of_a_batch_the_first_gets_the_voucher_and_the_order(till: Till) -> None:
    """Two terminals with one voucher, and two vouchers for one order: the first of each is served."""
    number = new_number()
    outcomes = await redeem_together(
        till.vault,
        [
            asked(till.order(1)),
            *(asked(till.order(1)) for _ in range(20)),
            asked(till.order(2, order_no=number)),
            asked(till.order(3, order_no=number)),
        ],
    )
    assert told(outcomes) == ["DONE", *["VOUCHER_USED"] * 20, "DONE", "ORDER_HAS_VOUCHER"]
    assert await till.violated() == []


async def test_what_is_poisoned_fails_alone(till: Till) -> None:
    """A request that the database refuses is found, and the others of its batch are done."""
    poisoned = asked(till.order(2, order_no="a\0b"))
    outcomes = await redeem_together(till.vault, [asked(till.order(1)), poisoned, asked(till.order(3))])
    assert told(outcomes) == ["DONE", "CharacterNotInRepertoireError", "DONE"]
    too_long = asked(till.order(2, order_no="x" * 65))
    outcomes = await redeem_together(till.vault, [asked(till.order(1)), too_long, asked(till.order(2))])
    assert told(outcomes) == ["VOUCHER_USED", "CheckViolationError", "DONE"]
    assert await till.violated() == []


async def test_batches_at_once_have_one_winner_each(till: Till, more_tills: list[Till]) -> None:
    """Six processes want the same three vouchers in different orders: each is used once, and nobody waits forever."""
    orders = [(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 3, 1), (1, 3, 2), (3, 1, 2)]
    found = await asyncio.gather(
        *(
            redeem_together(each.vault, [asked(each.order(claim_no)) for claim_no in order])
            for each, order in zip(more_tills, orders, strict=True)
        )
    )
    words = sorted(word for outcomes in found for word in told(outcomes))
    assert words == ["DONE"] * 3 + ["VOUCHER_USED"] * 15
    assert await till.violated() == []


async def test_a_suspended_merchant_is_left_out_alone(till: Till) -> None:
    """The other merchants of the batch are served."""
    await suspend_merchant(till.vault, OTHER_SHOP)
    outcomes = await redeem_together(
        till.vault, [asked(till.order(1)), asked(till.order(2, merchant_no=OTHER_SHOP)), asked(till.order(2))]
    )
    assert told(outcomes) == ["DONE", "MERCHANT_NOT_APPROVED", "DONE"]


async def test_trouble_of_the_whole_vault_is_raised(till: Till) -> None:
    """When the vault is gone, the outcomes are unknown and nobody is told anything else."""
    await till.vault.close()
    with pytest.raises((asyncpg.InterfaceError, OSError)):
        await redeem_together(till.vault, [asked(till.order(1)), asked(till.order(2))])
