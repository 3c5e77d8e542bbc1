"""A gate that holds stocks of many sizes at once, filled without a vault: what a claim costs it, and what it holds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import redis.asyncio as redis

from grab_service.gate import Gate
from grab_service.references import UserRefs
from grab_service.resources import library_source
from grab_service.stock import Stock
from loadtest.bench.cpu import exact_cpu_us_of
from loadtest.bench.ledger_rate import bench_stock
from loadtest.bench.processes import BenchImpossible

_USERS = UserRefs(b"pepper of the bench, 32 bytes ....")
_EPOCH = "1"
_PAIRS = 1_000  # that one call takes
_CALLS = 25  # of a pipeline
_SAMPLES = 2_000  # of elements, for the memory of a key
_MADE_AT_MS = 1_600_000_000_000
_PER_MS = 50  # claims that the made-up holders won in a millisecond
BATCH = 256  # claims of a call: what a busy process sends
BLOCK = 8 * BATCH  # claims that are measured at once


@dataclass(slots=True)
class Filled:
    """A stock that so many users hold vouchers of."""

    holders: int
    stock: Stock
    claimed: int = 0
    won_us: list[float] = field(default_factory=list)
    repeat_us: list[float] = field(default_factory=list)


class FilledGate:
    """Claims in turn from stocks of different sizes in one gate, so that its state is the same for each.

    Args:
        client: Of the gate.
        gate_pid: Its process.
        blocks: How many blocks each stock has room for.
    """

    def __init__(self, client: redis.Redis, gate_pid: int, blocks: int) -> None:
        self._client = client
        self._gate = Gate(client)
        self._gate_pid = gate_pid
        self._blocks = blocks
        self.stocks: list[Filled] = []

    async def fill(self, sizes: Sequence[int]) -> None:
        """Load the library and make the stocks.

        Raises:
            BenchImpossible: The gate does not open one.
        """
        await self._client.function_load(library_source(), replace=True)
        for holders in sizes:
            name = f"growth-{holders}"
            quantity = holders + self._blocks * BLOCK
            stock = replace(bench_stock(quantity), stock_id=name, gate_tag=name)
            await self._make(stock, holders)
            self.stocks.append(Filled(holders, stock))

    async def _make(self, stock: Stock, holders: int) -> None:
        keys = stock.keys
        call = self._client.fcall
        await call("grab_rebuild", 4, keys.rules, keys.free, keys.holders, keys.refused, _EPOCH)
        for first in range(holders + 1, stock.quantity + 1, _PAIRS):
            last = min(first + _PAIRS - 1, stock.quantity)
            await call("grab_put_free", 2, keys.rules, keys.free, _EPOCH, str(first), str(last))
        for calls in _calls(holders):
            pipeline = self._client.pipeline(transaction=False)
            for pairs in calls:
                pipeline.fcall("grab_put_hash", 2, keys.rules, keys.holders, _EPOCH, *pairs)
            await pipeline.execute()
        now_ms = time.time_ns() // 1_000_000
        texts = [_EPOCH, str(stock.quantity), str(now_ms - 1000), str(now_ms + 86_400_000), "0", "0", "0", "0", "0"]
        own = (keys.rules, keys.free, keys.holders, keys.claims, keys.progress)
        if await call("grab_open", len(own), *own, *texts, str(holders)) != 1:
            raise BenchImpossible(f"the gate did not open {stock.stock_id}")

    async def turn(self, number: int) -> None:
        """Let a block of new users claim from each stock, and claim again; the order moves on from turn to turn."""
        shift = number % len(self.stocks)
        for filled in self.stocks[shift:] + self.stocks[:shift]:
            won_us, repeat_us = await self.block_us(filled, BATCH)
            filled.won_us.append(won_us)
            filled.repeat_us.append(repeat_us)

    async def block_us(self, filled: Filled, batch: int) -> tuple[float, float]:
        """Let a block of new users claim, and claim again; return the gate's CPU time of each, per claim."""
        users = [_USERS.of(f"{filled.holders} {filled.claimed + number}") for number in range(BLOCK)]
        filled.claimed += BLOCK
        marks_us = [exact_cpu_us_of(self._gate_pid)]
        for letter in "WH":
            await self._claim(filled.stock, users, letter, batch)
            marks_us.append(exact_cpu_us_of(self._gate_pid))
        return (marks_us[1] - marks_us[0]) / BLOCK, (marks_us[2] - marks_us[1]) / BLOCK

    async def _claim(self, stock: Stock, users: Sequence[str], letter: str, batch: int) -> None:
        for start in range(0, len(users), batch):
            answers = await self._gate.claim(stock, users[start : start + batch])
            if any(answer.letter != letter for answer in answers):
                raise BenchImpossible(f"a claim was answered otherwise than {letter}")

    async def looks_us(self, count: int) -> float:
        """Return the gate's CPU time for one look at the figures of all stocks, as each process takes it."""
        stocks = [filled.stock for filled in self.stocks]
        before_us = exact_cpu_us_of(self._gate_pid)
        for _ in range(count):
            await self._gate.counts(stocks)
        return (exact_cpu_us_of(self._gate_pid) - before_us) / count

    async def no_us(self, filled: Filled, batch: int) -> float:
        """Return the gate's CPU time for telling a user that a stock is gone; whatever is left of it is given away."""
        free = int(await self._client.llen(filled.stock.keys.free))
        left = [_USERS.of(f"last {number}") for number in range(free)]
        await self._claim(filled.stock, left, "W", batch)
        late = [_USERS.of(f"late {number}") for number in range(BLOCK)]
        before_us = exact_cpu_us_of(self._gate_pid)
        await self._claim(filled.stock, late, "S", batch)
        return (exact_cpu_us_of(self._gate_pid) - before_us) / BLOCK

    async def figures(self) -> list[dict[str, Any]]:
        """Return what was seen of each stock; the first turn warms up and does not count."""
        told = []
        for filled in self.stocks:
            keys = filled.stock.keys
            held = filled.holders + filled.claimed
            won_us, repeat_us = filled.won_us[1:], filled.repeat_us[1:]
            told.append(
                {
                    "holders": filled.holders,
                    "claim_us": median(won_us),
                    "claims_us": won_us,
                    "repeat_us": median(repeat_us),
                    "holder_bytes": await self._memory_bytes(keys.holders) / held,
                    "entry_bytes": await self._memory_bytes(keys.claims) / filled.claimed,
                }
            )
        return told

    async def _memory_bytes(self, key: str) -> int:
        return int(await self._client.memory_usage(key, _SAMPLES) or 0)


def _calls(holders: int) -> Iterator[list[list[str]]]:
    """Return made-up users with their holdings, by calls and pipelines."""
    calls: list[list[str]] = []
    for first in range(1, holders + 1, _PAIRS):
        pairs: list[str] = []
        for number in range(first, min(first + _PAIRS, holders + 1)):
            # As long as a reference is, and spread over the table by the gate's own hash.
            pairs += (f"1{number:022}", f"{number}:1:{_MADE_AT_MS + number // _PER_MS}-{number % _PER_MS}")
        calls.append(pairs)
        if len(calls) == _CALLS:
            yield calls
            calls = []
    if calls:
        yield calls
