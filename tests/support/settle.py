"""A settlement as two persons make it."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from ledger import settlement
from ledger.settlement import Settlement


async def settle(vault: asyncpg.Connection, campaign_id: str, until: datetime) -> Settlement:
    """Pay every merchant what he is owed until an instant, which may lie ahead."""
    frozen = await settlement.freeze(vault, campaign_id, until, subject="li", reason="test", at=until)
    return await settlement.approve(vault, frozen.settlement_id, subject="wang", reason="test", at=until)
