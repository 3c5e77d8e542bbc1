"""Tills that showed too many unknown voucher codes: locked by the statement that counts, let go by staff with a reason.

A count is of a caller and a merchant within a day, over all processes: guessing goes on in none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from ledger import admin
from ledger.admin import Deed
from ledger.statements import statement

CODES_A_DAY_MAX = 200

_SELECT_ALL = statement("select_code_locks")
_SELECT = statement("select_code_lock")
_LIFT = statement("lift_code_lock")


@dataclass(frozen=True, slots=True)
class Lockout:
    """A caller who may use no voucher at a merchant; ``counted`` unknown codes were shown since ``since``."""

    caller: str
    merchant_no: str
    counted: int
    since: datetime
    locked_at: datetime


async def lockouts(vault: asyncpg.Connection, lockouts_max: int) -> list[Lockout]:
    """Return who is locked, the latest first."""
    return [Lockout(**row) for row in await vault.fetch(_SELECT_ALL, lockouts_max)]


async def unlock(vault: asyncpg.Connection, caller: str, merchant_no: str, *, subject: str, reason: str) -> bool:
    """Let a caller use vouchers at a merchant again, and write down who says so and why; False if none is locked.

    Raises:
        asyncpg.CheckViolationError: The reason is empty or too long.
    """
    async with vault.transaction():
        row = await vault.fetchrow(_SELECT, caller, merchant_no)
        if row is None:
            return False
        deed = Deed(action=admin.UNLOCK, target=f"{caller} {merchant_no}", subject=subject, reason=reason)
        before = {"counted": row["counted"], "locked_at": row["locked_at"].isoformat()}
        number = await admin.write_down(vault, deed, before=before, after={"counted": 0})
        await vault.execute(_LIFT, caller, merchant_no, number)
        return True
