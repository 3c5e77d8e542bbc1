"""Our side: a whole ``grab up``, asked with tickets, audited at the end."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import redis.asyncio as redis

from grab_service.data_dir import DataDir
from grab_service.rehearsal import RehearsalKeys
from grab_service.settings_reader import read
from loadtest.bench.cpu import Cores, cpu_us_of, pin
from loadtest.bench.processes import (
    BenchImpossible,
    Load,
    end_of,
    free_port,
    go,
    measure,
    running,
    warm_load,
)

NAME = "grab-service"
ROUND = {
    "bench-r1-general-1": 3_000,
    "bench-r1-general-2": 2_200,
    "bench-r1-dining-1": 5_000,
    "bench-r1-dining-2": 2_500,
}
OPEN, SOLD_OUT = "bench-r1-bench-1", "bench-r1-bench-2"

_ROUND_FEN = 50_000_000
_BENCH_FEN = 100
_REGION = "500110"
_READY_S = 120.0
_CATCH_UP_S = 30.0
_LOOK_S = 0.01
_OPENING_S = 1.0
_POLL_S = 8.0  # how long it is polled
_POLLS_PER_S = 1_000
_BUSY_PER_S_MAX = 80_000  # more than one core answers
_ROUND_CONNECTIONS = 512

_STOCK_REQUEST = b"GET /v1/stock HTTP/1.1\r\nHost: bench\r\n\r\n"


@dataclass(slots=True)
class Ours:
    """A service that is ready.

    Attributes:
        data: Its directory.
        cores: Where it and the load run.
        port: Where it listens.
        gate: A client of its gate.
        tag: Makes this turn's users differ from those of others.
    """

    data: DataDir
    cores: Cores
    port: int
    gate: redis.Redis
    tag: str
    _users: int = 0
    _issue: Callable[[str, str], str] = field(init=False)

    def __post_init__(self) -> None:
        """Take the keys with which the service checks tickets."""
        self._issue = RehearsalKeys(self.data.keys).ticket_issuer(now_s=int(time.time()))

    def request(self, stock_id: str) -> bytes:
        """Return a claim of a user who has not claimed before."""
        self._users += 1
        ticket = self._issue(f"{self.tag}-{self._users}", _REGION)
        return (
            f"POST /v1/stocks/{stock_id}/claims HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {ticket}\r\nContent-Length: 0\r\n\r\n"
        ).encode()

    def parts(self) -> dict[str, Sequence[int]]:
        """Return the process ids of each part."""
        names = {"server": "api", "store": "valkey", "worker": "ledger", "vault": "postgres"}
        return {part: [int(self.data.pid(name).read_text())] for part, name in names.items()}

    def keep_apart(self) -> None:
        """Put the API on its core and the rest on the other."""
        for part, pids in self.parts().items():
            pin(pids, {self.cores.server if part == "server" else self.cores.rest})

    def let_run_anywhere(self) -> None:
        """Let everything run on both cores."""
        for pids in self.parts().values():
            pin(pids, self.cores.all)

    async def claims(
        self, stock_id: str, *, count: int, connections: int, warm_up: int, seconds: float
    ) -> dict[str, Any]:
        """Measure claims of one stock, each of another user."""
        requests = [self.request(stock_id) for _ in range(count)]
        load = Load(requests, connections, warm_up, seconds)
        return await measure(load, self.port, {self.cores.rest}, self.parts())

    async def polls(self, *, connections: int, warm_up: int, seconds: float) -> dict[str, Any]:
        """Measure the polled picture: on a busy loop, as in a round, and at rest; and what it asks of the store.

        At rest each poll wakes the process up for itself and so costs a few times as much.
        """
        requests = [_STOCK_REQUEST] * int(_BUSY_PER_S_MAX * seconds + warm_up)
        busy = await measure(Load(requests, connections, warm_up, seconds), self.port, {self.cores.rest}, self.parts())
        return busy | {
            "core_percent": busy["cpu_us"]["server"] * _POLLS_PER_S / 1e6 * 100,
            "at_rest": await self._polls_added(),
        }

    async def _polls_added(self) -> dict[str, Any]:
        """Return what polls add to the use of CPU and store, against the same service just before."""
        server = self.parts()["server"]
        load = Load([_STOCK_REQUEST] * int(_POLL_S * _POLLS_PER_S + 500), 64, 500, _POLL_S, _POLLS_PER_S)
        async with warm_load(load, self.port, {self.cores.rest}) as process:
            cpu_us, began_s = cpu_us_of(server), time.monotonic()
            calls_per_s = await self._calls_per_s()
            share = (cpu_us_of(server) - cpu_us) / 1e6 / (time.monotonic() - began_s)
            cpu_us, began_s = cpu_us_of(server), time.monotonic()
            figures: dict[str, Any]
            figures, more_calls_per_s = await asyncio.gather(go(process), self._calls_per_s())
            lasted_s = time.monotonic() - began_s
            more_share = (cpu_us_of(server) - cpu_us) / 1e6 / lasted_s
        return figures | {
            "core_percent": (more_share - share) * 100 * lasted_s / figures["seconds"],
            "store_calls_per_poll": (more_calls_per_s - calls_per_s) / _POLLS_PER_S,
        }

    async def _calls_per_s(self) -> float:
        """Return how often the gate is called in a second, the median of as many seconds as polls are measured.

        What looks through the whole service now and then comes in a burst, which is no poll's.
        """
        rates = []
        for _ in range(int(_POLL_S)):
            calls, began_s = await self._calls(), time.monotonic()
            await asyncio.sleep(1)
            rates.append((await self._calls() - calls) / (time.monotonic() - began_s))
        return median(rates)

    async def _calls(self) -> int:
        # This very call counts too; so it does on both sides of a difference.
        return int((await self.gate.info("stats"))["total_commands_processed"])

    async def whole_round(self) -> dict[str, Any]:
        """Sell the four stocks of a round over many connections, everything on both cores."""
        self.let_run_anywhere()
        requests = [self.request(stock_id) for stock_id, quantity in ROUND.items() for _ in range(quantity)]
        random.Random(1).shuffle(requests)
        load = Load(requests, _ROUND_CONNECTIONS, 0, _CATCH_UP_S)
        async with warm_load(load, self.port, self.cores.all) as process:
            watching = asyncio.create_task(self._empty_s(len(requests)))
            figures = await go(process)
            empty_s = await watching
        figures["sold_s"] = figures["last_won_s"] - figures["first_s"]
        figures["left_ms"] = max(0.0, empty_s - figures["last_won_s"]) * 1000
        figures["committed_s"] = max(figures["last_won_s"], empty_s) - figures["first_s"]
        return figures

    async def _empty_s(self, count: int) -> float:
        """Return when so many entries had been recorded, by the machine's monotonic clock."""
        deadline_s, recorded = time.monotonic() + 2 * _CATCH_UP_S, 0
        while time.monotonic() < deadline_s:
            recorded = 0
            for stock_id in ROUND:
                recorded += int(await self.gate.hget(f"grab:{{{stock_id}}}:progress", "booked") or 0)
            if recorded >= count:
                return time.monotonic()
            await asyncio.sleep(_LOOK_S)
        raise BenchImpossible(f"of {count} claims {count - recorded} are still in the streams")

    async def audit(self) -> dict[str, Any]:
        """Run ``grab audit`` and return its verdict."""
        argv = (sys.executable, "-m", "grab_service", "audit", "--json", "--data-dir", str(self.data.root))
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        try:
            verdict: dict[str, Any] = json.loads(output)
        except ValueError:
            return {"ok": False, "invariants": []}
        return verdict


