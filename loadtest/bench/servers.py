"""Which server, and in how many processes: ``python -m loadtest.bench.servers``.

One service stands; beside its own API each variant of the API serves the same stores in turn, alone on the server's
core, and is asked for sold-out answers and for vouchers, over connections that stay and over a new one a request.  With
more than one process, or with ``--workers``, the same is the measurement of how the API scales.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grab_service.settings import FILE_VARIABLE, variable_of
from loadtest.bench.cpu import Cores, pin, rss_bytes_of
from loadtest.bench.figures import Spread, column, known, ratios, table
from loadtest.bench.ours import OPEN, SOLD_OUT, Ours, run_ours
from loadtest.bench.processes import BenchImpossible, Load, free_port, listening, measure, run_to_the_end, running

_OUTPUT = Path("artefacts/bench-servers.json")
_PER_S_MAX = 60_000
_FRESH_PER_S_MAX = 15_000
_EXPECTED = {"sold out": "409", "won": "201", "sold out, new connections": "409"}
_HEAD = ("", "server", "processes", "server µs", "against the first", "store µs", "per s", "per s of its CPU", "p99 ms")


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to serve the API.

    Attributes:
        server: The ASGI server.
        workers: Its processes.
        options: What ``loadtest.bench.variant`` is told.
    """

    server: str
    workers: int
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How the table names it."""
        return " ".join((self.server, *(word for word in self.options if not word.startswith("--"))))


_WAYS = (
    ("uvicorn", ()),
    ("granian", ("--runtime-mode", "st", "--task-impl", "asyncio")),
    ("granian", ("--runtime-mode", "mt", "--task-impl", "asyncio")),
    ("granian", ("--runtime-mode", "st", "--task-impl", "rust")),
    ("granian", ("--runtime-mode", "mt", "--task-impl", "rust")),
)


def variants(workers: Sequence[int], only: Sequence[str]) -> list[Variant]:
    """Return every way to serve with these numbers of processes."""
    every = [Variant(server, count, options) for count in workers for server, options in _WAYS]
    return [variant for variant in every if not only or variant.name in only]


async def _turn(service: Ours, variant: Variant, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    cores, port = service.cores, free_port()
    counts = Path(tempfile.mkdtemp(dir=directory))
    environment = {
        FILE_VARIABLE: str(service.data.settings_file),
        variable_of("port"): str(port),
        variable_of("workers"): str(variant.workers),
        variable_of("server"): variant.server,
        variable_of("counts_dir"): str(counts),
    }
    argv = [sys.executable, "-m", "loadtest.bench.variant", *variant.options]
    log = directory / "variant.log"
    own = cores.of_servers(variant.workers)
    async with running(argv, log, own, environment=environment) as process:
        await listening(process, port, log)
        pin([process.pid], own)  # what it has started meanwhile
        parts = service.parts() | {"server": [process.pid]}
        loads = {
            "sold out": (SOLD_OUT, int(_PER_S_MAX * options.seconds), options.seconds, False),
            "won": (OPEN, options.won, 60.0, False),
            "sold out, new connections": (SOLD_OUT, int(_FRESH_PER_S_MAX * options.seconds), options.seconds, True),
        }
        found: dict[str, Any] = {}
        for name, (stock_id, count, seconds, is_fresh) in loads.items():
            requests = [service.request(stock_id) for _ in range(count + options.warm_up)]
            load = Load(requests, options.connections, options.warm_up, seconds, is_fresh=is_fresh)
            found[name] = await measure(load, port, {cores.rest}, parts)
            if set(found[name]["statuses"]) != {_EXPECTED[name]}:
                print(f"void: {variant.name}: {name}: {found.pop(name)['statuses']}", file=sys.stderr)
        found["rss_bytes"] = rss_bytes_of([process.pid])
    return found


async def _run(options: argparse.Namespace) -> list[dict[str, Any]]:
    every = variants(options.workers, options.only)
    turns: list[dict[str, Any]] = []
    directory = Path(tempfile.mkdtemp(prefix="grab-bench-"))
    directory.chmod(0o755)  # noqa: ASYNC240  once a run, so that PostgreSQL's own user can pass
    vouchers = (options.won + options.warm_up) * len(every) * options.turns
    try:
        cores = Cores.of_this_machine()
        async with run_ours(directory, cores, server="uvicorn", workers=1, won=vouchers, tag="servers") as service:
            pin(service.parts()["server"], {cores.rest})  # it serves nobody here
            for number in range(options.turns):
                turn: dict[str, Any] = {}
                turns.append(turn)
                shift = number % len(every)
                for variant in every[shift:] + every[:shift]:
                    label = f"{variant.name} × {variant.workers}"
                    print(f"turn {number + 1} of {options.turns}: {label} …", file=sys.stderr, flush=True)
                    turn[label] = await _turn(service, variant, directory, options)
            verdict = await service.audit()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if not verdict.get("ok"):
        raise BenchImpossible("the audit is red: the figures do not count")
    return turns


def report(turns: Sequence[dict[str, Any]], cores: Cores) -> str:
    """Return the figures for people: medians, the first columns with their spread."""
    labels = list(dict.fromkeys(label for turn in turns for label in turn))
    rows: list[tuple[str, ...]] = [_HEAD]
    for measured in _EXPECTED:
        for label in labels:
            name, _, workers = label.rpartition(" × ")
            rows.append((measured, name, workers, *_cells(turns, label, labels[0], measured)))
    memory = [f"{label}: {_rss_mb(turns, label)} MB resident" for label in labels]
    notes = [cores.note_on(count) for count in sorted({int(label.rpartition(" × ")[2]) for label in labels})]
    return "\n\n".join([table(rows), "\n".join(memory), *(note for note in notes if note)])


def _rss_mb(turns: Sequence[dict[str, Any]], label: str) -> str:
    spread = Spread.of([value / 1e6 for value in known(column(turns, lambda turn: turn[label]["rss_bytes"]))])
    return spread.text(0) if spread else "–"


def _cells(turns: Sequence[dict[str, Any]], label: str, first: str, measured: str) -> tuple[str, ...]:
    def of(pick: Any, who: str = label) -> list[float | None]:
        return column(turns, lambda turn: pick(turn[who][measured]))

    def text(values: Sequence[float], digits: int) -> str:
        spread = Spread.of(values)
        return spread.text(digits) if spread else "–"

    def server_us(each: dict[str, Any]) -> float:
        return float(each["cpu_us"]["server"])

    return (
        text(known(of(server_us)), 1),
        text(ratios(of(server_us), of(server_us, first)), 2),
        text(known(of(lambda each: each["cpu_us"]["store"])), 1),
        text(known(of(lambda each: each["per_s"])), 0),
        text([1e6 / value for value in known(of(server_us)) if value], 0),
        text(known(of(lambda each: each["latency_ms"]["p99"])), 1),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line; return the exit code: 0 measured, 2 it could not be."""
    parser = argparse.ArgumentParser(prog="servers", description="Measure the API under each server.")
    parser.add_argument("--turns", type=int, default=3, help="of each variant (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="processes (1 and 2)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="'uvicorn', 'granian st rust' …")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (%(default)s)")
    parser.add_argument("--connections", type=int, default=128, help="kept busy (%(default)s)")
    parser.add_argument("--warm-up", type=int, default=1_000, help="requests before each measurement (%(default)s)")
    parser.add_argument("--won", type=int, default=12_000, help="vouchers of each measurement (%(default)s)")
    parser.add_argument("--json", type=Path, default=_OUTPUT, metavar="FILE", help="the figures (%(default)s)")
    options = parser.parse_args(arguments)
    os.environ.pop(FILE_VARIABLE, None)
    try:
        turns = run_to_the_end(_run(options))
    except BenchImpossible as error:
        print(f"servers: {error}", file=sys.stderr)
        return 2
    print(report(turns, Cores.of_this_machine()))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(turns, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
