"""More than the service can take: ``python -m loadtest.bench.overload``, and lines of ``make bench``.

Vouchers are won in a closed loop first: that is the peak.  Then an open loop offers three times as much for a while,
and half as much at once after.  An answer is of use if it is a voucher or a no that is true; a refusal is 429 or 503.
The end is an audit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grab_service.settings import Settings, variable_of
from loadtest.bench.cpu import Cores, cpu_us_of, rss_bytes_of
from loadtest.bench.figures import Line, Spread, Verdict, table
from loadtest.bench.open_loop import GAVE_UP, REFUSED, SLICE_S, USEFUL
from loadtest.bench.ours import OPEN, SOLD_OUT, Ours, run_ours
from loadtest.bench.processes import BenchImpossible, go, run_to_the_end, warm_generator

OVERLOAD = "overload"
SERVER: str = Settings.model_fields["server"].default
SECONDS, AFTER_S, CONNECTIONS, WON = 10.0, 6.0, 8_000, 180_000
_OUTPUT = Path("artefacts/bench-overload.json")
_TIMES, _AFTER = 3.0, 0.5  # of the peak
_PEAK_S, _PEAK_CONNECTIONS = 4.0, 512
_PER_S_MAX = 40_000
_REMEMBERED = 5_000
_SAMPLE_S = 0.25
_SETTLE_SHARE = 0.2  # of the overload, before its memory is looked at
_FULL = 0.99  # of the answers due in a slice: full goodput


@dataclass(frozen=True, slots=True)
class Offer:
    """What one run of the overload is made of.

    Attributes:
        server: The ASGI server.
        workers: Its processes.
        seconds: Of the overload.
        after_s: Of half the peak after it.
        connections: Of the open loop.
        won: Vouchers there are.
        is_sold_out: Whether sold-out answers are asked for instead of vouchers.
    """

    server: str
    workers: int
    seconds: float = SECONDS
    after_s: float = AFTER_S
    connections: int = CONNECTIONS
    won: int = WON
    is_sold_out: bool = False


async def overload(service: Ours, offer: Offer) -> dict[str, Any]:
    """Find the peak, go beyond it, come back, and tell what was seen.

    Raises:
        BenchImpossible: The generator could not offer so much.
    """
    stock_id, seconds = SOLD_OUT if offer.is_sold_out else OPEN, offer.seconds
    count = int(_PEAK_S * _PER_S_MAX) if offer.is_sold_out else offer.won // 3
    peak = await service.claims(stock_id, count=count, connections=_PEAK_CONNECTIONS, warm_up=2_000, seconds=_PEAK_S)
    phases = [(peak["per_s"] * _TIMES, seconds), (peak["per_s"] * _AFTER, offer.after_s)]
    needed = int(sum(per_s * lasts_s for per_s, lasts_s in phases)) + 1_000
    argv = [sys.executable, "-m", "loadtest.bench.open_loop"]
    argv += [part for per_s, lasts_s in phases for part in ("--phase", f"{per_s:.1f}:{lasts_s}")]
    argv += ["--connections", str(offer.connections), "--port", str(service.port), "--core", str(service.cores.rest)]
    requests = (service.request(stock_id) for _ in range(needed))
    async with warm_generator(argv, requests) as process:
        server = service.parts()["server"]
        before_us, samples = cpu_us_of(server), asyncio.create_task(_memory(server))
        figures = await go(process)
        cpu_us = cpu_us_of(server) - before_us
        samples.cancel()
        seen = await samples
    if figures["is_short"]:
        raise BenchImpossible("the requests of the overload ran out")
    return summary(peak["per_s"], figures, seen, seconds) | {
        "peak_statuses": peak["statuses"],
        "peak_cpu_us": peak["cpu_us"],
        "server_cpu_s": cpu_us / 1e6,
        "open_loop": figures,
        "rss": seen,
    }


async def _memory(server: Sequence[int]) -> list[tuple[float, int]]:
    """Return when the server held how much, until cancelled."""
    seen: list[tuple[float, int]] = []
    try:
        while True:
            seen.append((time.monotonic(), await asyncio.to_thread(rss_bytes_of, server)))
            await asyncio.sleep(_SAMPLE_S)
    except asyncio.CancelledError:
        return seen


def summary(
    peak_per_s: float, figures: Mapping[str, Any], rss: Sequence[tuple[float, int]], seconds: float
) -> dict[str, Any]:
    """Return what the budget asks for: goodput, refusals, memory, recovery."""
    first, after = figures["phases"]
    goodput_per_s = _useful(first["answered"][: int(seconds / SLICE_S)]) / seconds
    # A percentile of several statuses is bounded by the worst of theirs.
    refused = [first["latency_ms"][str(status)]["p99"] for status in REFUSED if str(status) in first["latency_ms"]]
    sent = sum((Counter(each) for each in first["slices"]), Counter())
    begin_s, end_s = figures["began_s"] + seconds * _SETTLE_SHARE, figures["began_s"] + seconds
    held = [(at_s, size) for at_s, size in rss if begin_s <= at_s <= end_s]
    return {
        "peak_per_s": peak_per_s,
        "offered_per_s": sum(sent.values()) / seconds,
        "goodput_per_s": goodput_per_s,
        "goodput": goodput_per_s / peak_per_s,
        "statuses": dict(sent),
        "refusal_p99_ms": max(refused, default=None),
        "useful_ms": first["latency_ms"].get("201") or first["latency_ms"].get("409"),
        "gave_up": sent[str(GAVE_UP)],
        "rss_mb": [rss[0][1] / 1e6, max(size for _, size in rss) / 1e6] if rss else [],
        "rss_slope_mb_per_s": _slope(held) / 1e6,
        "recovery_s": recovery_s(after["slices"][: int(after["seconds"] / SLICE_S)]),
    }


def recovery_s(slices: Sequence[Mapping[str, int]]) -> float:
    """Return after how long everything that was due after the overload had an answer of use, in seconds."""
    for number in range(len(slices) - 1, -1, -1):
        due = sum(slices[number].values())
        if due and _useful([slices[number]]) < _FULL * due:
            return (number + 1) * SLICE_S
    return 0.0


def _useful(slices: Sequence[Mapping[str, int]]) -> int:
    return sum(count for each in slices for status, count in each.items() if int(status) in USEFUL)


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line of least squares; 0 for fewer than two points."""
    if len(points) < 2:  # noqa: PLR2004  a line needs two
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def verdicts_of(turns: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Hold runs of the overload against the budget."""

    def spread(name: str) -> Spread | None:
        return Spread.of([float(turn[name]) for turn in turns if turn.get(name) is not None])

    lines = {
        "goodput": Line("overload, 3 × the peak: goodput against the peak", 0.85, 0.95, at_least=True),
        "refusal_p99_ms": Line("overload: refusals, p99 from the intended start, ms", 50, 50, digits=1),
        "rss_slope_mb_per_s": Line("overload: growth of the server's memory, MB a second", 0.5, 0.1),
        "recovery_s": Line("overload: seconds to full goodput after it", 2, 1, digits=1),
    }
    why = "nothing was refused" if turns else "not run"
    return [Verdict(line, spread(name), why) for name, line in lines.items()]


def text_of(found: Mapping[str, Any]) -> str:
    """Return one run for people."""
    useful = found["useful_ms"] or {}
    return (
        f"peak {found['peak_per_s']:,.0f}/s; offered {found['offered_per_s']:,.0f}/s, answers of use"
        f" {found['goodput_per_s']:,.0f}/s ({found['goodput']:.0%} of the peak), {found['statuses']};"
        f" of use: p50 {useful.get('p50', '–')} ms, p99 {useful.get('p99', '–')} ms;"
        f" memory {' to '.join(f'{size:,.0f}' for size in found['rss_mb'])} MB; generator at"
        f" {found['open_loop']['generator_cpu']:.0%} of a core"
    )


async def run_overload(offer: Offer, tag: str) -> dict[str, Any]:
    """Measure one run on a service of its own, and audit it.

    The service remembers few winners, so that their memory is full before the overload begins: what grows then grows
    by the overload.

    Raises:
        BenchImpossible: The figures do not count.
    """
    variable = variable_of("holders_remembered_max")
    os.environ[variable] = str(_REMEMBERED)
    directory = Path(tempfile.mkdtemp(prefix="grab-bench-"))
    directory.chmod(0o755)  # noqa: ASYNC240  once a run, so that PostgreSQL's own user can pass
    try:
        async with run_ours(
            directory, Cores.of_this_machine(), server=offer.server, workers=offer.workers, won=offer.won, tag=tag
        ) as service:
            found = await overload(service, offer)
            verdict = await service.audit()
    finally:
        os.environ.pop(variable)
        shutil.rmtree(directory, ignore_errors=True)
    if not verdict.get("ok"):
        raise BenchImpossible("the audit is red: the figures do not count")
    if not offer.is_sold_out and "409" in found["statuses"]:
        raise BenchImpossible("the vouchers ran out in the overload: let there be more (--won)")
    return found


async def _run(options: argparse.Namespace) -> list[dict[str, Any]]:
    offer = Offer(
        options.server,
        options.workers,
        options.seconds,
        options.after,
        options.connections,
        options.won,
        options.sold_out,
    )
    turns = []
    for number in range(options.turns):
        turns.append(await run_overload(offer, f"over-{number}"))
        print(text_of(turns[-1]), flush=True)
    return turns


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line; return the exit code: 0 measured, 2 it could not be."""
    parser = argparse.ArgumentParser(prog="overload", description="Offer more than the service can take.")
    parser.add_argument("--turns", type=int, default=3, help="of peak, overload and rest (%(default)s)")
    parser.add_argument(
        "--server",
        choices=("uvicorn", "granian"),
        default=SERVER,
        help="(%(default)s)",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of the API (%(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the overload (%(default)s)")
    parser.add_argument("--after", type=float, default=AFTER_S, help="seconds of half the peak after it (%(default)s)")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="of the overload (%(default)s)")
    parser.add_argument("--won", type=int, default=WON, help="vouchers there are (%(default)s)")
    parser.add_argument("--sold-out", action="store_true", help="of sold-out answers instead of vouchers")
    parser.add_argument("--json", type=Path, default=_OUTPUT, metavar="FILE", help="the figures (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        turns = run_to_the_end(_run(options))
    except BenchImpossible as error:
        print(f"overload: {error}", file=sys.stderr)
        return 2
    head = ("budget", "median (low to high)", "must", "aim", "met")
    print("\n" + table([head, *(verdict.cells() for verdict in verdicts_of(turns))]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(turns, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
