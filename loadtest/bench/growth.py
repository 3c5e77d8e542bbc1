"""``make bench-growth``: what a claim costs, a holder weighs and a recovery takes, against the holders of a stock.

The holders are rows of the vault first; a real recovery brings them into the gate, and its time is one of the
figures.  Then claims are made in batches of the size that a busy process sends, and the CPU time of the gate counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import redis.asyncio as redis

from grab_service.gate import Gate
from grab_service.references import UserRefs
from grab_service.resources import library_source
from grab_service.stock import Stock
from ledger import catalogue
from ledger.migrate import migrate
from ledger.recover import recover
from loadtest.bench.cpu import Cores, exact_cpu_us_of, pin
from loadtest.bench.figures import Line, Spread, Verdict, table
from loadtest.bench.ledger_rate import bench_stock, campaign_of
from loadtest.bench.processes import BenchImpossible, database, run_to_the_end, store
from loadtest.bench.sql import statement
from loadtest.bench.svg import Curve, plot

_SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
_USERS = UserRefs(b"pepper of the bench, 32 bytes ....")
_CHUNK = 250_000  # rows that one statement makes
_BLOCK = 5_000  # claims that are measured at once
_BLOCKS = 7  # the median of them counts; the first, just after the recovery, is told too
_CLAIMS = _BLOCK * _BLOCKS
_BATCH = 256
_SAMPLES = 2_000  # of elements, for the memory of a key
_MADE_AT_MS = 1_600_000_000_000


async def grow(directory: Path, cores: Cores, holders: int) -> dict[str, Any]:
    """Measure a stock with so many holders.

    Raises:
        BenchImpossible: A claim was not granted.
    """
    async with (
        database(directory, cores.all) as (database_url, _),
        store(directory, cores.all) as (url, gate_pid),
    ):
        vault = await asyncpg.connect(database_url)
        gate = redis.Redis.from_url(url, decode_responses=True, socket_timeout=600)
        try:
            stock = bench_stock(holders + _CLAIMS)
            await _make(vault, gate, stock, holders)
            began_s = time.monotonic()
            await recover(vault, gate, library_source())
            recovery_s = time.monotonic() - began_s
            pin([gate_pid], {cores.server})
            weight = await _memory_bytes(gate, stock.keys.holders)
            won_us, repeat_us = await _cost_us(gate, stock, gate_pid)
            entry_bytes = await _memory_bytes(gate, stock.keys.claims) / _CLAIMS
        finally:
            await gate.aclose()
            await vault.close()
    return {
        "holders": holders,
        "recovery_s": recovery_s,
        "claim_us": median(won_us),
        "first_claims_us": won_us[0],
        "repeat_us": median(repeat_us),
        "holder_bytes": weight / holders,
        "entry_bytes": entry_bytes,
    }


async def _memory_bytes(gate: redis.Redis, key: str) -> int:
    return int(await gate.memory_usage(key, _SAMPLES) or 0)


class _Hashes(Sequence[bytes]):
    """Made-up hashes of voucher codes, each made when it is asked for: ten million of them are not kept."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: Any) -> Any:
        if position >= self._count:
            raise IndexError(position)
        return hashlib.sha256(position.to_bytes(8, "big")).digest()


async def _make(vault: asyncpg.Connection, gate: redis.Redis, stock: Stock, holders: int) -> None:
    await migrate(vault)
    await catalogue.load_campaign(vault, campaign_of(stock, _Hashes(stock.quantity)))
    await recover(vault, gate, library_source())  # the holders are of an earlier epoch than the one that is timed
    (row,) = await catalogue.stock_rows(vault)
    for first in range(1, holders + 1, _CHUNK):
        last = min(first + _CHUNK - 1, holders)
        await vault.execute(statement("insert_holders"), row.stock_no, first, last, _MADE_AT_MS)


