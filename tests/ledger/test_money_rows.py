"""One forged row after the other: whichever fact is wrong, the key or check that carries it refuses the row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.settle import settle
from tests.support.till import Till

# A copy of the table's first row with some facts changed, and the guard that refuses it.
FORGED: list[tuple[str, dict[str, str], str]] = [
    ("accounts", {}, "accounts_pkey"),
    ("accounts", {"kind": "'OTHER'"}, "account_kind_is_known"),
    ("accounts", {"kind": "'RESERVED'"}, "account_has_its_holder"),
    ("accounts", {"kind": "'PAYABLE'", "merchant_no": "'000000000000000'"}, "accounts_merchant_no_fkey"),
    ("accounts", {"campaign_no": "99"}, "accounts_campaign_no_fkey"),
    ("accounts", {"kind": "'RESERVED'", "stock_no": "99", "round_no": "1"}, "account_is_of_its_stock"),
    ("balances", {"balance_fen": "0"}, "balances_pkey"),
    ("balances", {"balance_fen": "0", "holder": "'nobody'"}, "balance_is_of_an_account"),
    ("posting_rules", {}, "posting_rules_pkey"),
    ("posting_rules", {"event_kind": "'X'", "credit_kind": "debit_kind"}, "rule_moves"),
    ("requests", {}, "one_answer_per_request"),
    ("requests", {"out_request_no": "'x'", "body_digest": "'\\x00'"}, "body_digest_is_sha256"),
    ("requests", {"out_request_no": "''"}, "request_is_bounded"),
    ("redemptions", {}, "redemptions_redemption_id_key"),
    ("redemptions", {"redemption_id": "'x'"}, "one_voucher_per_order"),
    ("redemptions", {"redemption_id": "'x'", "attempt": "9"}, "order_is_free_again"),
    ("redemptions", {"redemption_id": "'x'", "attempt": "0"}, "attempts_count_from_one"),
    ("redemptions", {"redemption_id": "'x'", "order_no": "''"}, "order_is_bounded"),
    ("redemptions", {"redemption_id": "'x'", "order_amount_fen": "9999"}, "order_reaches_the_threshold"),
    (
        "redemptions",
        {"redemption_id": "'x'", "order_no": "'x'", "threshold_fen": "9999"},
        "redemption_is_on_the_stocks_terms",
    ),
    (
        "redemptions",
        {"redemption_id": "'x'", "order_no": "'x'", "merchant_no": "'000000000000000'"},
        "redemptions_merchant_no_fkey",
    ),
    (
        "redemptions",
        {"redemption_id": "'x'", "order_no": "'x'", "out_request_no": "'none'"},
        "redemption_was_asked_for",
    ),
    ("redemptions", {"redemption_id": "'x'", "order_no": "'x'"}, "redemption_has_its_event"),
    ("reversals", {}, "reversals_pkey"),
    ("reversals", {"redemption_no": "99"}, "reversal_frees_its_order"),
    ("reversals", {"redemption_no": "99", "order_no": "'x'"}, "reversal_is_of_a_redemption"),
    ("refunds", {}, "refunds_pkey"),
    ("refunds", {"nth": "9"}, "refunds_refund_id_key"),
    ("refunds", {"nth": "9", "refund_id": "'x'"}, "refunds_event_no_key"),
    ("refunds", {"nth": "0"}, "refunds_count_from_one"),
    ("refunds", {"refund_amount_fen": "0"}, "refund_is_within_the_order"),
    ("refunds", {"refund_total_fen": "order_amount_fen + 1"}, "refund_is_within_the_order"),
    ("refunds", {"returned_total_fen": "returned_total_fen + 1"}, "refund_returns_its_share"),
    ("refunds", {"nth": "9", "refund_id": "'x'", "event_no": "1"}, "refund_follows_the_one_before"),
    (
        "refunds",
        {"refund_id": "'x'", "event_no": "99", "redemption_no": "99"},
        "refund_is_of_a_redemption",
    ),
    (
        "refunds",
        {"nth": "1", "refund_id": "'x'", "event_no": "99", "redemption_no": "3", "out_request_no": "'none'"},
        "refund_was_asked_for",
    ),
    ("refunds", {"nth": "1", "refund_id": "'x'", "event_no": "99", "redemption_no": "3"}, "refund_has_its_event"),
    ("fund_receipts", {}, "fund_receipts_pkey"),
    ("fund_receipts", {"event_no": "99"}, "money_is_received_once"),
    ("fund_receipts", {"event_no": "99", "reference": "''"}, "receipt_is_bounded"),
    ("fund_receipts", {"event_no": "99", "reference": "'x'"}, "fund_receipts_event_no_fkey"),
    ("fund_receipts", {"event_no": "99", "reference": "'x'", "campaign_no": "99"}, "fund_receipts_campaign_no_fkey"),
    ("events", {}, "fund_has_its_receipt"),
    ("events", {"campaign_no": "99"}, "events_campaign_no_fkey"),
    ("events", {"settled_until": "now()"}, "only_a_settlement_has_a_period"),
    ("events", {"kind": "'SETTLE'"}, "event_has_the_facts_of_its_kind"),
    ("events", {"amount_fen": "0"}, "amount_is_of_its_kind"),
    ("transfers", {}, "transfers_pkey"),
    ("transfers", {"event_no": "99", "amount_fen": "0"}, "transfer_moves_something"),
    ("transfers", {"event_no": "99"}, "transfer_is_of_its_event"),
]


@pytest.fixture
async def lived(till: Till) -> Till:
    """Books with an event of every kind but the end: redemptions 1 to 3, one reversed, one returned in part."""
    first = await till.redeemed(1)
    await till.reverse(first)
    second = await till.redeemed(2)
    await till.refund(second, 5_000)
    await till.redeemed(3)
    return till


async def forge(till: Till, table: str, changes: dict[str, str]) -> None:
    """Insert a copy of a table's first row with some facts changed, and let every key look at it at once."""
    rows = await till.vault.fetch(
        "SELECT column_name AS name FROM information_schema.columns"
        " WHERE table_name = $1 AND is_generated = 'NEVER' AND is_identity = 'NO' ORDER BY ordinal_position",
        table,
    )
    names = [row["name"] for row in rows]
    values = ", ".join(changes.get(name, name) for name in names)
    async with till.vault.transaction():
        await till.vault.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} ORDER BY ctid LIMIT 1"  # noqa: S608  names of this file
        )
        await till.vault.execute("SET CONSTRAINTS ALL IMMEDIATE")


