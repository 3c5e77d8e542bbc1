"""What a flood of random tokens costs the API, and whether winners notice: ``python -m loadtest.bench.random_tokens``.

Winners claim with tickets at a steady pace, first alone, then beside floods: of garbage, and of tokens whose form and
key are right and whose signature is random, which is what costs.  The last flood is told what it would cost without
the rations, ``GRAB_VERIFY_RATE_MAX`` and ``GRAB_CHECK_RATE_MAX``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from grab_service.settings import Settings, variable_of
from loadtest.bench.cpu import Cores, cpu_us_of
from loadtest.bench.figures import Line, Spread, Verdict, table
from loadtest.bench.ours import OPEN, Ours, run_ours
from loadtest.bench.processes import BenchImpossible, Load, go, run_to_the_end, warm_load

_WINNERS_PER_S, _WINNERS_CONNECTIONS = 200, 32
_FLOOD_CONNECTIONS = 128
_WARM_UP = 100
_OFFERED = 0.9  # of the flood's pace, or of a core by the API: less of both is a measurement of the machine
_ALONE, _FLOODS = "winners alone", ("garbage", "forged, rationed")
_SERVER: str = Settings.model_fields["server"].default
_OUTPUT = Path("artefacts/bench-tokens.json")
_RATIONS = ("verify_rate_max", "verify_rate_block_max", "check_rate_max")
_UNRATIONED = "1000000"


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _garbage(randomness: random.Random) -> str:
    return _part(randomness.randbytes(180))


def _forged(randomness: random.Random) -> str:
    now_s = int(time.time())
    header = {"alg": "EdDSA", "kid": "rehearsal", "typ": "JWT"}
    claims = {"iss": "rehearsal", "aud": "grab", "sub": f"u{randomness.random()}", "exp": now_s + 300, "scope": "claim"}
    return ".".join(
        [_part(json.dumps(header).encode()), _part(json.dumps(claims).encode()), _part(randomness.randbytes(64))]
    )


def _requests(make: Callable[[random.Random], str], count: int) -> list[bytes]:
    randomness = random.Random(1)
    line, rest = f"POST /v1/stocks/{OPEN}/claims HTTP/1.1", "Host: bench\r\nContent-Length: 0"
    form = f"{line}\r\n{rest}\r\nAuthorization: Bearer %s\r\n\r\n"
    return [(form % make(randomness)).encode() for _ in range(count)]


async def _measure(
    ours: Ours, make: Callable[[random.Random], str] | None, count: int, pace_per_s: float
) -> dict[str, Any]:
    """Let winners claim beside a flood; return the winners' latencies, the flood's answers and the API's CPU."""
    seconds = count / pace_per_s
    winners = [ours.request(OPEN) for _ in range(int(_WINNERS_PER_S * seconds) + _WARM_UP)]
    async with AsyncExitStack() as stack:
        loads = [Load(winners, _WINNERS_CONNECTIONS, _WARM_UP, seconds * 2, _WINNERS_PER_S)]
        if make is not None:
            loads.append(Load(_requests(make, count), _FLOOD_CONNECTIONS, 0, seconds * 2, pace_per_s))
        running = [await stack.enter_async_context(warm_load(load, ours.port, {ours.cores.rest})) for load in loads]
        before_us = cpu_us_of(ours.parts()["server"])
        won, *flood = await asyncio.gather(*(go(process) for process in running))
        cpu_s = (cpu_us_of(ours.parts()["server"]) - before_us) / 1e6
    used = cpu_s / max(won["seconds"], 1e-9)
    if flood and flood[0]["per_s"] < _OFFERED * pace_per_s and used < _OFFERED:
        raise BenchImpossible(
            f"only {flood[0]['per_s']:,.0f} of {pace_per_s:,.0f} a second were offered, and the API had time left"
            f" ({used:.0%} of a core): this machine is too busy for the measurement"
        )
    return {
        "winners_ms": won["latency_ms"],
        "winners": won["statuses"],
        "flood": flood[0]["statuses"] if flood else {},
        "flood_per_s": round(flood[0]["per_s"]) if flood else 0,
        "api_cpu_s": round(cpu_s, 2),
    }


def verdicts_of(told: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """Hold the floods that a service meets as it is against their bounds.

    A request of the flood may cost the API 100 µs, so 4,000 a second cost less than half a core; and the winners'
    median may double.  The aims are tighter; that no winner is told anything but 201 is not negotiable.
    """
    alone, found = told[_ALONE], []
    for name in _FLOODS:
        flood = told[name]
        answers = max(1, sum(flood["flood"].values()))
        each_us = (flood["api_cpu_s"] - alone["api_cpu_s"]) / answers * 1e6
        slower = flood["winners_ms"]["p50"] / max(alone["winners_ms"]["p50"], 1e-3)
        others = sum(count for status, count in flood["winners"].items() if status != "201")
        found += [
            Verdict(Line(f"{name}: CPU of the API per request, µs", 100, 60, digits=1), Spread.of([each_us])),
            Verdict(Line(f"{name}: winners' p50 against theirs without it", 2, 1.5), Spread.of([slower])),
            Verdict(Line(f"{name}: winners told otherwise", 0, 0, digits=0), Spread.of([others])),
        ]
    return found


async def _run(count: int, pace_per_s: float) -> dict[str, Any]:
    cores = Cores.of_this_machine()
    turns: list[tuple[str, str | None, Callable[[random.Random], str] | None]] = [
        (_ALONE, None, None),
        (_FLOODS[0], None, _garbage),
        (_FLOODS[1], None, _forged),
        ("forged, not rationed", _UNRATIONED, _forged),
    ]
    told: dict[str, Any] = {}
    vouchers = int((_WINNERS_PER_S * count / pace_per_s + _WARM_UP) * 1.1)
    for name, rate, make in turns:
        for variable in map(variable_of, _RATIONS):
            os.environ.pop(variable, None)
            if rate is not None:
                os.environ[variable] = rate
        with tempfile.TemporaryDirectory(prefix="grab-bench-") as directory:
            async with run_ours(
                Path(directory), cores, server=_SERVER, workers=1, won=vouchers, tag=name.replace(" ", "-")
            ) as ours:
                told[name] = await _measure(ours, make, count, pace_per_s)
        print(f"{name:22} {json.dumps(told[name])}", flush=True)
    return told


def main() -> int:
    """Measure and print; return the exit code: 0 within the bounds, 1 not, 2 it could not be measured."""
    parser = argparse.ArgumentParser(prog="random_tokens", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="requests of a flood (%(default)s)")
    parser.add_argument("--pace", type=float, default=4_000, help="of them a second (%(default)s)")
    parser.add_argument("--json", type=Path, default=_OUTPUT, metavar="FILE", help="the figures (%(default)s)")
    options = parser.parse_args()
    try:
        told = run_to_the_end(_run(options.count, options.pace))
    except BenchImpossible as error:
        print(error, file=sys.stderr)
        return 2
    verdicts = verdicts_of(told)
    print("\n" + table([("bound", "measured", "must", "aim", "met"), *(verdict.cells() for verdict in verdicts)]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if any(verdict.cells()[-1] == "NO" for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
