"""The money's own guards: forged events, unbalanced transfers and changed rows are refused by the database itself."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.till import SHOP, Till

JOURNALS = (
    "accounts",
    "events",
    "fund_receipts",
    "posting_rules",
    "redemptions",
    "refunds",
    "requests",
    "reversals",
    "transfers",
)

EVENT = (
    "INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen, claim_no, version, from_state,"
    " to_state, redemption_no, merchant_no)"
    " SELECT {kind}, campaign_no, stock_no, {face}, 1, {amount}, {claim_no}, {version}, {from_state},"
    " {to_state}, {redemption_no}, {merchant_no} FROM stocks JOIN rounds USING (round_no)"
    " WHERE stock_no = (SELECT min(stock_no) FROM stocks)"
)
EXPIRE = {
    "kind": "'EXPIRE'",
    "face": "discount_fen",
    "amount": "discount_fen",
    "claim_no": "2",
    "version": "1",
    "from_state": "'ISSUED'",
    "to_state": "'EXPIRED'",
    "redemption_no": "NULL::bigint",
    "merchant_no": "NULL",
}
REVERSE = EXPIRE | {
    "kind": "'REVERSE'",
    "claim_no": "1",
    "version": "2",
    "from_state": "'USED'",
    "to_state": "'ISSUED'",
    "redemption_no": "(SELECT min(redemption_no) FROM redemptions)",
    "merchant_no": f"'{SHOP}'",
}
TRANSFER = (
    "INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind,"
    " credit_kind) SELECT event_no, {event_kind}, campaign_no, {amount}, {stock}, {merchant}, {debit}, {credit}"
    " FROM events ORDER BY event_no DESC LIMIT 1"
)
TO_POOL = {
    "event_kind": "kind",
    "amount": "amount_fen",
    "stock": "stock_holder",
    "merchant": "merchant_holder",
    "debit": "'RESERVED'",
    "credit": "'POOL'",
}


async def book(till: Till, event: dict[str, str], transfer: dict[str, str] | None) -> None:
    """Book an event with its transfer by hand."""
    async with till.vault.transaction():
        await till.vault.execute(EVENT.format(**event))
        if transfer is not None:
            await till.vault.execute(TRANSFER.format(**transfer))


async def test_a_good_event_with_its_transfer_is_accepted(till: Till) -> None:
    """The statements that the others vary are good ones."""
    await book(till, EXPIRE, TO_POOL)


@pytest.mark.parametrize(
    ("event", "transfer", "constraint"),
    [
        ({}, None, "event_has_its_money"),
        ({}, {"amount": "amount_fen + 1"}, "transfer_is_of_its_event"),
        ({}, {"event_kind": "'REFUND'"}, "transfer_is_of_its_event"),
        ({}, {"stock": "'2'"}, "transfer_is_of_its_event"),
        ({}, {"merchant": f"'{SHOP}'"}, "transfer_is_of_its_event"),
        ({}, {"debit": "'POOL'", "credit": "'RESERVED'"}, "transfer_follows_the_rule"),
        ({}, {"credit": "'EXTERNAL'"}, "transfer_follows_the_rule"),
        ({"amount": "discount_fen - 1"}, {}, "amount_is_of_its_kind"),
        ({"face": "discount_fen - 1", "amount": "discount_fen - 1"}, {}, "event_is_of_the_stocks_face"),
        ({"claim_no": "5"}, {}, "event_is_of_a_claimed_voucher"),
        ({"claim_no": "1"}, {}, "one_event_per_version"),
        ({"claim_no": "1", "version": "2"}, {}, "event_starts_where_the_last_ended"),
        ({"version": "2"}, {}, "event_starts_where_the_last_ended"),
        ({"version": "0"}, {}, "life_begins_with_the_claim"),
        ({"from_state": "'USED'"}, {}, "life_begins_with_the_claim"),
        ({"to_state": "'USED'"}, {}, "transition_is_allowed"),
        ({"kind": "'REVIVE'"}, {}, "event_has_the_facts_of_its_kind"),
        ({"merchant_no": f"'{SHOP}'"}, {}, "event_has_the_facts_of_its_kind"),
    ],
)
async def test_a_forged_expiry_is_refused(
    till: Till, event: dict[str, str], transfer: dict[str, str] | None, constraint: str
) -> None:
    """No event without its money, of another amount, account, voucher or state."""
    await till.redeemed()
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await book(till, EXPIRE | event, None if transfer is None else TO_POOL | transfer)
    assert refused.value.constraint_name == constraint
    assert await till.violated() == []


@pytest.mark.parametrize(
    ("event", "constraint"),
    [
        ({}, "reversal_has_its_reasons"),
        ({"merchant_no": "'898340149000002'"}, "event_is_of_its_redemption"),
        ({"claim_no": "2", "version": "1"}, "life_begins_with_the_claim"),
        (
            {"from_state": "'REFUNDED'", "to_state": "'REFUNDED'", "kind": "'REFUND'"},
            "event_starts_where_the_last_ended",
        ),
        ({"to_state": "'REFUNDED'", "kind": "'REFUND'"}, "refund_has_its_amounts"),
    ],
)
async def test_a_forged_return_is_refused(till: Till, event: dict[str, str], constraint: str) -> None:
    """No reversal or refund without its reasons, or of another's redemption."""
    await till.redeemed()
    credit = "'POOL'" if "REFUND" in event.get("kind", "") else "'RESERVED'"
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await book(till, REVERSE | event, TO_POOL | {"debit": "'PAYABLE'", "credit": credit})
    assert refused.value.constraint_name == constraint


