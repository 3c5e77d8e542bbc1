"""Each key and check of the vault refuses a row that only it can refuse: a copy of a good one, changed in one fact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import pytest

from tests.support.books import Books
from tests.support.copied_rows import refusal_of_a_copy
from tests.support.till import HOTPOT, SHOP, Till, new_number

Case = tuple[str, Mapping[str, str]]  # the guard, and what is changed

LAST = "SELECT {} FROM redemptions ORDER BY redemption_no DESC LIMIT 1"
LAST_REDEMPTION = {
    "redemption_no": f"({LAST.format('redemption_no')})",
    "order_no": f"({LAST.format('order_no')})",
}

# By table: which row is copied, and each guard with the changes that it must refuse.
OF_HANDING_OUT: Mapping[str, tuple[str, Sequence[Case]]] = {
    "campaigns": (
        "true",
        [
            ("campaigns_pkey", {"campaign_no": "campaign_no", "campaign_id": "'new'"}),
            ("campaigns_campaign_id_key", {}),
        ],
    ),
    "rounds": (
        "true",
        [
            ("rounds_pkey", {"round_no": "round_no", "round_id": "'new'"}),
            ("rounds_campaign_no_round_id_key", {}),
            ("rounds_campaign_no_fkey", {"campaign_no": "1000"}),
        ],
    ),
    "stocks": (
        "true",
        [
            ("stocks_pkey", {"stock_no": "stock_no", "stock_id": "stock_id || 'x'"}),
            ("stocks_stock_id_key", {}),
            ("stocks_round_no_fkey", {"stock_id": "stock_id || 'x'", "round_no": "1000"}),
        ],
    ),
    "vouchers": (
        "true",
        [
            ("vouchers_code_hash_key", {"claim_no": "1000", "quantity": "1000"}),
            ("code_hash_is_sha256", {"code_hash": "'\\x00'"}),
            ("voucher_belongs_to_its_stock", {"code_hash": "sha256('new')", "stock_no": "1000"}),
        ],
    ),
    "dead_letters": (
        "true",
        [
            ("dead_letters_pkey", {"dead_letter_no": "dead_letter_no", "stream_id": "'9-9'"}),
            ("dead_letters_stock_no_fkey", {"stock_no": "1000"}),
            ("entry_is_refused_once", {}),
        ],
    ),
    "merchants": (
        f"merchant_no = '{SHOP}'",
        [("merchants_pkey", {"state": "'SUBMITTED'", "decision_no": "1"})],
    ),
}
OF_MONEY: Mapping[str, tuple[str, Sequence[Case]]] = {
    "accounts": (
        "kind = 'RESERVED'",
        [("account_is_of_its_campaign", {"campaign_no": "(SELECT max(campaign_no) FROM campaigns)"})],
    ),
    "redemptions": (
        f"redemption_no = ({LAST.format('redemption_no')})",
        [("redemptions_pkey", {"redemption_no": "redemption_no", "redemption_id": "'new'", "order_no": "'new'"})],
    ),
    "reversals": (
        "true",
        [
            ("reversal_was_asked_for", LAST_REDEMPTION | {"out_request_no": "'none'"}),
            ("reversal_has_its_event", LAST_REDEMPTION),
        ],
    ),
    "events": (
        "kind = 'FUND_RECEIVED'",
        [
            ("events_pkey", {"event_no": "event_no"}),
            ("events_kind_fkey", {"kind": "'GIFT'"}),
        ],
    ),
    "events of uses": ("kind = 'REDEEM'", [("events_begun_redemption_key", {})]),
    "events of reversals": ("kind = 'REVERSE'", [("events_ended_redemption_key", {})]),
    "events of stocks": (
        "kind = 'MINT'",
        [("event_concerns_whole_vouchers", {"kind": "'NEVER_CLAIMED'", "units": "-1", "amount_fen": "-face_fen"})],
    ),
}


async def mismatches(vault: asyncpg.Connection, table: str, where: str, cases: Sequence[Case]) -> list[Any]:
    """Return the cases that another guard than theirs has refused, or none."""
    found = [(guard, changes, await refusal_of_a_copy(vault, table, where, changes)) for guard, changes in cases]
    return [case for case in found if case[0] != case[2]]


@pytest.fixture
async def used(till: Till) -> Till:
    """A till at which a voucher was used and its use was undone, and another use stands; and a second campaign."""
    await till.reverse(await till.redeemed(1))
    await till.redeemed(2)
    await till.vault.execute(
        "INSERT INTO campaigns (campaign_id, document, digest, fund_fen) VALUES ('x', '{}', 'x', 1)"
    )
    return till


@pytest.mark.parametrize("table", OF_HANDING_OUT)
async def test_each_key_of_handing_out_refuses_what_breaks_it(till: Till, table: str) -> None:
    """Nothing stands twice, and nothing refers to what is not there."""
    await till.vault.execute(
        "INSERT INTO dead_letters (stock_no, stream_id, reason, entry, entry_digest, detail)"
        " SELECT stock_no, '1-1', 'FENCED', '{}', '\\x00', '' FROM stocks LIMIT 1"
    )
    assert await mismatches(till.vault, table, *OF_HANDING_OUT[table]) == []


@pytest.mark.parametrize("name", OF_MONEY)
async def test_each_key_of_money_refuses_what_breaks_it(used: Till, name: str) -> None:
    """No account, use, return, event or transfer that another row does not bear out."""
    assert await mismatches(used.vault, name.partition(" ")[0], *OF_MONEY[name]) == []


async def test_money_only_leaves_and_reaches_accounts(used: Till) -> None:
    """A settlement of a merchant without an account, and a reservation for a stock without one."""
    transfer = (
        "INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder,"
        " debit_kind, credit_kind) SELECT event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder,"
        " p.debit_kind, p.credit_kind FROM events JOIN posting_rules p ON p.event_kind = kind"
        " ORDER BY event_no DESC LIMIT 1"
    )
    events = {
        "debit_is_of_an_account": (
            "INSERT INTO events (kind, campaign_no, merchant_no, amount_fen, settled_until)"  # noqa: S608  a constant
            f" SELECT 'SETTLE', campaign_no, '{HOTPOT}', 5, now() FROM rounds"
        ),
        "credit_is_of_an_account": (
            "WITH stock AS (INSERT INTO stocks (stock_id, round_no, class, tier, name, threshold_fen, discount_fen,"
            " quantity, available_until, gate_tag, limit_no) SELECT 'x', round_no, 'general', 9, 'x', 2, 1, 1, now(),"
            " 'x', 99 FROM rounds RETURNING stock_no, round_no)"
            " INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen)"
            " SELECT 'MINT', campaign_no, stock_no, 1, 1, 1 FROM stock JOIN rounds USING (round_no)"
        ),
    }
    for constraint, event in events.items():
        booking = used.vault.transaction()
        await booking.start()
        await used.vault.execute(event)
        with pytest.raises(asyncpg.ForeignKeyViolationError) as refused:
            await used.vault.execute(transfer)
        await booking.rollback()
        assert refused.value.constraint_name == constraint


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_balances_follow_every_transfer_and_nothing_else(till: Till, role: str) -> None:
    """Also for a session that poses as a replica: what is moved shows, and a hand on a balance is refused."""
    before = await till.balances()
    await till.vault.execute(f"SET session_replication_role = {role}")
    number = new_number()
    await till.redeemed(1, order_no=number)
    moved = {kind: fen - before.get(kind, 0) for kind, fen in (await till.balances()).items()}
    assert {kind: fen for kind, fen in moved.items() if fen} == {"RESERVED": -3_000, "PAYABLE": 3_000}
    new = {"holder": "'nobody'", "balance_fen": "5"}
    for change in ("UPDATE balances SET balance_fen = balance_fen + 1", "DELETE FROM balances", "TRUNCATE balances"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await till.vault.execute(change)
    assert await refusal_of_a_copy(till.vault, "balances", "true", new) == "a balance begins at nothing"


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_a_decision_takes_effect_for_every_session(till: Till, role: str) -> None:
    """Also for one that poses as a replica: journal and state cannot part."""
    await till.vault.execute(f"SET session_replication_role = {role}")
    await till.vault.execute(
        "INSERT INTO merchant_decisions (merchant_no, decision_no, from_state, to_state, actor, reason)"
        " VALUES ($1, 3, 'APPROVED', 'SUSPENDED', 'test', 'test')",
        SHOP,
    )
    assert await till.vault.fetchval("SELECT state FROM merchants WHERE merchant_no = $1", SHOP) == "SUSPENDED"


async def test_a_state_that_does_not_exist_is_refused_even_without_the_key(books: Books) -> None:
    """The state's own check holds by itself."""
    await books.vault.execute("ALTER TABLE merchants DISABLE TRIGGER USER")
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await books.vault.execute(
            "INSERT INTO merchants (merchant_no, name, address, town, category, accepts, state, submitted_by)"
            " VALUES ('898340149000009', 'x', 'x', 'x', 'x', '{scan}', 'WHIM', 'x')"
        )
    assert refused.value.constraint_name == "merchant_state_is_known"
