"""The end of vouchers: what was claimed and never used expires, what was never claimed goes back at the seal.

Both return money to the pool, once.  They are safe to run any number of times, by anybody, at any
time: a voucher that is being used at this moment is left to the terminal, or the terminal finds it
expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from ledger.statements import statement

BATCH_MAX = 500  # vouchers a transaction; each locks its stock's balance until it ends
SEAL_AFTER_S = 60  # after the closing: claims of the last moment are on their way

_SELECT_LAPSED = statement("select_lapsed_stocks")
_EXPIRE = statement("expire_vouchers")
_SELECT_TO_SEAL = statement("select_rounds_to_seal")
_SEAL = statement("seal_round")
_RETURN_NEVER_CLAIMED = statement("return_never_claimed")


@dataclass(frozen=True, slots=True)
class ClosedRound:
    """A round that can be sealed once nothing of its stocks is on its way to the vault."""

    round_no: int
    round_id: str
    campaign_id: str
    stock_ids: tuple[str, ...]


async def expire_vouchers(
    connection: asyncpg.Connection, *, at: datetime | None = None, batch_max: int = BATCH_MAX
) -> int:
    """Expire every voucher past its validity and return how many; a transaction for each batch.

    Args:
        connection: To the vault, outside a transaction.
        at: The instant; None for the vault's clock.
        batch_max: Vouchers a transaction.
    """
    expired = 0
    for stock in await connection.fetch(_SELECT_LAPSED, at):
        after: int | None = 0
        while after is not None:
            done = await connection.fetchrow(_EXPIRE, stock["stock_no"], after, batch_max, stock["at"])
            assert done is not None  # noqa: S101  the statement always gives a row
            expired += done["expired"]
            after = done["last_no"]
    return expired


async def rounds_to_seal(connection: asyncpg.Connection, *, at: datetime | None = None) -> list[ClosedRound]:
    """Return the rounds that have been closed for SEAL_AFTER_S and have their money."""
    rows = await connection.fetch(_SELECT_TO_SEAL, float(SEAL_AFTER_S), at)
    return [ClosedRound(row["round_no"], row["round_id"], row["campaign_id"], tuple(row["stock_ids"])) for row in rows]


async def seal_round(connection: asyncpg.Connection, round_no: int) -> int:
    """Seal a round and return how many of its vouchers nobody claimed; 0 too if it was sealed before."""
    async with connection.transaction(isolation="read_committed"):
        if await connection.execute(_SEAL, round_no) != "UPDATE 1":
            return 0
        # A statement of its own: it sees the claims that the seal has waited for.
        return int(await connection.fetchval(_RETURN_NEVER_CLAIMED, round_no))
