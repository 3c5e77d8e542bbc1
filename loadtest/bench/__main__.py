"""``make bench``: ours and the peers in turn on the same cores, and the budget held against what was seen.

Exit codes: 0 it was measured, whatever the figures; 1 an audit was red, or answers were wrong; 2 it could not be run.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio as redis

from grab_service.embedded import EmbeddedServerError
from grab_service.settings import Settings
from grab_service.settings_reader import SettingsInvalid
from loadtest.bench import ours, overload, redemptions
from loadtest.bench.budget import (
    LEDGER,
    NAMES,
    OVERLOAD,
    POLL,
    REDEEM,
    ROUND,
    SOLD_OUT,
    WON,
    cpu_us,
    elsewhere,
    verdicts,
)
from loadtest.bench.cpu import Cores
from loadtest.bench.figures import Spread, column, known, table
from loadtest.bench.ledger_rate import ledger_rate
from loadtest.bench.ours import run_ours
from loadtest.bench.peers import roster
from loadtest.bench.peers.roster import Peer, run_peer
from loadtest.bench.processes import BenchImpossible, Load, measure, run_to_the_end

SERVER: str = Settings.model_fields["server"].default
_OUTPUT = Path("artefacts/bench.json")
_PER_S_MAX = 60_000  # more than any server here answers: how many requests must stand ready
_WHOLE_FROM = 1_000  # from here on decimals only widen the table
_EXPECTED = {SOLD_OUT: "409", WON: "201"}
_TROUBLE = (BenchImpossible, EmbeddedServerError, SettingsInvalid, OSError, redis.RedisError, asyncpg.PostgresError)

# The columns of the table, each a median with its spread.
_HEAD = ("", "system", "sum µs", "server µs", "store µs", "per s", "p50 ms", "p99 ms", "turns void")
_PICKS: tuple[Callable[[Mapping[str, Any]], float], ...] = (
    cpu_us,
    lambda each: each["cpu_us"]["server"],
    lambda each: each["cpu_us"]["store"],
    lambda each: each["per_s"],
    lambda each: each["latency_ms"]["p50"],
    lambda each: each["latency_ms"]["p99"],
)


class Bench:
    """Takes the measurements.

    Args:
        options: From the command line.

    Attributes:
        turns: What each turn has measured.
        void: What was measured and does not count, with the reason.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._cores = Cores.of_this_machine()
        self.turns: list[dict[str, Any]] = []
        self.void: list[str] = []
        every = [peer for peer in roster.roster() if not options.only or peer.name in options.only]
        self.absent = {peer.name: peer.missing for peer in every if peer.missing}
        self._peers = [peer for peer in every if not peer.missing]

    async def run(self) -> None:
        """Take every turn; the order of the systems moves on from turn to turn."""
        for number in range(self._options.turns):
            turn: dict[str, Any] = {}
            self.turns.append(turn)
            runs: list[Peer | None] = [None, *self._peers]
            shift = number % len(runs)
            for peer in runs[shift:] + runs[:shift]:
                name = peer.name if peer else ours.NAME
                print(f"turn {number + 1} of {self._options.turns}: {name} …", file=sys.stderr, flush=True)
                try:
                    turn[name] = await (self._peer(peer) if peer else self._ours(number))
                except _TROUBLE as error:
                    self.void.append(f"turn {number + 1}, {name}: {error}")

    async def _ours(self, number: int) -> dict[str, Any]:
        options = self._options
        found: dict[str, Any] = {}
        async with (
            _directory() as directory,
            run_ours(
                directory,
                self._cores,
                server=options.server,
                workers=options.workers,
                won=options.won,
                tag=f"bench-{number}",
            ) as service,
        ):
            common = {"connections": options.connections, "warm_up": options.warm_up}
            count = int(_PER_S_MAX * options.seconds) + options.warm_up
            found[SOLD_OUT] = await service.claims(ours.SOLD_OUT, count=count, seconds=options.seconds, **common)
            found[POLL] = await service.polls(seconds=options.seconds, **common)
            found[WON] = await service.claims(ours.OPEN, count=options.won, seconds=60.0, **common)
            found[ROUND] = await service.whole_round()
            verdict = await service.audit()
        if not verdict.get("ok"):
            red = [each.get("id") for each in verdict.get("invariants", []) if not each.get("ok")]
            raise BenchImpossible(f"the audit is red ({red}): the figures of this turn do not count")
        self._expect(f"turn {number + 1}, {ours.NAME}", found)
        if found[ROUND]["statuses"] != {"201": sum(ours.ROUND.values())}:
            raise BenchImpossible(f"the round gave {found.pop(ROUND)['statuses']}, not a voucher to each")
        async with _directory() as directory:
            found[LEDGER] = await ledger_rate(directory, self._cores, options.rows)
        if OVERLOAD not in options.skip:
            offer = overload.Offer(options.server, options.workers)
            found[OVERLOAD] = await overload.run_overload(offer, f"over-{number}")
        if REDEEM not in options.skip:
            found[REDEEM] = await redemptions.bench(redemptions.options_of(["--server", options.server]))
        return found

    async def _peer(self, peer: Peer) -> dict[str, Any]:
        options, cores = self._options, self._cores
        found = {}
        async with _directory() as directory, run_peer(peer, directory, cores, options.workers) as server:
            parts = {"server": [server.server], "store": [server.store]}
            for name, stock in ((SOLD_OUT, roster.SOLD_OUT), (WON, roster.OPEN)):
                count = int(_PER_S_MAX * options.seconds) + options.warm_up
                requests = [peer.request(stock, f"bench-{number}") for number in range(count)]
                load = Load(requests, options.connections, options.warm_up, options.seconds)
                found[name] = await measure(load, server.port, {cores.rest}, parts)
        self._expect(peer.name, found)
        return found

    def _expect(self, who: str, found: dict[str, Any]) -> None:
        """Leave out what was answered otherwise than it should be: it was not what is measured."""
        for name, status in _EXPECTED.items():
            if set(found[name]["statuses"]) != {status}:
                self.void.append(f"{who}: {NAMES[name]} was answered {found.pop(name)['statuses']}")

    def report(self) -> str:
        """Return what was measured, for people."""
        systems = [ours.NAME, *(peer.name for peer in self._peers)]
        rows: list[tuple[str, ...]] = [_HEAD]
        for measured, name in NAMES.items():
            rows.extend((name, system, *self._cells(system, measured)) for system in systems)
        parts = [table(rows), self._beyond()]
        parts += [f"missing: {name}: {why}" for name, why in self.absent.items()]
        parts += [f"void: {each}" for each in self.void]
        head = ("budget", "median (low to high)", "must", "aim", "met")
        parts.append(table([head, *(each.cells() for each in verdicts(self.turns, self.absent))]))
        parts.append(table([(*head, "measured by"), *elsewhere()]))
        return "\n\n".join(part for part in parts if part)

    def _cells(self, system: str, measured: str) -> tuple[str, ...]:
        spreads = [self._spread(lambda turn, pick=pick: pick(turn[system][measured])) for pick in _PICKS]
        cells = [spread.text(0 if spread.median >= _WHOLE_FROM else 1) if spread else "–" for spread in spreads]
        lost = sum(measured not in turn.get(system, {}) for turn in self.turns)
        return (*cells, str(lost or ""))

    def _beyond(self) -> str:
        """Tell what our confirmed claims cost beyond server and store, and the ledger's rates."""
        found = []
        for part in ("worker", "vault"):
            spread = self._spread(lambda turn, part=part: turn[ours.NAME][WON]["cpu_us"][part])
            found.append(
                f"{ours.NAME}, a claim won: {part} {spread.text(1) if spread else '–'} µs beside server and store"
            )
        spread = self._spread(lambda turn: turn[ours.NAME][POLL]["at_rest"]["core_percent"])
        found.append(f"GET /v1/stock, 1,000 a second and nothing else: {spread.text(1) if spread else '–'} % of a core")
        for turn in self.turns:
            if OVERLOAD in turn.get(ours.NAME, {}):
                found.append(f"overload: {overload.text_of(turn[ours.NAME][OVERLOAD])}")
            if REDEEM in turn.get(ours.NAME, {}):
                found.append(f"redemptions: {redemptions.report(turn[ours.NAME][REDEEM])}")
        for name in ("worker", "copy_with_keys", "copy_without_keys"):
            spread = self._spread(lambda turn, name=name: turn[ours.NAME][LEDGER][f"{name}_per_s"])
            found.append(f"ledger, {name}: {spread.text(0) if spread else '–'} rows a second")
        return "\n".join(found)

    def _spread(self, pick: Any) -> Spread | None:
        return Spread.of(known(column(self.turns, pick)))

    def to_json(self) -> dict[str, Any]:
        """Return everything, for programs."""
        options: Mapping[str, Any] = vars(self._options)
        return {
            "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
            "options": {name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
            "missing": self.absent,
            "void": self.void,
            "budget": [each.to_json() for each in verdicts(self.turns, self.absent)],
            "elsewhere": elsewhere(),
            "turns": self.turns,
        }


@asynccontextmanager
async def _directory() -> AsyncIterator[Path]:
    """Give a directory that PostgreSQL's own user can pass, and remove it in the end."""
    path = Path(tempfile.mkdtemp(prefix="grab-bench-"))
    path.chmod(0o755)  # noqa: ASYNC240  once a run
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line; return the exit code."""
    options = _options(arguments)
    bench = Bench(options)
    run_to_the_end(bench.run())
    print(bench.report())
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(bench.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if not any(bench.turns):
        return 2
    return 1 if bench.void else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the service and its peers in turn.")
    parser.add_argument("--turns", type=int, default=5, help="of each system (%(default)s)")
    parser.add_argument("--server", choices=("uvicorn", "granian"), default=SERVER, help="ours (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="server processes, ours and Python's (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (%(default)s)")
    parser.add_argument("--connections", type=int, default=128, help="kept busy (%(default)s)")
    parser.add_argument("--warm-up", type=int, default=2_000, help="requests before each measurement (%(default)s)")
    parser.add_argument("--won", type=int, default=42_000, help="our stock of claims that win (%(default)s)")
    parser.add_argument("--rows", type=int, default=100_000, help="of the ledger's measurement (%(default)s)")
    parser.add_argument("--only", action="append", metavar="PEER", help="this peer only; may be repeated")
    parser.add_argument("--skip", action="append", default=[], choices=(OVERLOAD, REDEEM), help="may be repeated")
    parser.add_argument("--json", type=Path, default=_OUTPUT, metavar="FILE", help="the figures (%(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
