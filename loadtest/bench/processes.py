"""Starts what is measured, on its core, and ends it by its own process id."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from grab_service import embedded
from loadtest.bench.cpu import cpu_us_of, pin
from loadtest.bench.load import SEPARATOR

_Result = TypeVar("_Result")

_STOP_S = 30.0
_READY_S = 60.0
_FIGURES_BYTES_MAX = 16_000_000
_LOG_LINES = 12
_LOAD_S = 120.0  # after which a load generator is given up


class BenchImpossible(Exception):
    """A measurement could not be taken; the message says why."""


def run_to_the_end(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run the whole measurement; SIGTERM ends it like Ctrl-C: everything that it started is ended first."""

    async def cancelled_by_sigterm() -> _Result:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    return asyncio.run(cancelled_by_sigterm())


@asynccontextmanager
async def running(
    argv: Sequence[str],
    log: Path,
    cores: Iterable[int],
    *,
    environment: Mapping[str, str] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program on some cores; it is asked to end at the end."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
        )
    pin([process.pid], cores)
    try:
        yield process
    finally:
        await end(process, stop_signal)


async def end(process: asyncio.subprocess.Process, stop_signal: signal.Signals) -> None:
    """Ask a program to end and wait for it; kill it if it does not."""
    if process.returncode is None:
        process.send_signal(stop_signal)
    try:
        await asyncio.wait_for(process.wait(), _STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def store(directory: Path, cores: Iterable[int]) -> AsyncIterator[tuple[str, int]]:
    """Run a Valkey with the very settings of the gate; gives its URL and process id."""
    server = embedded.valkey(directory / "valkey")
    async with running(server.argv, directory / "valkey.log", cores) as process:
        await server.wait_ready(_READY_S)
        yield server.url, process.pid


@asynccontextmanager
async def database(directory: Path, cores: Iterable[int]) -> AsyncIterator[tuple[str, int]]:
    """Run a PostgreSQL with the very settings of the vault; gives its URL and process id."""
    server = await asyncio.to_thread(embedded.postgres, directory / "postgres")
    async with running(server.argv, directory / "postgres.log", cores, stop_signal=signal.SIGINT) as process:
        await server.wait_ready(_READY_S)
        yield server.url, process.pid


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_of(log: Path) -> str:
    """Return the last lines of a log: its directory is gone when the message is read."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])


async def listening(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    """Wait until a server takes connections.

    Raises:
        BenchImpossible: It ends, or takes none in time.
    """
    deadline_s = asyncio.get_running_loop().time() + _READY_S
    while process.returncode is None and asyncio.get_running_loop().time() < deadline_s:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise BenchImpossible(f"the server does not listen: {end_of(log)}")


@dataclass(frozen=True, slots=True)
class Load:
    """What to send.

    Attributes:
        requests: The requests, each once.
        connections: How many connections are kept busy.
        warm_up: Requests before the run.
        seconds: How long to run at most.
        pace_per_s: Requests a second; 0 for a closed loop.
        is_fresh: Whether each request takes a connection of its own.
    """

    requests: Sequence[bytes]
    connections: int
    warm_up: int
    seconds: float
    pace_per_s: float = 0.0
    is_fresh: bool = False


@asynccontextmanager
async def warm_load(load: Load, port: int, cores: Iterable[int]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a load generator and let it warm the server up."""
    argv = [sys.executable, "-m", "loadtest.bench.load", "--port", str(port)]
    argv += ["--connections", str(load.connections), "--warm-up", str(load.warm_up)]
    argv += ["--seconds", str(load.seconds), "--pace", str(load.pace_per_s)]
    argv += ["--fresh"] if load.is_fresh else []
    argv += [part for core in cores for part in ("--core", str(core))]
    async with warm_generator(argv, load.requests) as process:
        yield process


@asynccontextmanager
async def warm_generator(argv: Sequence[str], requests: Iterable[bytes]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a program that takes a file of requests; it has said that it stands ready.

    Raises:
        BenchImpossible: It could not run.
    """
    with tempfile.NamedTemporaryFile(prefix="grab-bench-") as file:
        for number, request in enumerate(requests):
            file.write(SEPARATOR + request if number else request)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            *argv, file.name, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_FIGURES_BYTES_MAX
        )
        try:
            assert process.stdout is not None  # noqa: S101  a pipe was asked for
            said = await asyncio.wait_for(process.stdout.readline(), _LOAD_S)
            if said != b"warm\n":
                raise BenchImpossible("the load generator could not run")
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def go(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Let a warm load generator run and return its figures."""
    try:
        output, _ = await asyncio.wait_for(process.communicate(b"go\n"), _LOAD_S)
    except TimeoutError as error:
        raise BenchImpossible(f"the load has not ended after {_LOAD_S:g} s") from error
    if process.returncode:
        raise BenchImpossible("the load generator has failed")
    figures: dict[str, Any] = json.loads(output)
    return figures


async def measure(load: Load, port: int, cores: Iterable[int], parts: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Run a load and return its figures with the CPU per request of each part, in microseconds.

    Args:
        load: What to send.
        port: Where the server listens.
        cores: Where the load generator runs.
        parts: Process ids by name; each counts with all its descendants.
    """
    async with warm_load(load, port, cores) as process:
        before = {name: cpu_us_of(pids) for name, pids in parts.items()}
        figures = await go(process)
        after = {name: cpu_us_of(pids) for name, pids in parts.items()}
    answers = max(1, figures["answers"])
    return figures | {
        "cpu_us": {name: (after[name] - before[name]) / answers for name in parts},
        "cpu_share": {name: (after[name] - before[name]) / 1e6 / max(figures["seconds"], 1e-9) for name in parts},
    }
