"""The vault's own guards, by which it makes the worst impossible; DDL can remove them, so they are watched."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from ledger.statements import statement

_SELECT_GUARDS = statement("select_guards")

# Which invariant rests on which constraint, index or trigger of the migrations: of handing out, where a missing one
# closes the gate, and of the money.
GUARDS: Mapping[str, tuple[str, ...]] = {
    "I-1": ("claim_is_of_minted_voucher", "claim_no_is_within_quantity", "voucher_belongs_to_its_stock"),
    "I-2": ("one_owner_per_voucher", "vouchers_pkey"),
    "I-3": ("one_voucher_per_user", "one_nth_voucher_per_user_and_round"),
    "I-15": (
        "vouchers_are_append_only",
        "claims_are_append_only",
        "dead_letters_are_append_only",
        "journals_are_append_only",
        "sealed_blocks_are_append_only",
        "sealed_rows_are_append_only",
    ),
}


MONEY_GUARDS: Mapping[str, tuple[str, ...]] = {
    "I-10": (
        "one_event_per_version",
        "event_starts_where_the_last_ended",
        "event_is_of_a_claimed_voucher",
        "event_is_of_its_redemption",
        "transition_is_allowed",
        "life_begins_with_the_claim",
        "one_voucher_per_order",
        "redemptions_are_append_only",
        "reversals_are_append_only",
        "refunds_are_append_only",
        "events_are_append_only",
    ),
    "I-11": (
        "event_has_its_money",
        "transfer_is_of_its_event",
        "transfer_follows_the_rule",
        "debit_is_of_an_account",
        "credit_is_of_an_account",
        "amount_is_of_its_kind",
        "transfers_move_balances",
        "balances_follow_transfers",
        "balances_begin_at_nothing",
        "balances_are_never_removed",
        "balance_is_not_overdrawn",
        "transfers_are_append_only",
        "accounts_are_append_only",
        "posting_rules_are_append_only",
    ),
    "I-12": (
        "money_is_received_once",
        "fund_has_its_receipt",
        "fund_receipts_are_append_only",
        "one_minting_per_stock",
        "event_is_of_the_stocks_face",
        "refund_returns_its_share",
        "refund_follows_the_one_before",
    ),
    "I-16": (
        "one_answer_per_request",
        "redemption_was_asked_for",
        "reversal_was_asked_for",
        "refund_was_asked_for",
        "requests_are_append_only",
    ),
    "I-17": ("one_return_of_the_never_claimed", "rounds_only_advance"),
    "I-18": (
        "event_is_settled_once",
        "item_is_an_event_of_its_merchant",
        "item_is_of_a_line",
        "line_brings_what_was_carried",
        "line_is_paid_once",
        "payout_is_of_a_line",
        "payout_was_agreed",
        "payout_is_an_event",
        "period_follows_the_one_before",
        "two_persons",
        "settlements_are_append_only",
        "settlement_lines_are_append_only",
        "settlement_items_are_append_only",
        "settlement_payouts_are_append_only",
    ),
}


async def missing_guards(
    connection: asyncpg.Connection, guards: Mapping[str, tuple[str, ...]] = GUARDS
) -> dict[str, list[str]]:
    """Return the guards that are not in force, by the invariant that rests on them; empty when all are.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    found = {row["name"] for row in await connection.fetch(_SELECT_GUARDS)}
    return {
        invariant: missing
        for invariant, names in guards.items()
        if (missing := [name for name in names if name not in found])
    }
