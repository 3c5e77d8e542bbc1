"""Takes back from the gate what a vault that was restored to an older point has lost.

The vault raises its epoch before the gate does, so a gate that is ahead of the vault was open under an
epoch that the vault has forgotten, and with it claims whose winners were told yes.  The gate's holders
are those claims: they were rebuilt from the vault, or won since.
"""

from __future__ import annotations

import re

import asyncpg
import redis.asyncio as redis

from ledger.catalogue import StockRow
from ledger.statements import statement

_REFILL = statement("refill_claims")
_READ_MAX = 1000
_EPOCH = re.compile(r"[1-9][0-9]{0,8}")
_HOLDING = re.compile(r"([1-9][0-9]{0,8}):([1-9][0-9]{0,8}):([0-9]{1,15})-([0-9]{1,9})")


async def gate_epoch(gate: redis.Redis, stock: StockRow) -> int:
    """Return the epoch that a stock's keys in the gate are of, 0 if there are none or they are damaged.

    Raises:
        redis.RedisError: The gate is in trouble.
    """
    epoch = str(await gate.hget(stock.keys.rules, "epoch"))
    return int(epoch) if _EPOCH.fullmatch(epoch) else 0


async def refill(connection: asyncpg.Connection, gate: redis.Redis, stock: StockRow) -> int:
    """Record the stock's holders as claims; return how many were lost and are back.

    Must run before the stock is rebuilt, which forgets the holders.

    Raises:
        asyncpg.PostgresError, redis.RedisError, OSError: A store is in trouble; run it again.
    """
    back = 0
    some: list[tuple[int, int, str, int, int]] = []
    async for user_ref, holding in gate.hscan_iter(stock.keys.holders, count=_READ_MAX):
        if match := _HOLDING.fullmatch(holding):
            claim_no, epoch, stream_ms, stream_seq = map(int, match.groups())
            some.append((claim_no, epoch, user_ref, stream_ms, stream_seq))
        if len(some) >= _READ_MAX:
            back += await _insert(connection, stock, some)
            some.clear()
    return back + await _insert(connection, stock, some)


async def _insert(connection: asyncpg.Connection, stock: StockRow, claims: list[tuple[int, int, str, int, int]]) -> int:
    columns = [list(column) for column in zip(*claims, strict=True)] or [[]] * 5
    return len(await connection.fetch(_REFILL, stock.stock_no, *columns))
