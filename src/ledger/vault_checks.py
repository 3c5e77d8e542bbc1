"""The invariants that the vault alone can answer for: a query for each, whose rows are faults."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import asyncpg

from ledger.statements import statement

_TOLD_MAX = 5  # faults that a detail spells out

# Invariant, query, and the sentence for a row.
_CHECKS: Sequence[tuple[str, str, str]] = (
    ("I-1", statement("audit_minted"), "{stock_id}: {minted} minted and {claimed} claimed of {quantity}"),
    ("I-2", statement("audit_owners"), "{stock_id}: voucher {claim_no} has {owners} owners"),
    ("I-3", statement("audit_users"), "{stock_id}: a user has {vouchers} vouchers ({user_ref:.8}…)"),
    ("I-3", statement("audit_round_limits"), "{round_id}: a user has {vouchers} vouchers of it ({user_ref:.8}…)"),
    ("I-7", statement("audit_hours"), "{stock_id}: claim {claim_no} was made at {claimed_at}"),
    ("I-9", statement("audit_dead_letters"), "{stock_id}: entry {stream_id} was refused, {reason}: {detail}"),
    ("I-10", statement("audit_lifecycle"), "{stock_id}: voucher {claim_no}, step {version}: {kind} from {from_state}"),
    (
        "I-11",
        statement("audit_transfers"),
        "{campaign_id}: event {event_no}, {kind} of {amount_fen} fen, moved {moved_fen} fen or elsewhere",
    ),
    (
        "I-11",
        statement("audit_balances"),
        "{campaign_id}: {kind} {holder} has {balance_fen} fen, its transfers say {moved_fen}",
    ),
    (
        "I-12",
        statement("audit_pools"),
        "{campaign_id}: {kind} {holder} has {balance_fen} fen, the facts say {fact_fen}",
    ),
    ("I-13", statement("audit_epochs"), "{stock_id}: claim {claim_no} is of epoch {epoch}, its round at {round_epoch}"),
    ("I-16", statement("audit_requests"), "request {out_request_no} is {verdict} and has {effects} effects"),
    ("I-17", statement("audit_expiry"), "{stock_id}: {fault}"),
    ("I-18", statement("audit_settlements"), "{settlement_id}: merchant {merchant_no}: {fault}"),
)


async def vault_faults(connection: asyncpg.Connection, only: Collection[str] | None = None) -> list[tuple[str, str]]:
    """Return invariant and sentence of every fault, all of one instant.

    Args:
        connection: To the vault, outside a transaction.
        only: The invariants that are checked; None for all.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return [
            (invariant, sentence.format(**row))
            for invariant, query, sentence in _CHECKS
            if only is None or invariant in only
            for row in await connection.fetch(query)
        ]


def told(faults: Sequence[str]) -> str:
    """Return faults as one text that has an end."""
    text = "; ".join(faults[:_TOLD_MAX])
    return text if len(faults) <= _TOLD_MAX else f"{text}; and {len(faults) - _TOLD_MAX} more"
