"""Holds as two persons make them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from ledger import admin, holds
from ledger.admin import Action
from ledger.holds import VoucherName


async def agreed(vault: asyncpg.Connection, action: Action, vouchers: Sequence[VoucherName]) -> int:
    """Let two persons agree on an act that begins now; return the number of the request."""
    target = " ".join(map(str, vouchers))
    number = await admin.request(vault, action, target, reason="test", subject="li")
    await admin.approve(vault, number, reason="test", subject="wang")
    assert await admin.begin(vault, number, action, target, subject="li")
    return number


async def change(
    vault: asyncpg.Connection, action: Action, vouchers: Sequence[VoucherName], at: datetime | None = None
) -> list[VoucherName]:
    """Hold, release or void vouchers; return those for which it was done."""
    return await holds.change(vault, action, vouchers, request_no=await agreed(vault, action, vouchers), at=at)
