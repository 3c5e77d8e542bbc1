"""Rebuilds a closed stock in the gate from its claims in the vault, and opens it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import redis.asyncio as redis

from ledger.catalogue import StockRow
from ledger.statements import statement

_CALL_MAX = 1000  # numbers or pairs that one call of the gate takes, and elements that one read gives
_CALLS_IN_FLIGHT = 50
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SELECT_CLAIMS = statement("select_claims_of_stock")
_TAKEN_OF_ROUND = statement("count_taken_of_round")
_TAKEN_OF_LIMIT = statement("count_taken_of_limit")


class RecoveryFailed(Exception):
    """The gate was not opened, or not wholly, and answers closed; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A stock that is rebuilt and not open yet.

    Attributes:
        stock: The stock, under its new epoch.
        held: How many vouchers the vault says are held.
        latest_ms: The instant of the latest claim, 0 if there is none.
    """

    stock: StockRow
    held: int
    latest_ms: int


async def rebuild_stock(connection: asyncpg.Connection, gate: redis.Redis, stock: StockRow) -> Rebuilt:
    """Write a stock's free numbers and holders anew from the vault.

    Raises:
        RecoveryFailed: A newer recovery is at work, or has opened the stock.
    """
    keys = stock.keys
    epoch = str(stock.epoch)
    _accept(stock, await gate.fcall("grab_rebuild", 4, keys.rules, keys.free, keys.holders, keys.refused, epoch))
    held = latest_ms = expected = 0
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        cursor = await connection.cursor(_SELECT_CLAIMS, stock.stock_no)
        while rows := await cursor.fetch(_CALL_MAX * _CALLS_IN_FLIGHT):
            gaps: list[range] = []
            pairs: list[str] = []
            for row in rows:
                gaps.append(range(expected + 1, row["claim_no"]))
                expected = row["claim_no"]
                holding = f"{row['claim_no']}:{row['epoch']}:{row['stream_ms']}-{row['stream_seq']}"
                pairs += (row["user_ref"], holding)
                latest_ms = max(latest_ms, row["stream_ms"])
            held += len(rows)
            await _put_free(gate, stock, gaps)
            await _put_pairs(gate, stock, keys.holders, pairs)
    await _put_free(gate, stock, [range(expected + 1, stock.quantity + 1)])
    return Rebuilt(stock, held, latest_ms)


async def rebuild_limits(connection: asyncpg.Connection, gate: redis.Redis, stocks: Sequence[StockRow]) -> None:
    """Write the counters of the limits that span stocks, each once, under any stock that it spans."""
    counters: dict[str, tuple[StockRow, str, int]] = {}
    for stock in stocks:
        if stock.round_limit:
            counters[stock.keys.round_taken] = (stock, _TAKEN_OF_ROUND, stock.round_no)
        if stock.class_tier_limit:
            counters[stock.keys.class_tier_taken] = (stock, _TAKEN_OF_LIMIT, stock.limit_no)
    for key, (stock, count, scope) in counters.items():
        _accept(stock, await gate.fcall("grab_forget_taken", 2, stock.keys.rules, key, str(stock.epoch)))
        pairs: list[str] = []
        for row in await connection.fetch(count, scope):
            pairs += (row["user_ref"], str(row["taken"]))
        await _put_pairs(gate, stock, key, pairs)


async def open_stock(gate: redis.Redis, rebuilt: Rebuilt, clock_floor_ms: int) -> None:
    """Look at what was written, and open.

    Raises:
        RecoveryFailed: The numbers in the gate are not 1..quantity, each once, or a newer recovery is at work.
    """
    stock = rebuilt.stock
    keys = stock.keys
    await _check_numbers(gate, stock)
    opened = await gate.fcall(
        "grab_open",
        5,
        keys.rules,
        keys.free,
        keys.holders,
        keys.claims,
        keys.progress,
        str(stock.epoch),
        str(stock.quantity),
        str(_to_ms(stock.opens_at)),
        str(_to_ms(stock.closes_at)),
        "1" if stock.paused else "0",
        str(stock.round_limit),
        str(stock.class_tier_limit),
        str(clock_floor_ms),
        str(rebuilt.latest_ms if rebuilt.held == stock.quantity else 0),
        str(rebuilt.held),
    )
    _accept(stock, opened)


async def _put_free(gate: redis.Redis, stock: StockRow, runs: Sequence[range]) -> None:
    pipeline = gate.pipeline(transaction=False)
    for numbers in _calls_of(runs):
        bounds = [str(bound) for run in numbers for bound in (run.start, run.stop - 1)]
        pipeline.fcall("grab_put_free", 2, stock.keys.rules, stock.keys.free, str(stock.epoch), *bounds)
    for reply in await pipeline.execute():
        _accept(stock, reply)


def _calls_of(runs: Sequence[range]) -> Iterator[list[range]]:
    """Cut runs of numbers into groups of at most _CALL_MAX numbers each."""
    group: list[range] = []
    room = _CALL_MAX
    for run in runs:
        rest = run
        while rest:
            group.append(rest[:room])
            room -= len(group[-1])
            rest = rest[len(group[-1]) :]
            if not room:
                yield group
                group, room = [], _CALL_MAX
    if group:
        yield group


async def _put_pairs(gate: redis.Redis, stock: StockRow, key: str, pairs: Sequence[str]) -> None:
    pipeline = gate.pipeline(transaction=False)
    for start in range(0, len(pairs), 2 * _CALL_MAX):
        some = pairs[start : start + 2 * _CALL_MAX]
        pipeline.fcall("grab_put_hash", 2, stock.keys.rules, key, str(stock.epoch), *some)
    for reply in await pipeline.execute():
        _accept(stock, reply)


def _accept(stock: StockRow, reply: object) -> None:
    if reply == 0:
        raise RecoveryFailed(f"{stock.stock_id}: a newer recovery is at work; this one has changed nothing more")
    if reply == -1:
        raise RecoveryFailed(
            f"{stock.stock_id}: free and held numbers are not {stock.quantity}: run 'grab recover' again"
        )


async def _check_numbers(gate: redis.Redis, stock: StockRow) -> None:
    """Check that every number of the stock stands in the gate; that none stands twice follows from their count."""
    seen = bytearray(stock.quantity + 1)
    start = 0
    while free := await gate.lrange(stock.keys.free, start, start + 10 * _CALL_MAX - 1):
        for number in free:
            seen[int(number)] = 1
        start += len(free)
    async for _, holding in gate.hscan_iter(stock.keys.holders, count=_CALL_MAX):
        seen[int(holding.partition(":")[0])] = 1
    missing = seen.find(0, 1)
    if missing >= 0:
        raise RecoveryFailed(f"{stock.stock_id}: number {missing} is missing in the gate: run 'grab recover' again")


def _to_ms(instant: datetime) -> int:
    return (instant - _UNIX_EPOCH) // timedelta(milliseconds=1)
