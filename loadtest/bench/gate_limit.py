"""How many claims a second one gate can decide: ``python -m loadtest.bench.gate_limit``.

Claims go to one gate in batches of several sizes in turn; the CPU time of the gate, its fsyncs included, tells how many
a core decides.  A gate runs its functions on one core: that is its limit, whatever the number of API processes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import redis.asyncio as redis

from loadtest.bench.cpu import Cores, exact_cpu_us_of, pin
from loadtest.bench.figures import Spread, table
from loadtest.bench.filled_gate import BATCH, FilledGate
from loadtest.bench.processes import BenchImpossible, run_to_the_end, store

_HOLDERS = (12_700, 3_000, 2_200, 5_000)
_CALLS, _LISTENERS = 300, 100
_CHANNEL, _PROGRESS = "bench", "1 1600000000000-49 12700"
BATCHES = (1, 16, 64, 256, 1000)
Seen = dict[int, list[tuple[float, float]]]  # by batch: a claim won and a repeat, µs of the gate


async def gate_limit(turns: int) -> tuple[Seen, dict[str, float]]:
    """Measure each size of batch in turn, the first of which warms up; then what else a gate does."""
    cores = Cores.of_this_machine()
    seen: Seen = {batch: [] for batch in BATCHES}
    directory = Path(tempfile.mkdtemp(prefix="grab-gate-"))
    try:
        async with store(directory, {cores.server}) as (url, gate_pid):
            client = redis.Redis.from_url(url, decode_responses=True, socket_timeout=60)
            try:
                gate = FilledGate(client, gate_pid, (turns + 1) * len(BATCHES))
                await gate.fill(_HOLDERS)
                pin([gate_pid], {cores.server})
                for number in range(turns + 1):
                    for batch in BATCHES:
                        figures = await gate.block_us(gate.stocks[0], batch)
                        if number:
                            seen[batch].append(figures)
                others = {
                    "a look at four stocks": await gate.looks_us(_CALLS),
                    "a no in a batch of 256": await gate.no_us(gate.stocks[0], BATCH),
                    f"an announcement to {_LISTENERS} processes": await _announcement_us(url, client, gate_pid),
                }
            finally:
                await client.aclose()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return seen, others


async def _announcement_us(url: str, client: redis.Redis, gate_pid: int) -> float:
    """Return the gate's CPU time for telling so many listeners how far the ledger is."""
    async with AsyncExitStack() as stack:
        for _ in range(_LISTENERS):
            listener = await stack.enter_async_context(redis.Redis.from_url(url))
            await (await stack.enter_async_context(listener.pubsub())).subscribe(_CHANNEL)
        before_us = exact_cpu_us_of(gate_pid)
        for _ in range(_CALLS):
            await client.publish(_CHANNEL, _PROGRESS)
        return (exact_cpu_us_of(gate_pid) - before_us) / _CALLS


def report(seen: Mapping[int, Sequence[tuple[float, float]]], others: Mapping[str, float]) -> str:
    """Return the figures for people."""
    rows: list[tuple[str, ...]] = [
        ("claims in a call", "claim won µs", "won a second", "repeat µs", "repeats a second")
    ]
    for batch, figures in seen.items():
        cells: list[str] = []
        for values in zip(*figures, strict=True):
            spread = Spread.of(values)
            assert spread is not None  # noqa: S101  zip gives no empty column
            cells += [spread.text(1), f"{1e6 / spread.median:,.0f}"]
        rows.append((f"{batch:,}", *cells))
    return "\n".join([table(rows), "", *(f"{what}: {cpu_us:,.1f} µs of the gate" for what, cpu_us in others.items())])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line; return the exit code: 0 measured, 2 it could not be."""
    parser = argparse.ArgumentParser(prog="gate_limit", description="Measure the gate's limit by the size of batches.")
    parser.add_argument("--turns", type=int, default=9, help="of each size (%(default)s)")
    parser.add_argument("--json", type=Path, default=Path("artefacts/bench-gate.json"), help="(%(default)s)")
    options = parser.parse_args(arguments)
    try:
        seen, others = run_to_the_end(gate_limit(options.turns))
    except BenchImpossible as error:
        print(f"gate_limit: {error}", file=sys.stderr)
        return 2
    print(report(seen, others))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"batches": seen, "others": others}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