@asynccontextmanager
async def run_ours(
    directory: Path, cores: Cores, *, server: str, workers: int, won: int, tag: str
) -> AsyncIterator[Ours]:
    """Run our service on a campaign with a stock of ``won`` vouchers; it is open and pinned.

    Raises:
        BenchImpossible: It does not come up.
    """
    campaign = directory / "campaign.toml"
    text = (Path(__file__).parent / "campaign.toml").read_text(encoding="utf-8")
    budget_fen = _ROUND_FEN + _BENCH_FEN * (won + 1)
    campaign.write_text(text.replace("@WON@", str(won)).replace("@BUDGET@", str(budget_fen)), encoding="utf-8")
    data, port, log = DataDir(directory / "data"), free_port(), directory / "up.log"
    argv = [sys.executable, "-m", "grab_service", "up", "--campaign", str(campaign), "--data-dir", str(data.root)]
    argv += ["--port", str(port), "--opens-in", str(_OPENING_S), "--server", server, "--workers", str(workers)]
    async with running(argv, log, cores.all) as process:
        deadline_s = time.monotonic() + _READY_S
        while "ready http" not in log.read_text(errors="replace"):
            if process.returncode is not None or time.monotonic() > deadline_s:
                raise BenchImpossible(f"our service did not come up: {end_of(log)}")
            await asyncio.sleep(0.1)
        await asyncio.sleep(_OPENING_S + 0.2)
        gate = redis.Redis.from_url(read(file=data.settings_file).settings.redis_url, decode_responses=True)
        try:
            ours = Ours(data, cores, port, gate, tag)
            ours.keep_apart()
            yield ours
        finally:
            await gate.aclose()
