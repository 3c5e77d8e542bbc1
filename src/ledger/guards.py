"""The vault's own guards, by which it makes the worst impossible; DDL can remove them, so they are watched."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from ledger.statements import statement

_SELECT_GUARDS = statement("select_guards")

# Which invariant rests on which constraint, index or trigger of the migrations.
GUARDS: Mapping[str, tuple[str, ...]] = {
    "I-1": ("claim_is_of_minted_voucher", "claim_no_is_within_quantity", "voucher_belongs_to_its_stock"),
    "I-2": ("one_owner_per_voucher", "vouchers_pkey"),
    "I-3": ("one_voucher_per_user", "one_nth_voucher_per_user_and_round"),
    "I-15": ("vouchers_are_append_only", "claims_are_append_only", "dead_letters_are_append_only"),
}


async def missing_guards(connection: asyncpg.Connection) -> dict[str, list[str]]:
    """Return the guards that are not in force, by the invariant that rests on them; empty when all are.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    found = {row["name"] for row in await connection.fetch(_SELECT_GUARDS)}
    return {
        invariant: missing
        for invariant, guards in GUARDS.items()
        if (missing := [guard for guard in guards if guard not in found])
    }
