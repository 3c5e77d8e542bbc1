"""The guards of settlements: each refuses a copy of a good row that differs in one fact, and nothing is rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ledger import settlement
from tests.support.copied_rows import refusal_of_a_copy
from tests.support.settle import settle
from tests.support.till import HOTPOT, OTHER_SHOP, SHOP, Till

TABLES = ("settlements", "settlement_lines", "settlement_items", "settlement_payouts")

SPARE = {"request_no": "(SELECT max(request_no) FROM admin_requests)"}
NEXT = SPARE | {
    "nth": "3",
    "begins_at": "until",
    "until": "until + interval '1 us'",
    "frozen_at": "until + interval '1 s'",
}
SECOND = {"settlement_no": "(SELECT settlement_no FROM settlements WHERE nth = 2)", "line_no": "2"}
NEW_LINE = SECOND | {"merchant_no": f"'{HOTPOT}'", "line_no": "1", "brought_fen": "0"}
EMPTY_EVENT = "(SELECT event_no FROM events WHERE kind = 'SETTLE' AND amount_fen = 0 AND merchant_no = '{}')"
PAYOUT = {"settlement_no": SECOND["settlement_no"], "paid_fen": "0", "event_no": EMPTY_EVENT.format(SHOP)}
AGREED = {"request_no": "(SELECT request_no FROM settlements WHERE nth = 2)"}
OF_OTHER = f"merchant_no = '{OTHER_SHOP}'"
SETTLE_OF_SHOP = f"FROM events WHERE kind = 'SETTLE' AND amount_fen > 0 AND merchant_no = '{SHOP}')"

# Table, which row is copied, what is changed, and who must refuse it.
CASES: list[tuple[str, str, Mapping[str, str], str]] = [
    ("settlements", "nth = 2", NEXT | {"settlement_no": "settlement_no"}, "settlements_pkey"),
    (
        "settlements",
        "nth = 2",
        NEXT | {"nth": "1", "begins_at": "NULL", "campaign_no": "1000"},
        "settlements_campaign_no_fkey",
    ),
    ("settlements", "nth = 2", NEXT | {"request_no": "1000"}, "settlements_request_no_fkey"),
    ("settlements", "nth = 2", NEXT | {"request_no": "request_no"}, "settlements_request_no_key"),
    ("settlements", "nth = 2", SPARE | {"until": "until - interval '1 us'"}, "settlement_has_its_place"),
    ("settlements", "nth = 2", NEXT | {"begins_at": "begins_at"}, "period_follows_the_one_before"),
    ("settlements", "nth = 2", NEXT | {"begins_at": "NULL"}, "only_the_first_has_no_beginning"),
    ("settlements", "nth = 2", NEXT | {"until": "until"}, "period_lasts"),
    ("settlements", "nth = 2", NEXT | {"frozen_at": "until"}, "period_is_over"),
    ("settlement_lines", "line_no = 2", {"line_no": "3", "brought_fen": "carried_fen"}, "settlement_lines_pkey"),
    ("settlement_lines", OF_OTHER, NEW_LINE | {"merchant_no": "'0'"}, "settlement_lines_merchant_no_fkey"),
    ("settlement_lines", OF_OTHER, SECOND | {"line_no": "1", "refunded_fen": "9999"}, "line_has_its_place"),
    ("settlement_lines", OF_OTHER, SECOND | {"settlement_no": "1000"}, "line_is_of_its_settlement"),
    ("settlement_lines", OF_OTHER, SECOND | {"brought_fen": "-7"}, "line_brings_what_was_carried"),
    ("settlement_lines", OF_OTHER, NEW_LINE | {"brought_fen": "-7"}, "first_line_brings_nothing"),
    ("settlement_lines", OF_OTHER, NEW_LINE | {"redeemed": "-1"}, "line_counts_up"),
    ("settlement_items", "true", {}, "event_is_settled_once"),
    ("settlement_items", OF_OTHER, {"event_no": "1000"}, "item_is_an_event_of_its_merchant"),
    (
        "settlement_items",
        OF_OTHER,
        {
            "event_no": "(SELECT max(event_no) FROM events WHERE kind = 'REDEEM')",
            "settlement_no": SECOND["settlement_no"],
        },
        "item_is_of_a_line",
    ),
    (
        "settlement_items",
        f"merchant_no = '{SHOP}'",
        {
            "event_no": f"(SELECT event_no {SETTLE_OF_SHOP}",
            "amount_fen": f"(SELECT amount_fen {SETTLE_OF_SHOP}",
            "kind": "'SETTLE'",
            "stock_holder": "''",
        },
        "item_concerns_a_merchant",
    ),
    ("settlement_payouts", "true", {"event_no": "1000"}, "line_is_paid_once"),
    ("settlement_payouts", "true", {"settlement_no": SECOND["settlement_no"]}, "settlement_payouts_event_no_key"),
    (
        "settlement_payouts",
        "true",
        {"merchant_no": f"'{HOTPOT}'", "paid_fen": "0", "event_no": EMPTY_EVENT.format(HOTPOT)},
        "payout_is_of_a_line",
    ),
    ("settlement_payouts", f"merchant_no = '{SHOP}'", PAYOUT, "payout_was_agreed"),
    ("settlement_payouts", f"merchant_no = '{SHOP}'", PAYOUT | AGREED, "settlement_payouts_request_no_fkey"),
]


@pytest.fixture
async def settled(till: Till) -> Till:
    """A paid settlement of two shops and a frozen one in which the first owes; a use after both; stray payouts of 0."""
    campaign_id = till.books.campaign.campaign_id
    first = await till.redeemed(1)
    await till.redeemed(2, merchant_no=OTHER_SHOP)
    now = datetime.now(UTC)
    await settle(till.vault, campaign_id, now + timedelta(seconds=1))
    await till.refund(first, 5_000, at=now + timedelta(seconds=2))
    until = now + timedelta(seconds=3)
    await settlement.freeze(till.vault, campaign_id, until, subject="li", reason="test", at=until)
    await till.redeem(till.order(3, merchant_no=OTHER_SHOP), at=now + timedelta(seconds=4))
    await till.vault.execute(
        "INSERT INTO admin_requests (action, target, reason, requested_by) VALUES ('settle', 'x', 'x', 'li')"
    )
    for merchant_no in (SHOP, HOTPOT):
        await till.vault.execute(
            "INSERT INTO events (kind, campaign_no, merchant_no, settled_until, amount_fen)"
            " SELECT 'SETTLE', campaign_no, $1, now(), 0 FROM campaigns",
            merchant_no,
        )
    return till


async def test_each_guard_of_settlements_refuses_what_breaks_it(settled: Till) -> None:
    """No overlap, no gap, no foreign event, no other amount, no payout without agreement or twice."""
    found = [
        (table, where, changes, await refusal_of_a_copy(settled.vault, table, where, changes))
        for table, where, changes, _ in CASES
    ]
    assert [case for case, expected in zip(found, CASES, strict=True) if case != expected] == []


async def test_a_payout_is_the_event_of_its_own_merchant(settled: Till) -> None:
    """Agreed or not, the money of a line is moved by an event of that merchant and amount."""
    await settled.vault.execute(
        "INSERT INTO admin_approvals (request_no, requested_by, approved_by, reason)"
        " SELECT request_no, 'li', 'wang', 'test' FROM settlements WHERE nth = 2"
    )
    await settled.vault.execute(
        "INSERT INTO admin_acts (request_no, done_by) SELECT request_no, 'wang' FROM settlements WHERE nth = 2"
    )
    where = f"merchant_no = '{SHOP}'"
    assert await refusal_of_a_copy(settled.vault, "settlement_payouts", where, PAYOUT | AGREED) == ""
    foreign = PAYOUT | AGREED | {"event_no": EMPTY_EVENT.format(HOTPOT)}
    assert await refusal_of_a_copy(settled.vault, "settlement_payouts", where, foreign) == "payout_is_an_event"


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_settlements_are_append_only(settled: Till, role: str) -> None:
    """Not even a superuser who poses as a replica changes a row without dropping the trigger."""
    await settled.vault.execute(f"SET session_replication_role = {role}")
    for table in TABLES:
        for change in ("UPDATE {} SET campaign_no = campaign_no", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
            with pytest.raises(asyncpg.RestrictViolationError, match=f"{table} is append-only"):
                await settled.vault.execute(change.format(table))
