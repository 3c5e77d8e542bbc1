"""The service under chaos: a ``grab up`` of its own, whose processes are killed, frozen and damaged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

PARTS = ("api", "ledger", "valkey", "postgres")
_READY_S = 60.0
_POLL_S = 0.02
_RECOVERED = re.compile(r"^(\S+ \S+) INFO ledger\.recover: the gate is open again after (\d+) ms", re.MULTILINE)


class ChaosImpossible(Exception):
    """The run cannot go on; the message says why."""


async def until(is_so: Callable[[], bool | Awaitable[bool]], what: str, within_s: float) -> None:
    """Wait for a fact.

    Raises:
        ChaosImpossible: It does not come about in time.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while True:
        answer = is_so()
        if answer if isinstance(answer, bool) else await answer:
            return
        if loop.time() > deadline_s:
            raise ChaosImpossible(f"waited {within_s:g} s in vain until {what}")
        await asyncio.sleep(_POLL_S)


@dataclass(slots=True)
class Site:
    """One data directory and the ``grab up`` that runs on it.

    Attributes:
        directory: The data directory.
        options: Of ``grab up``.
        environment: Variables for it and its children, beside this process's own.
    """

    directory: Path
    options: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _by_hand: list[tuple[float, float]] = field(default_factory=list)

    @property
    def told(self) -> Path:
        """What it and the recoveries that were run beside it have logged."""
        return self.directory.with_suffix(".log")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of its parts."""
        return tomllib.loads((self.directory / "settings.toml").read_text())

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            ChaosImpossible: It ends, or is not ready in time.
        """
        said = self.directory.with_suffix(".out")
        command = self._command("up", *self.options)
        with said.open("wb") as out, self.told.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  returns at once
                command, env={**os.environ, **self.environment}, stdout=out, stderr=log, start_new_session=True
            )
        await until(lambda: said.read_bytes().endswith(b"\n") or self._ended(), "'grab up' is ready", _READY_S)
        if not said.read_bytes().startswith(b"ready "):
            raise ChaosImpossible(f"'grab up' has ended: see {self.told}")

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _command(self, name: str, *options: str) -> list[str]:
        return [sys.executable, "-m", "grab_service", name, "--data-dir", str(self.directory), *options]

    async def grab(self, name: str, *options: str) -> tuple[int, str]:
        """Run another command on the directory; return its exit code and what it printed."""
        began_ms = time.time() * 1000
        with self.told.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command(name, *options), stdout=asyncio.subprocess.PIPE, stderr=log
            )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
            if name == "recover":
                self._by_hand.append((began_ms, time.time() * 1000))
        return process.returncode or 0, output.decode()

    def pid(self, part: str) -> int | None:
        """Return the process id of a part, None while it does not run."""
        try:
            return int((self.directory / "run" / f"{part}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def freeze(self, part: str) -> None:
        """Stop a part and its own children, such as the processes of an API that serve, until ``thaw``."""
        self._signal_group(part, signal.SIGSTOP)

    def thaw(self, part: str) -> None:
        """Let a part go on."""
        self._signal_group(part, signal.SIGCONT)

    def _signal_group(self, part: str, number: signal.Signals) -> None:
        pid = self.pid(part)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)

    def signal(self, part: str, number: signal.Signals) -> bool:
        """Send a signal to a part; False if it does not run."""
        pid = self.pid(part)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    async def kill(self, part: str) -> None:
        """Kill a part and wait until it is dead; if it does not run yet, as soon as it does."""
        await until(lambda: self.signal(part, signal.SIGKILL), f"{part} is killed", 15)

    @asynccontextmanager
    async def unattended(self, part: str) -> AsyncIterator[bool]:
        """Kill a part and keep the supervisor from noticing it meanwhile; gives whether there was one to kill."""
        assert self._process is not None  # noqa: S101  it was started
        self._process.send_signal(signal.SIGSTOP)
        try:
            pid = self.pid(part)
            was_killed = self.signal(part, signal.SIGKILL)
            await until(lambda: pid is None or not _is_alive(pid), f"{part} is dead", 10)
            yield was_killed
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def kill_all_at_the_top(self) -> None:
        """Kill the supervisor, which leaves its children behind, and start another."""
        assert self._process is not None  # noqa: S101  it was started
        self._process.kill()
        self._process.wait()
        await self.start()

    def stop(self) -> int:
        """End it in good order; return its exit code."""
        assert self._process is not None  # noqa: S101  it was started
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def end(self) -> None:
        """End it if it still runs, and whatever it left."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.stop()
        for part in PARTS:
            self.signal(part, signal.SIGKILL)

    @asynccontextmanager
    async def gate(self) -> AsyncIterator[redis.Redis]:
        """Give a client of the gate."""
        client = redis.Redis.from_url(
            self.settings["redis_url"], decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )
        try:
            yield client
        finally:
            await client.aclose()

    @asynccontextmanager
    async def vault(self) -> AsyncIterator[asyncpg.Connection]:
        """Give a connection to the vault."""
        connection = await asyncpg.connect(self.settings["database_url"], timeout=10)
        try:
            yield connection
        finally:
            connection.terminate()

    def recoveries(self) -> list[tuple[float, float]]:
        """Return when the gate was recovered, from and to in Unix milliseconds, by hand or as was logged."""
        windows = list(self._by_hand)
        for logged_at, took_ms in _RECOVERED.findall(self.told.read_text(errors="replace")):
            end_ms = datetime.strptime(logged_at, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp() * 1000
            windows.append((end_ms - float(took_ms), end_ms))
        return windows


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
