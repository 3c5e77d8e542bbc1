"""Reads the ledger and the gate for the checker, with statements and names of its own.

Nothing here comes from the service: a mistake in its statements or in its names of keys must not be
able to hide itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio as redis

from loadtest.chaos.check_case import Books, Claim, DeadLetter, GateState, Round, Stock, StockAtGate

_HERE = Path(__file__).parent
_READ_MAX = 10_000  # entries of a stream that are read at once


async def read_books(ledger: asyncpg.Connection) -> Books:
    """Read the ledger, all of one instant.

    Raises:
        asyncpg.PostgresError, OSError: It cannot be read.
    """
    async with ledger.transaction(isolation="repeatable_read", readonly=True):
        rounds = await ledger.fetch(_statement("select_rounds"))
        stocks = await ledger.fetch(_statement("select_stocks"))
        claims = await ledger.fetch(_statement("select_claims"))
        dead_letters = await ledger.fetch(_statement("select_dead_letters"))
    return Books(
        rounds={
            row["round_id"]: Round(row["epoch"], row["opens_ms"], row["closes_ms"], row["round_limit"])
            for row in rounds
        },
        stocks={
            row["stock_id"]: Stock(
                row["round_id"], row["quantity"], row["minted"], str(row["limit_no"]), row["gate_tag"]
            )
            for row in stocks
        },
        claims=[Claim(**row) for row in claims],
        dead_letters=[
            DeadLetter(row["stock_id"], row["stream_id"], row["reason"], json.loads(row["entry"]))
            for row in dead_letters
        ],
    )


async def read_gate(gate: redis.Redis, books: Books) -> GateState:
    """Read every stock of ``books`` at the gate, which must be at rest: the reads are not of one instant.

    Args:
        gate: A client that decodes what it reads.
        books: The ledger, for the stocks' names.

    Raises:
        redis.RedisError: The gate cannot be read.
    """
    return GateState({stock_id: await _stock(gate, stock_id, stock) for stock_id, stock in books.stocks.items()})


async def _stock(gate: redis.Redis, stock_id: str, stock: Stock) -> StockAtGate:
    name = f"grab:{{{stock.gate_tag}}}{stock_id.removeprefix(stock.gate_tag)}"
    is_open, epoch, committed = await _counts(gate, name)
    free: Any = await gate.lrange(f"{name}:free", 0, -1)
    holders: Any = await gate.hgetall(f"{name}:holders")
    return StockAtGate(
        is_open=is_open,
        epoch=epoch,
        free=[int(number) for number in free],
        holders=holders,
        entries=await _entries(gate, f"{name}:claims"),
        committed=committed,
    )


async def _counts(gate: redis.Redis, name: str) -> tuple[bool, int, str]:
    """Return whether a stock is open, its epoch and its watermark, which counts for that epoch only."""
    keys = (f"{name}:rules", f"{name}:free", f"{name}:holders", f"{name}:claims", f"{name}:progress")
    try:
        reply: Any = await gate.fcall_ro("grab_counts", len(keys), *keys)
    except redis.ResponseError as error:
        if "Function not found" not in str(error):
            raise
        return False, 0, "0-0"  # a gate without its library serves nobody
    is_open, epoch, *_, committed_epoch, committed, _booked = reply
    return is_open == 1, epoch, committed if committed_epoch == epoch else "0-0"


async def _entries(gate: redis.Redis, stream: str) -> list[tuple[str, dict[str, str]]]:
    entries: list[tuple[str, dict[str, str]]] = []
    after = "-"
    while True:
        chunk: Any = await gate.xrange(stream, after, count=_READ_MAX)
        if not chunk:
            return entries
        entries += chunk
        after = f"({chunk[-1][0]}"


def _statement(name: str) -> str:
    return (_HERE / f"{name}.sql").read_text(encoding="utf-8")
