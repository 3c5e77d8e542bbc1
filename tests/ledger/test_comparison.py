"""A settlement against the other side's list: what differs is told line by line, and holds the payout up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import comparison, settlement
from ledger.comparison import Comparison, Key, Verdict
from ledger.settlement import Item, Settlement, SettlementRefused
from tests.support.copied_rows import refusal_of_a_copy
from tests.support.till import OTHER_SHOP, SHOP, Till

USE = Key(SHOP, "o1", "REDEEM")


def item(key: Key, amount_fen: int, kind: str | None = None) -> Item:
    """Return an event of a settlement."""
    return Item(
        event_no=1,
        at=datetime.now(UTC),
        kind=kind or key.kind,
        merchant_no=key.merchant_no,
        name="商户",
        stock_id="s",
        claim_no=1,
        redemption_id="r",
        order_no=key.order_no,
        order_amount_fen=10_000,
        refund_id=None,
        refund_amount_fen=None,
        amount_fen=amount_fen,
    )


def verdicts(
    ours: Iterable[tuple[Key, int]], theirs: Iterable[tuple[Key, int]]
) -> list[tuple[str, int | None, int | None]]:
    """Compare, and return what differs."""
    found = comparison.compare([item(key, fen) for key, fen in ours], theirs)
    return [(each.verdict.value, each.ours_fen, each.theirs_fen) for each in found.differences]


def test_each_kind_of_difference_is_told() -> None:
    """Only one side has it, or the amount is another; the same amount of another order is no match."""
    assert verdicts([(USE, 5)], [(USE, 5)]) == []
    assert verdicts([(USE, 5)], []) == [("ONLY_OURS", 5, None)]
    assert verdicts([], [(USE, 5)]) == [("ONLY_THEIRS", None, 5)]
    assert verdicts([(USE, 5)], [(USE, 6)]) == [("AMOUNT_DIFFERS", 5, 6)]
    other = Key(OTHER_SHOP, "o1", "REDEEM")
    assert verdicts([(USE, 5)], [(other, 5)]) == [("ONLY_OURS", 5, None), ("ONLY_THEIRS", None, 5)]


def test_an_order_that_stands_there_twice_is_counted_twice() -> None:
    """As after a reversal: one of them missing is one difference."""
    assert verdicts([(USE, 5), (USE, 5)], [(USE, 5)]) == [("ONLY_OURS", 5, None)]
    assert verdicts([(USE, 5), (USE, 7)], [(USE, 7), (USE, 6), (USE, 9)]) == [
        ("AMOUNT_DIFFERS", 5, 6),
        ("ONLY_THEIRS", None, 9),
    ]


def test_a_claw_back_is_a_refund_to_the_other_side() -> None:
    """They do not know when we have paid."""
    refund = Key(SHOP, "o1", "REFUND")
    assert comparison.compare([item(refund, 5, "CLAW_BACK")], [(refund, 5)]) == Comparison(1, [])


@settings(max_examples=100, deadline=None)
@given(*[st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3)), max_size=6)] * 2)
def test_every_line_is_accounted_for(ours: list[tuple[str, int]], theirs: list[tuple[str, int]]) -> None:
    """Agreeing and differing lines add up to both lists, in number and in fen."""
    named_ours, named_theirs = ([(Key(SHOP, order, "REDEEM"), fen) for order, fen in side] for side in (ours, theirs))
    found = comparison.compare([item(key, fen) for key, fen in named_ours], named_theirs)
    totals = {verdict: found.total(verdict) for verdict in Verdict}
    count = {verdict: lines for verdict, (lines, _) in totals.items()}
    assert found.agreeing + count[Verdict.ONLY_OURS] + count[Verdict.AMOUNT_DIFFERS] == len(ours)
    assert found.agreeing + count[Verdict.ONLY_THEIRS] + count[Verdict.AMOUNT_DIFFERS] == len(theirs)
    fen = {verdict: amount for verdict, (_, amount) in totals.items()}
    balance = fen[Verdict.ONLY_OURS] - fen[Verdict.ONLY_THEIRS] + fen[Verdict.AMOUNT_DIFFERS]
    assert balance == sum(amount for _, amount in ours) - sum(amount for _, amount in theirs)


async def _frozen(till: Till) -> Settlement:
    await till.redeemed(1, order_no="o1")
    until = datetime.now(UTC) + timedelta(seconds=1)
    campaign_id = till.books.campaign.campaign_id
    return await settlement.freeze(till.vault, campaign_id, until, subject="li", reason="due", at=until)


async def _compare(till: Till, frozen: Settlement, *theirs: tuple[Key, int]) -> Comparison:
    found, _, items = await settlement.contents(till.vault, frozen.settlement_id)
    seen = comparison.compare(items, theirs)
    await comparison.record(till.vault, found, seen, subject="li", list_digest=bytes(32))
    return seen


async def test_differences_hold_the_payout_up_until_they_are_gone(till: Till) -> None:
    """The latest comparison counts."""
    frozen = await _frozen(till)
    await _compare(till, frozen, (USE, 2_999))
    with pytest.raises(SettlementRefused, match="has found 1 differences"):
        await settlement.approve(till.vault, frozen.settlement_id, subject="wang", reason="checked")
    assert (await till.balances()).get("PAID_OUT", 0) == 0
    await _compare(till, frozen, (USE, 3_000))
    paid = await settlement.approve(till.vault, frozen.settlement_id, subject="wang", reason="checked")
    assert paid.state == "PAID"
    assert await till.violated() == []


async def test_differences_that_somebody_accepts_are_paid_and_his_reason_stays(till: Till) -> None:
    """Who, and why; and nobody rewrites it."""
    frozen = await _frozen(till)
    await _compare(till, frozen)
    paid = await settlement.approve(
        till.vault, frozen.settlement_id, subject="wang", reason="checked", accept_differences="their list ends at noon"
    )
    assert paid.state == "PAID"
    seen = await settlement.latest_comparison(till.vault, paid)
    assert seen is not None
    assert (seen.only_ours, seen.only_ours_fen, seen.differences) == (1, 3_000, 1)
    assert (seen.accepted_by, seen.accepted_for) == ("wang", "their list ends at noon")


@pytest.mark.parametrize("text", ["", "x" * 501])
async def test_a_reason_must_be_one(till: Till, text: str) -> None:
    """An empty one accepts nothing, one without end is refused; nothing is paid."""
    frozen = await _frozen(till)
    await _compare(till, frozen)
    with pytest.raises(SettlementRefused):
        await settlement.approve(
            till.vault, frozen.settlement_id, subject="wang", reason="checked", accept_differences=text
        )
    assert (await till.balances()).get("PAID_OUT", 0) == 0


async def test_a_comparison_is_somebodys(till: Till) -> None:
    """A name that is none is refused."""
    frozen = await _frozen(till)
    with pytest.raises(SettlementRefused, match="name is empty"):
        await comparison.record(till.vault, frozen, Comparison(0, []), subject="", list_digest=bytes(32))


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_comparisons_and_acceptances_are_append_only(till: Till, role: str) -> None:
    """Not even a superuser who poses as a replica changes a row without dropping the trigger."""
    await till.vault.execute(f"SET session_replication_role = {role}")
    for table, column in (("settlement_comparisons", "compared_by"), ("settlement_acceptances", "reason")):
        for change in ("UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
            with pytest.raises(asyncpg.RestrictViolationError, match=f"{table} is append-only"):
                await till.vault.execute(change.format(table, column, column))


# Table, what a copy of a good row has changed, and who must refuse it.
FORGED = [
    ("settlement_comparisons", {"comparison_no": "comparison_no"}, "settlement_comparisons_pkey"),
    ("settlement_comparisons", {"settlement_no": "1000"}, "settlement_comparisons_settlement_no_fkey"),
    ("settlement_comparisons", {"list_digest": "''"}, "list_digest_is_sha256"),
    ("settlement_comparisons", {"compared_by": "''"}, "comparison_is_somebodys"),
    ("settlement_comparisons", {"only_ours": "-1"}, "comparison_counts_up"),
    ("settlement_acceptances", {}, "differences_are_accepted_once"),
    ("settlement_acceptances", {"comparison_no": "1000"}, "settlement_acceptances_comparison_no_fkey"),
    ("settlement_acceptances", {"comparison_no": "comparison_no + 1", "reason": "''"}, "acceptance_is_stated"),
]


async def test_each_guard_of_comparisons_refuses_what_breaks_it(till: Till) -> None:
    """A copy of a good row that differs in one fact is refused by the guard of that fact."""
    frozen = await _frozen(till)
    await _compare(till, frozen)
    await settlement.approve(till.vault, frozen.settlement_id, subject="wang", reason="x", accept_differences="x")
    await _compare(till, frozen)
    found = [
        (table, changes, await refusal_of_a_copy(till.vault, table, "true", changes)) for table, changes, _ in FORGED
    ]
    assert found == FORGED
