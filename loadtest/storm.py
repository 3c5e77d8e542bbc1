"""The storm: everyone comes at the opening instant, and every answer is held against the books.

``make storm`` runs it against a running ``grab up``.  Exit codes: 0 every promise was kept, 1 one was
broken, 2 it could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from grab_service import settings_reader
from grab_service.data_dir import DEFAULT, DataDir
from grab_service.keyring import KeyringInvalid, read_secret
from grab_service.references import UserRefs, VoucherCodes
from grab_service.rehearsal import RehearsalKeys
from grab_service.settings import SERVING, Settings
from grab_service.settings_reader import SettingsInvalid
from loadtest.crowd import Claim, Crowd, Tally, arrivals
from loadtest.proof import Sampler, faults_of
from loadtest.report import Report, StockLine, percentiles_ms
from loadtest.target import LagWatch, Site, StormImpossible, Target

_REGION = "500110"
_OTHER_FILES = 200  # descriptors that are not the crowd's connections


@dataclass(frozen=True, slots=True)
class Keys:
    """What the storm knows of the rehearsal's secrets."""

    user_refs: UserRefs
    codes: VoucherCodes

    @classmethod
    def read(cls, chosen: Settings) -> Keys:
        """Read them from the files that the rehearsal's settings name."""
        return cls(
            UserRefs(read_secret("pepper_file", chosen.pepper_file)),
            VoucherCodes(read_secret("voucher_key_file", chosen.voucher_key_file)),
        )


def claims_of(target: Target, data: DataDir, options: argparse.Namespace) -> list[Claim]:
    """Return every claim of the storm with its instant and its bytes; tickets are minted now, not at the opening."""
    issue = RehearsalKeys(data.keys).ticket_issuer(now_s=int(time.time()))
    stamp = int(time.time())
    delays_s = arrivals(options.users * len(target.stocks), options.jitter_ms / 1000, options.seed)
    claims = []
    for number in range(options.users):
        user = f"storm-{stamp}-{number}"
        head = f"HTTP/1.1\r\nHost: storm\r\nAuthorization: Bearer {issue(user, _REGION)}\r\nContent-Length: 0\r\n\r\n"
        for position, stock in enumerate(target.stocks):
            due_s = target.opens_s + delays_s[number * len(target.stocks) + position]
            request = f"POST /v1/stocks/{stock['stock_id']}/claims {head}".encode()
            claims.append(Claim(user, stock["stock_id"], due_s, request))
    return claims


async def storm(options: argparse.Namespace, data: DataDir, chosen: Settings) -> Report:
    """Run the storm and return what it found.

    Raises:
        StormImpossible: It could not be run.
    """
    site = Site(chosen.host, options.port or chosen.port)
    if site.host not in ("127.0.0.1", "::1", "localhost"):
        raise StormImpossible(f"{site.host} is not this machine: the storm goes to the loopback only")
    keys = Keys.read(chosen)
    target = await site.target(options.round)
    print(f"minting tickets for {options.users:,} users …", flush=True)
    claims = claims_of(target, data, options)
    sampler = Sampler(chosen.database_url, keys.user_refs)
    crowd = Crowd(site.host, site.port, claims, asks_max=options.asks_max, on_win=sampler.offer)
    try:
        await sampler.start()
        await crowd.connect(options.connections)
    except (OSError, asyncpg.PostgresError) as error:
        raise StormImpossible(f"cannot connect: {error}") from error
    print(f"{options.connections:,} connections stand; the round opens in {target.opens_s - time.perf_counter():.1f} s")
    gc.collect()
    gc.freeze()  # nothing of what stands is ever garbage: the collector's pauses would be latencies
    watch = LagWatch(site, target)
    watching = asyncio.create_task(watch.run())
    cpu_before_s = time.process_time()
    began_s = time.perf_counter()
    telling = asyncio.create_task(_tell(crowd, target))
    await crowd.run()
    ended_s = time.perf_counter()
    cpu_share = (time.process_time() - cpu_before_s) / (ended_s - began_s)
    last_win_s = max(crowd.tally.last_winner_s.values(), default=ended_s)
    caught_up_s = await watch.caught_up_after_s(last_win_s)
    for task in (watching, telling):
        task.cancel()
    await asyncio.gather(watching, telling, return_exceptions=True)
    await sampler.stop()
    remaining = {row["stock_id"]: row["remaining"] for row in target.stocks}
    quantities = {row["stock_id"]: row["quantity"] for row in target.stocks}
    return Report(
        users=options.users,
        claims=len(claims),
        duration_s=round(ended_s - target.opens_s, 3),
        answers=dict(crowd.tally.answers),
        stocks=[_stock_line(row, crowd.tally) for row in target.stocks],
        winners_per_s=_winners_per_s(crowd.tally),
        latency_ms=percentiles_ms([claim.latency_s for claim in claims]),
        winners_latency_ms=percentiles_ms([claim.latency_s for claim in claims if claim.voucher]),
        ledger_lag_max=watch.lag_max,
        ledger_caught_up_ms=round(caught_up_s * 1000),
        generator_cpu=round(cpu_share, 2),
        looked_up=sampler.checked,
        faults=sampler.missing + faults_of(claims, remaining, quantities, keys.codes),
    )