async def test_each_forged_row_is_refused_by_its_guard(lived: Till) -> None:
    """The copies differ from good rows in one fact, and that fact's guard says no."""
    refused: list[tuple[str, dict[str, str], str | None]] = []
    for table, changes, _ in FORGED:
        try:
            await forge(lived, table, changes)
        except asyncpg.IntegrityConstraintViolationError as error:
            refused.append((table, changes, error.constraint_name))
        else:
            refused.append((table, changes, None))
    assert refused == FORGED
    assert await lived.violated() == []


@pytest.mark.parametrize(
    ("kind", "guard"),
    [("MINT", "one_minting_per_stock"), ("NEVER_CLAIMED", "one_return_of_the_never_claimed")],
)
async def test_a_stock_is_minted_and_returned_once(lived: Till, kind: str, guard: str) -> None:
    """A second time is refused, whatever else is right."""
    event = (
        "INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen)"
        " SELECT $1, campaign_no, stock_no, discount_fen, 1, discount_fen FROM stocks JOIN rounds USING (round_no)"
        " CROSS JOIN generate_series(1, 2) WHERE stock_no = (SELECT min(stock_no) FROM stocks)"
    )
    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        await lived.vault.execute(event, kind)
    assert refused.value.constraint_name == guard


async def test_a_balance_begins_at_nothing(till: Till) -> None:
    """An account that is opened with money in it is refused."""
    with pytest.raises(asyncpg.RestrictViolationError, match="begins at nothing"):
        await forge(till, "balances", {"holder": "'x'", "balance_fen": "1"})


async def test_what_is_settled_is_paid_to_its_merchant(lived: Till) -> None:
    """A settlement of another merchant's money is refused: the transfer's account is the event's."""
    until = datetime.now(UTC) + timedelta(seconds=1)
    await settle(lived.vault, lived.books.campaign.campaign_id, until)
    with pytest.raises(asyncpg.ForeignKeyViolationError) as refused:
        await forge(lived, "transfers", {"event_no": "(SELECT max(event_no) FROM events) + 1"})
    assert refused.value.constraint_name == "transfer_is_of_its_event"
