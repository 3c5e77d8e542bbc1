"""A ``grab up`` of a test's own, as a user starts it: a program with a data directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from grab_service.campaign import parse_campaign
from grab_service.gate import Gate, GateUnavailable, connect
from grab_service.rehearsal import RehearsalKeys
from tests.support.plain_http import http_client
from tests.support.wait import wait_until

CHILDREN = ("api", "ledger", "valkey", "postgres")
FIRST_STOCK = "qijiang-2023-r1-general-1"
READY_WITHIN_S = 45.0
_CAMPAIGN = Path(__file__).parents[2] / "campaigns" / "qijiang-2023.toml"
_REGION = "500110"


def clean_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with no setting but these; the choice of server programs stays."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("GRAB_") or name.endswith(_PROGRAMS)
    }
    return kept | variables


_PROGRAMS = ("_BIN", "_BIN_DIR")


def grab(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command ``grab`` to its end."""
    argv = [sys.executable, "-m", "grab_service", *map(str, arguments)]
    env = clean_environment(**variables)
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=50, check=False)


class Rehearsal:
    """One data directory and the ``grab up`` that runs on it, again and again.

    Attributes:
        directory: The data directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._out, self._err = directory.with_suffix(".out"), directory.with_suffix(".err")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, *arguments: str, **variables: str) -> None:
        """Start it and wait until it says that it is ready."""
        argv = [
            sys.executable,
            "-m",
            "grab_service",
            "up",
            "--port",
            "0",
            "--data-dir",
            str(self.directory),
            *arguments,
        ]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(  # noqa: ASYNC220  returns at once
                argv, env=clean_environment(**variables), stdout=out, stderr=err, start_new_session=True
            )
        await wait_until(self._has_spoken, "'grab up' is ready", READY_WITHIN_S)
        assert self.said.startswith("ready http://"), self.told

    def _has_spoken(self) -> bool:
        assert self._process is not None
        return self.said.endswith("\n") or self._process.poll() is not None

    @property
    def said(self) -> str:
        """What it has printed on standard output."""
        return self._out.read_text()

    @property
    def told(self) -> str:
        """What it has told on standard error."""
        return self._err.read_text()

    @property
    def url(self) -> str:
        """Where it says that it answers."""
        return self.said.split()[1]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of its parts."""
        return tomllib.loads((self.directory / "settings.toml").read_text())

    def pid(self, name: str) -> int | None:
        """Return the process id of a child, None while it does not run."""
        try:
            return int((self.directory / "run" / f"{name}.pid").read_text())
        except FileNotFoundError:
            return None

    @property
    def pids(self) -> list[int]:
        """The process ids of all children that run."""
        return [pid for name in CHILDREN if (pid := self.pid(name)) is not None]

    async def is_ready(self) -> bool:
        """Whether the API says that claims can be served."""
        async with http_client(base_url=self.url, timeout=5) as client:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

    async def gate_is_open(self) -> bool:
        """Whether the gate itself says that it is open for every stock: one that was harmed has been rebuilt then."""
        client = connect(self.settings["redis_url"], timeout_ms=2000)
        try:
            stocks = list(parse_campaign(_CAMPAIGN.read_text(encoding="utf-8")).stocks())
            return all(counts.is_open for counts in await Gate(client).counts(stocks))
        except GateUnavailable:
            return False
        finally:
            await client.aclose()

    def ticket(self, user: str) -> str:
        """Mint a ticket in this process: faster than the command."""
        return RehearsalKeys(self.directory / "keys").ticket_issuer(now_s=int(time.time()))(user, _REGION)

    def token(self, user: str, *options: str) -> str:
        """Mint a token by the command."""
        done = grab("token", "--user", user, *options, "--data-dir", self.directory)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    async def claim(self, token: str, stock_id: str = FIRST_STOCK) -> httpx.Response:
        """Claim a voucher."""
        async with http_client(base_url=self.url, timeout=10) as client:
            return await client.post(f"/v1/stocks/{stock_id}/claims", headers={"Authorization": f"Bearer {token}"})

    async def try_to_claim(self, token: str) -> httpx.Response | None:
        """Claim a voucher once; None if no answer comes."""
        try:
            return await self.claim(token)
        except httpx.TransportError:
            return None

    async def claim_until_served(self, token: str) -> httpx.Response:
        """Claim a voucher as the app does: again while the service is busy."""
        answers: list[httpx.Response] = []

        async def is_served() -> bool:
            answer = await self.try_to_claim(token)
            answers.extend([answer] if answer else [])
            return answer is not None and answer.status_code in (200, 201)

        await wait_until(is_served, "the claim is served", 20)
        return answers[-1]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the supervisor notice nothing meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the supervisor and return the code that it ends with."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(40)

    def end(self) -> None:
        """End it if it still runs, and whatever it left."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether a process of this id runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def serving(parent: int) -> list[int]:
    """Return the processes of an API that serve: uvicorn starts them anew, Granian forks."""
    of_parent, found = Path(f"/proc/{parent}/cmdline").read_bytes(), []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            ppid = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if ppid == parent and (b"spawn_main" in command or command == of_parent):
            found.append(int(stat.parent.name))
    return found


def now_ms() -> int:
    """Return this machine's clock."""
    return time.time_ns() // 1_000_000