def _stock_line(row: dict[str, Any], tally: Tally) -> StockLine:
    stock_id = row["stock_id"]
    winners = tally.winners[stock_id]
    sold_out_s = None
    if winners and winners == row["remaining"]:
        sold_out_s = round(tally.last_winner_s[stock_id] - tally.first_winner_s[stock_id], 3)
    return StockLine(stock_id, row["quantity"], winners, sold_out_s)


def _winners_per_s(tally: Tally) -> float:
    if not tally.winners:
        return 0.0
    span_s = max(tally.last_winner_s.values()) - min(tally.first_winner_s.values())
    return round(tally.winners.total() / max(span_s, 0.001), 1)


async def _tell(crowd: Crowd, target: Target) -> None:
    """Print how it goes, once a second from the opening on."""
    await asyncio.sleep(max(0.0, target.opens_s - time.perf_counter()))
    for second in itertools.count(1):
        await asyncio.sleep(1.0)
        tally = crowd.tally
        answers = ", ".join(f"{name}: {count:,}" for name, count in tally.answers.most_common(6))
        print(f"{second:>4} s  sent {tally.sent:>8,}  winners {tally.winners.total():>6,}  {answers}", flush=True)


def audit_of(data: DataDir) -> dict[str, Any]:
    """Run ``grab audit`` and return its verdict, empty if it could not be run."""
    command = [sys.executable, "-m", "grab_service", "audit", "--json", "--data-dir", str(data.root)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        verdict: dict[str, Any] = json.loads(result.stdout)
    except ValueError:
        print(result.stderr, file=sys.stderr)
        return {}
    return verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the storm from the command line; return the exit code."""
    options = _options(arguments)
    _raise_file_limit(options.connections + _OTHER_FILES)
    data = DataDir(options.data_dir.resolve())
    try:
        chosen = settings_reader.load(SERVING, file=data.settings_file if data.settings_file.is_file() else None)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(storm(options, data, chosen))
    except (StormImpossible, SettingsInvalid, KeyringInvalid) as error:
        print(f"storm: {error}", file=sys.stderr)
        return 2
    report.audit = audit_of(data)
    print("\n".join(report.lines()))
    if options.json:
        report.write(options.json)
    return 0 if report.is_good else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storm", description="Storm a running 'grab up' and prove what it answered.")
    parser.add_argument("--data-dir", type=Path, default=DEFAULT, help="the rehearsal's directory (%(default)s)")
    parser.add_argument("--port", type=int, help="another port than the rehearsal's own")
    parser.add_argument("--users", type=int, default=20_000, help="users, each claims every stock (%(default)s)")
    parser.add_argument("--connections", type=int, default=2_000, help="keep-alive connections (%(default)s)")
    parser.add_argument("--round", metavar="ID", help="the round, r1; the next one with anything left by default")
    parser.add_argument("--jitter-ms", type=int, default=300, help="spread of people's reaction (%(default)s)")
    parser.add_argument("--asks-max", type=int, default=30, help="how often a claim is sent at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args(arguments)


def _raise_file_limit(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
