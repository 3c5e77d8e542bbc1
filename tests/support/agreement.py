"""Two persons who agree on an act, directly in the vault."""

from __future__ import annotations

import asyncpg

from ledger import admin
from ledger.admin import Action, Deed


async def agreed(vault: asyncpg.Connection, action: Action, target: str) -> int:
    """Let Li ask and Wang approve; return the number of the request."""
    number = await admin.request(vault, action, target, reason="needed", subject="li")
    await admin.approve(vault, number, reason="checked", subject="wang")
    return number


async def deed_of(vault: asyncpg.Connection, action: Action, target: str) -> int:
    """Agree on an act, begin it and write it down; return the number of the deed."""
    number = await agreed(vault, action, target)
    assert await admin.begin(vault, number, action, target, subject="li")
    deed = Deed(action=action, target=target, subject="li", reason="needed", request_no=number)
    return await admin.write_down(vault, deed, after={"done": True})
