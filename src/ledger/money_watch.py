"""The watch over the money: every half minute the invariants of money, over all that the vault has.

It reads much more than the watch over the sale and is in no hurry, so it works beside that one, over a
connection of its own on which no statement may last.  What it finds closes no stock: who holds a
voucher is not in doubt.  It is told with the other verdicts, and people decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg

from ledger.finding import Finding
from ledger.guards import MONEY_GUARDS, missing_guards
from ledger.session import vault_session
from ledger.trouble import TROUBLE, Condition, pause
from ledger.vault_checks import told, vault_faults

INVARIANTS = ("I-10", "I-11", "I-12", "I-16", "I-17", "I-18")
_LOOK_S = 30.0
_STAND_BY_S = 1.0


async def look_at_money(vault: asyncpg.Connection) -> list[Finding]:
    """Return what is wrong with the money, and which of its guards are missing.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    found = [
        Finding(invariant, None, f"the vault lacks {', '.join(guards)}")
        for invariant, guards in (await missing_guards(vault, MONEY_GUARDS)).items()
    ]
    faults = await vault_faults(vault, INVARIANTS)
    by_name = {name: [fault for invariant, fault in faults if invariant == name] for name in INVARIANTS}
    return found + [Finding(name, None, told(sentences)) for name, sentences in by_name.items() if sentences]


class MoneyWatch:
    """Looks now and then while it is wanted.

    Args:
        database_url: The vault.

    Attributes:
        is_wanted: Whether this process is the one that watches.
        found: What the latest look has found; None before the first.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self.is_wanted = False
        self.found: Sequence[Finding] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Look until stopped.  No outage of the vault ends it; what was found stands meanwhile."""
        condition = Condition("the watch over the money")
        while not stop.is_set():
            if not self.is_wanted:
                self.found = None
                await pause(stop, _STAND_BY_S)
                continue
            try:
                async with vault_session(self._database_url) as vault:
                    self.found = await look_at_money(vault)
                condition.well()
                await pause(stop, _LOOK_S)
            except TROUBLE as error:
                await pause(stop, condition.ill(error))