async def _cost_us(client: redis.Redis, stock: Stock, gate_pid: int) -> tuple[list[float], list[float]]:
    """Return the gate's CPU time for a claim that wins, and for one that won before, in microseconds, by blocks."""
    gate = Gate(client)
    won_us, repeat_us = [], []
    for first in range(0, _CLAIMS, _BLOCK):
        users = [_USERS.of(str(number)) for number in range(first, first + _BLOCK)]
        before_us = exact_cpu_us_of(gate_pid)
        await _claim(gate, stock, users, "W")
        between_us = exact_cpu_us_of(gate_pid)
        await _claim(gate, stock, users, "H")
        won_us.append((between_us - before_us) / _BLOCK)
        repeat_us.append((exact_cpu_us_of(gate_pid) - between_us) / _BLOCK)
    return won_us, repeat_us


async def _claim(gate: Gate, stock: Stock, users: Sequence[str], letter: str) -> None:
    for start in range(0, len(users), _BATCH):
        answers = await gate.claim(stock, users[start : start + _BATCH])
        if any(answer.letter != letter for answer in answers):
            raise BenchImpossible(f"a claim was answered otherwise than {letter}")


def verdicts_of(sizes: Sequence[dict[str, Any]]) -> list[Verdict]:
    """Hold the sizes against the budget: the cost at the greatest against the least, the weight at its worst."""
    least, most = sizes[0], sizes[-1]
    growth = f"claim with {most['holders']:,} holders against {least['holders']:,}, CPU of the gate"
    ratio = most["claim_us"] / least["claim_us"]
    weight = max(size["holder_bytes"] + size["entry_bytes"] for size in sizes)
    return [
        Verdict(Line(growth, 1.3, 1.1), Spread.of([ratio])),
        Verdict(
            Line("memory of the gate per holder, with its entry in the stream, bytes", 200, 120, digits=0),
            Spread.of([weight]),
        ),
    ]


def report_of(sizes: Sequence[dict[str, Any]]) -> str:
    """Return the figures for people."""
    rows = [
        ("holders", "claim won µs", "after recovery µs", "repeat µs", "bytes a holder", "bytes an entry", "recovery s")
    ]
    rows += [
        (
            f"{size['holders']:,}",
            f"{size['claim_us']:.1f}",
            f"{size['first_claims_us']:.1f}",
            f"{size['repeat_us']:.1f}",
            f"{size['holder_bytes']:.0f}",
            f"{size['entry_bytes']:.0f}",
            f"{size['recovery_s']:.2f}",
        )
        for size in sizes
    ]
    head = ("budget", "measured", "must", "aim", "met")
    return table(rows) + "\n\n" + table([head, *(verdict.cells() for verdict in verdicts_of(sizes))])


def plot_of(sizes: Sequence[dict[str, Any]]) -> str:
    """Return the figures as a plot."""

    def points(name: str) -> list[tuple[float, float]]:
        return [(size["holders"], size[name]) for size in sizes]

    weights = [(size["holders"], size["holder_bytes"] + size["entry_bytes"]) for size in sizes]

    return plot(
        [
            Curve("CPU of the gate per claim won, µs", points("claim_us"), 1.3 * sizes[0]["claim_us"]),
            Curve("memory of the gate per holder, bytes", weights, 200),
            Curve("recovery, s", points("recovery_s")),
        ],
        "holders in the stock (dashed: the budget)",
    )


async def _run(sizes: Sequence[int]) -> list[dict[str, Any]]:
    cores, found = Cores.of_this_machine(), []
    for holders in sizes:
        print(f"{holders:,} holders …", file=sys.stderr, flush=True)
        directory = Path(tempfile.mkdtemp(prefix="grab-growth-"))
        directory.chmod(0o755)  # noqa: ASYNC240  once a size
        try:
            found.append(await grow(directory, cores, holders))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench-growth", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--max", type=int, default=1_000_000, help="holders at most, up to 10000000 (%(default)s)")
    parser.add_argument("--json", type=Path, default=Path("artefacts/growth.json"), help="the figures (%(default)s)")
    parser.add_argument("--svg", type=Path, default=Path("docs/growth.svg"), help="the plot (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        sizes = run_to_the_end(_run([size for size in _SIZES if size <= options.max]))
    except BenchImpossible as error:
        print(f"bench-growth: {error}", file=sys.stderr)
        return 2
    print(report_of(sizes))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
    options.svg.write_text(plot_of(sizes), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