async def test_a_transfer_without_an_event_is_refused(till: Till) -> None:
    """Money moves for a reason, once."""
    with pytest.raises(asyncpg.UniqueViolationError):
        await till.vault.execute(TRANSFER.format(**TO_POOL | {"debit": "'POOL'", "credit": "'RESERVED'"}))
    forged = TRANSFER.format(**TO_POOL).replace("SELECT event_no,", "SELECT event_no + 1000,")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await till.vault.execute(forged)


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_the_journals_of_money_are_append_only(till: Till, role: str) -> None:
    """Not even a superuser who poses as a replica changes a row without dropping the trigger."""
    await till.vault.execute(f"SET session_replication_role = {role}")
    for table in JOURNALS:
        column = await till.vault.fetchval(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum = 2", table
        )
        for change in ("UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
            with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                await till.vault.execute(change.format(table, column, column))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE balances SET balance_fen = balance_fen + 1",
        "DELETE FROM balances",
        "TRUNCATE balances",
    ],
)
async def test_a_balance_moves_by_transfers_alone(till: Till, change: str) -> None:
    """A hand on a balance is refused."""
    with pytest.raises(asyncpg.RestrictViolationError):
        await till.vault.execute(change)


async def test_no_account_is_overdrawn(till: Till) -> None:
    """The pool sets no more aside than it has."""
    await till.vault.execute(
        "INSERT INTO stocks (stock_id, round_no, class, tier, name, threshold_fen, discount_fen, quantity,"
        " available_until, gate_tag, limit_no)"
        " SELECT 'x', round_no, 'general', 9, 'x', 90000000000, 80000000000, 1, now(), 'x', 99 FROM rounds"
    )
    await till.vault.execute(
        "INSERT INTO accounts (campaign_no, kind, stock_no, round_no)"
        " SELECT campaign_no, 'RESERVED', stock_no, round_no FROM stocks JOIN rounds USING (round_no)"
        " WHERE stock_id = 'x'"
    )
    await till.vault.execute(
        "INSERT INTO balances (campaign_no, kind, holder) SELECT campaign_no, kind, holder FROM accounts"
        " ON CONFLICT DO NOTHING"
    )
    await till.vault.execute("BEGIN")
    await till.vault.execute(
        "INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen)"
        " SELECT 'MINT', campaign_no, stock_no, discount_fen, 1, discount_fen FROM stocks JOIN rounds USING (round_no)"
        " WHERE stock_id = 'x'"
    )
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await till.vault.execute(TRANSFER.format(**TO_POOL | {"debit": "'POOL'", "credit": "'RESERVED'"}))
    assert refused.value.constraint_name == "balance_is_not_overdrawn"
