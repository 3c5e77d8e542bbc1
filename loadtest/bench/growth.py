"""``make bench-growth``: what a claim costs, a holder weighs and a recovery takes, against the holders of a stock.

For cost and weight one gate holds stocks of every size at once, and blocks of claims go to each in turn, in batches of
the size that a busy process sends; the CPU time of the gate counts.  For the recovery the holders are rows of a vault,
and a real recovery brings them into an empty gate.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio as redis

from grab_service.resources import library_source
from ledger import catalogue
from ledger.migrate import migrate
from ledger.recover import recover
from loadtest.bench.cpu import Cores, pin
from loadtest.bench.figures import Line, Spread, Verdict, ratios, table
from loadtest.bench.filled_gate import FilledGate
from loadtest.bench.ledger_rate import bench_stock, campaign_of
from loadtest.bench.processes import BenchImpossible, database, run_to_the_end, store
from loadtest.bench.sql import statement
from loadtest.bench.svg import Curve, plot

_SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
_RECOVERIES = ((20_000, 10_000), (200_000, 100_000), (1_000_000, 500_000), (2_000_000, 1_000_000))  # stock, holders
_CHUNK = 250_000  # rows that one statement makes
_MADE_AT_MS = 1_600_000_000_000


async def grow(sizes: Sequence[int], turns: int) -> list[dict[str, Any]]:
    """Measure cost and weight at each size.

    Raises:
        BenchImpossible: A claim was not granted.
    """
    cores = Cores.of_this_machine()
    async with _directory() as directory, store(directory, cores.all) as (url, gate_pid):
        client = redis.Redis.from_url(url, decode_responses=True, socket_timeout=600)
        try:
            filled = FilledGate(client, gate_pid, turns + 1)
            print(f"{', '.join(f'{size:,}' for size in sizes)} holders in one gate …", file=sys.stderr, flush=True)
            await filled.fill(sizes)
            pin([gate_pid], {cores.server})
            for number in range(turns + 1):
                await filled.turn(number)
            return await filled.figures()
        finally:
            await client.aclose()


async def recovery_s(quantity: int, holders: int) -> float:
    """Return how long a recovery of an empty gate takes, in seconds, with so many holders of so large a stock."""
    cores = Cores.of_this_machine()
    async with (
        _directory() as directory,
        database(directory, cores.all) as (database_url, _),
        store(directory, cores.all) as (url, _),
    ):
        vault = await asyncpg.connect(database_url)
        gate = redis.Redis.from_url(url, decode_responses=True, socket_timeout=600)
        try:
            await migrate(vault)
            stock = bench_stock(quantity)
            await catalogue.load_campaign(vault, campaign_of(stock, _Hashes(quantity)))
            await recover(vault, gate, library_source())  # the holders are of an epoch before the one that is timed
            (row,) = await catalogue.stock_rows(vault)
            for first in range(1, holders + 1, _CHUNK):
                last = min(first + _CHUNK - 1, holders)
                await vault.execute(statement("insert_holders"), row.stock_no, first, last, _MADE_AT_MS)
            began_s = time.monotonic()
            await recover(vault, gate, library_source())
            return time.monotonic() - began_s
        finally:
            await gate.aclose()
            await vault.close()


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


def verdicts_of(sizes: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Hold the sizes against the budget: the cost at the greatest against the least, the weight at its worst."""
    least, most = sizes[0], sizes[-1]
    growth = f"claim with {most['holders']:,} holders against {least['holders']:,}, CPU of the gate"
    weights = [size["holder_bytes"] + size["entry_bytes"] for size in sizes]
    weight = Line("memory of the gate per holder, with its entry in the stream, bytes", 200, 120, digits=0)
    return [
        Verdict(Line(growth, 1.3, 1.1), Spread.of(ratios(most["claims_us"], least["claims_us"]))),
        Verdict(weight, Spread(max(weights), min(weights), max(weights), len(weights))),
    ]


def report_of(sizes: Sequence[Mapping[str, Any]], recoveries: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures for people."""
    rows = [("holders", "claim won µs", "against the least", "repeat µs", "bytes a holder", "bytes an entry")]
    for size in sizes:
        won, growth = Spread.of(size["claims_us"]), Spread.of(ratios(size["claims_us"], sizes[0]["claims_us"]))
        rows.append(
            (
                f"{size['holders']:,}",
                won.text() if won else "–",
                growth.text() if growth else "–",
                f"{size['repeat_us']:.1f}",
                f"{size['holder_bytes']:.0f}",
                f"{size['entry_bytes']:.0f}",
            )
        )
    times = [("stock", "holders", "recovery s")]
    times += [(f"{each['quantity']:,}", f"{each['holders']:,}", f"{each['seconds']:.2f}") for each in recoveries]
    head = ("budget", "median (low to high)", "must", "aim", "met")
    parts = [table(rows), table(times), table([head, *(verdict.cells() for verdict in verdicts_of(sizes))])]
    return "\n\n".join(parts)


def plot_of(sizes: Sequence[Mapping[str, Any]], recoveries: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as a plot."""
    costs = [(size["holders"], size["claim_us"]) for size in sizes]
    weights = [(size["holders"], size["holder_bytes"] + size["entry_bytes"]) for size in sizes]
    times = [(each["holders"], each["seconds"]) for each in recoveries]
    curves = [
        Curve("CPU of the gate per claim won, µs", costs, 1.3 * sizes[0]["claim_us"]),
        Curve("memory of the gate per holder, bytes", weights, 200),
        Curve("recovery, s", times),
    ]
    return plot([curve for curve in curves if curve.points], "holders in the stock (dashed: the budget)")


@asynccontextmanager
async def _directory() -> AsyncIterator[Path]:
    """Give a directory that PostgreSQL's own user can pass, and remove it in the end."""
    path = Path(tempfile.mkdtemp(prefix="grab-growth-"))
    path.chmod(0o755)  # noqa: ASYNC240  once a size
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def _run(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    sizes = await grow([size for size in _SIZES if size <= options.max], options.turns)
    recoveries: list[dict[str, Any]] = []
    for quantity, holders in _RECOVERIES:
        if holders <= options.recover_max:
            print(f"recovery of {holders:,} holders …", file=sys.stderr, flush=True)
            seconds = await recovery_s(quantity, holders)
            recoveries.append({"quantity": quantity, "holders": holders, "seconds": seconds})
    return {"sizes": sizes, "recoveries": recoveries}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench-growth", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--max", type=int, default=_SIZES[-1], help="holders at most (%(default)s)")
    parser.add_argument("--turns", type=int, default=15, help="blocks of claims of each size (%(default)s)")
    parser.add_argument(
        "--recover-max", type=int, default=1_000_000, help="holders of a recovery at most (%(default)s)"
    )
    parser.add_argument("--json", type=Path, default=Path("artefacts/growth.json"), help="the figures (%(default)s)")
    parser.add_argument("--svg", type=Path, default=Path("docs/growth.svg"), help="the plot (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        found = run_to_the_end(_run(options))
    except BenchImpossible as error:
        print(f"bench-growth: {error}", file=sys.stderr)
        return 2
    print(report_of(found["sizes"], found["recoveries"]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    options.svg.write_text(plot_of(found["sizes"], found["recoveries"]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
