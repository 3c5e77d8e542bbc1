"""A merchant's settlement by hand, as the smallest statement that the vault accepts."""

from __future__ import annotations

from datetime import datetime

import asyncpg


async def settle(vault: asyncpg.Connection, campaign_id: str, merchant_no: str, until: datetime) -> None:
    """Pay a merchant what he is owed."""
    await vault.execute(
        """
        WITH event AS (
            INSERT INTO events (kind, campaign_no, merchant_no, settled_until, amount_fen)
            SELECT 'SETTLE', campaign_no, holder, $3, balance_fen
            FROM balances JOIN campaigns USING (campaign_no)
            WHERE campaign_id = $1 AND kind = 'PAYABLE' AND holder = $2
            RETURNING *
        )
        INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder,
                               debit_kind, credit_kind)
        SELECT event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder, 'PAYABLE', 'PAID_OUT' FROM event
        """,
        campaign_id,
        merchant_no,
        until,
    )
