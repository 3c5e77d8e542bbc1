"""What the metrics cost: ``python -m loadtest.bench.metrics_cost``, and lines of ``make bench``.

One service stands; beside it the API runs in turn as it is, asked for ``/metrics`` once a second, and with instruments
that count nothing and are asked nothing.  The ratio of their CPU per request is taken pair by pair.  A difference of
this size is lost in the noise of a shared machine, so the calls that stand on the way of a claim are also timed alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import timeit
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from grab_service.api.ending import Ending
from grab_service.api.instruments import Instruments
from grab_service.api.journal import Journal
from grab_service.api.reply import Reply
from grab_service.settings import FILE_VARIABLE, Settings, variable_of
from loadtest import wire
from loadtest.bench.cpu import Cores, exact_cpu_us_of, pin, processes, tree_of
from loadtest.bench.figures import Line, Spread, Verdict, table
from loadtest.bench.ours import OPEN, SOLD_OUT, Ours, run_ours
from loadtest.bench.processes import (
    BenchImpossible,
    Load,
    free_port,
    go,
    listening,
    run_to_the_end,
    running,
    warm_load,
)

METRICS = "metrics"
_OUTPUT = Path("artefacts/bench-metrics.json")
_PER_S_MAX = 60_000
_CONNECTIONS, _WARM_UP = 128, 1_000
_SCRAPE_S = 1.0
_CALLS, _REPEATS = 5_000, 9
_TURN = 10  # claims that are counted together, about as many as a turn of a busy process has
_METRICS_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n"
NAMES = {"sold_out": "sold out", "won": "won"}


def call_us() -> dict[str, float]:
    """Return how long the instruments take on the way of a claim, in microseconds, for a no and for a yes."""
    instruments = Instruments(None, Journal(Settings.model_fields["log_one_refusal_in"].default))
    instruments.know("stock")
    found = {}
    for name, status, ending, took_s in (("sold_out", 409, Ending.SOLD_OUT, 0.0005), ("won", 201, Ending.OK, 0.02)):
        reply = Reply(status, b"{}", ending=int(ending))
        turn = [("request", "stock", reply, 0.0)] * _TURN
        times_s = timeit.repeat(
            lambda turn=turn, took_s=took_s: instruments.claims(turn, took_s),  # type: ignore[misc]  # the lambda's defaults
            number=_CALLS,
            repeat=_REPEATS,
        )
        found[name] = min(times_s) / _CALLS / _TURN * 1e6
    instruments.close()
    return found


@asynccontextmanager
async def _scraped(port: int) -> AsyncIterator[None]:
    """Ask for the metrics once a second."""

    async def scrape() -> None:
        while True:
            status, _, _ = await wire.ask("127.0.0.1", port, _METRICS_REQUEST)
            if status != 200:  # noqa: PLR2004  OK
                raise BenchImpossible(f"/metrics was answered {status}")
            await asyncio.sleep(_SCRAPE_S)

    task = asyncio.create_task(scrape())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _one(
    service: Ours, server: str, directory: Path, seconds: float, won: int, *, counts: bool
) -> dict[str, float]:
    """Return the CPU per request of the API, in microseconds."""
    cores, port, log = service.cores, free_port(), directory / "api.log"
    environment = {
        FILE_VARIABLE: str(service.data.settings_file),
        variable_of("port"): str(port),
        variable_of("workers"): "1",
        variable_of("server"): server,
    }
    argv = [sys.executable, "-m", "loadtest.bench.variant", *([] if counts else ["--without-metrics"])]
    found: dict[str, float] = {}
    async with running(argv, log, {cores.server}, environment=environment) as process:
        await listening(process, port, log)
        pin([process.pid], {cores.server})
        for name, stock_id, count, status in (
            ("sold_out", SOLD_OUT, int(_PER_S_MAX * seconds), "409"),
            ("won", OPEN, won, "201"),
        ):
            requests = [service.request(stock_id) for _ in range(count + _WARM_UP)]
            load = Load(requests, _CONNECTIONS, _WARM_UP, seconds if name == "sold_out" else 60.0)
            async with (
                _scraped(port) if counts else contextlib.nullcontext(),
                warm_load(load, port, {cores.rest}) as generator,
            ):
                serving = tree_of(process.pid, processes())
                before_us = sum(map(exact_cpu_us_of, serving))
                figures = await go(generator)
                used_us = sum(map(exact_cpu_us_of, serving)) - before_us
            if set(figures["statuses"]) != {status}:
                raise BenchImpossible(f"{name} was answered {figures['statuses']}")
            found[name] = used_us / figures["answers"]
    return found


async def metrics_cost(server: str, turns: int, seconds: float, won: int) -> list[dict[str, dict[str, float]]]:
    """Return for each turn the CPU per request with and without the instruments.

    Raises:
        BenchImpossible: The figures do not count.
    """
    found: list[dict[str, dict[str, float]]] = []
    directory = Path(tempfile.mkdtemp(prefix="grab-bench-"))
    directory.chmod(0o755)  # noqa: ASYNC240  once a run, so that PostgreSQL's own user can pass
    try:
        vouchers = (won + _WARM_UP) * turns * 2
        async with run_ours(
            directory, Cores.of_this_machine(), server="uvicorn", workers=1, won=vouchers, tag="metrics"
        ) as service:
            # It serves nobody here, and whoever asks for the metrics is no part of what they cost.
            pin([*service.parts()["server"], os.getpid()], {service.cores.rest})
            for number in range(turns):
                turn = {}
                for counts in (True, False) if number % 2 else (False, True):
                    label = "with" if counts else "without"
                    turn[label] = await _one(service, server, directory, seconds, won, counts=counts)
                found.append(turn)
                print(f"metrics, turn {number + 1} of {turns}: {json.dumps(turn)}", file=sys.stderr, flush=True)
            verdict = await service.audit()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if not verdict.get("ok"):
        raise BenchImpossible("the audit is red: the figures do not count")
    return found


def verdicts_of(turns: Sequence[Mapping[str, Mapping[str, float]]], calls_us: Mapping[str, float]) -> list[Verdict]:
    """Hold what was seen against the budget of 2 %: the calls timed alone, against the CPU of a whole request."""
    found = []
    for name, label in NAMES.items():
        shares = [calls_us[name] / turn["with"][name] * 100 for turn in turns]
        line = Line(f"metrics: their call on the way of a claim, {label}, % of its CPU", 2, 2)
        found.append(Verdict(line, Spread.of(shares), "not run"))
    for name, label in NAMES.items():
        more = [(turn["with"][name] / turn["without"][name] - 1) * 100 for turn in turns]
        line = Line(f"metrics, scraped each second, against none: {label}, % more CPU", 2, 2, digits=1)
        found.append(Verdict(line, Spread.of(more), "not run"))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line; return the exit code: 0 measured, 2 it could not be."""
    parser = argparse.ArgumentParser(prog="metrics_cost", description="Measure what the metrics cost.")
    parser.add_argument("--turns", type=int, default=7, help="pairs of runs (%(default)s)")
    parser.add_argument("--server", choices=("uvicorn", "granian"), default=None, help="the service's default")
    parser.add_argument("--seconds", type=float, default=3.0, help="of sold-out answers (%(default)s)")
    parser.add_argument("--won", type=int, default=10_000, help="vouchers of each run (%(default)s)")
    parser.add_argument("--json", type=Path, default=_OUTPUT, metavar="FILE", help="the figures (%(default)s)")
    options = parser.parse_args(arguments)
    server = options.server or Settings.model_fields["server"].default
    calls_us = call_us()
    try:
        turns = run_to_the_end(metrics_cost(server, options.turns, options.seconds, options.won))
    except BenchImpossible as error:
        print(f"metrics_cost: {error}", file=sys.stderr)
        return 2
    rows: list[tuple[str, ...]] = [("", "with µs", "without µs", "the call alone µs")]
    for name, label in NAMES.items():
        medians = [median(turn[side][name] for turn in turns) for side in ("with", "without")]
        rows.append((label, *(f"{value:.1f}" for value in medians), f"{calls_us[name]:.2f}"))
    head = ("budget", "median (low to high)", "must", "aim", "met")
    print(table(rows) + "\n\n" + table([head, *(each.cells() for each in verdicts_of(turns, calls_us))]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"turns": turns, "calls_us": calls_us}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
