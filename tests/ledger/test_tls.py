"""TLS to both stores, against servers with certificates of an authority that the test makes.

The servers that come with the wheels are built without TLS, so Debian's stand in for them where they are installed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from grab_service import embedded
from grab_service.embedded import POSTGRES_BIN_DIR_VARIABLE, VALKEY_BIN_VARIABLE
from grab_service.settings import Settings
from grab_service.stores import StoreUnavailable, open_gate, open_vault
from tests.support.authority import Authority
from tests.support.ports import free_port
from tests.support.wait import wait_until

HOST, ADDRESS = "localhost", "127.0.0.1"  # the certificates are for the name
TLS, PLAIN = "tls", "plain"
Ports = Mapping[str, int]

_GATES = [os.environ.get(VALKEY_BIN_VARIABLE, ""), "/usr/bin/redis-server", "/usr/bin/valkey-server"]
_VAULTS = [os.environ.get(POSTGRES_BIN_DIR_VARIABLE, ""), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]


def _gate_program() -> str | None:
    """Return a server that knows TLS: it misses the certificate, not the ability."""
    for program in filter(os.path.isfile, _GATES):
        argv = [program, "--port", "0", "--tls-port", "1"]
        if b"tls-cert-file" in subprocess.run(argv, capture_output=True, timeout=30, check=False).stdout:
            return program
    return None


@contextmanager
def _running(argv: tuple[str, ...], stop: signal.Signals, ready: Callable[[], Awaitable[None]]) -> Iterator[None]:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(_wait(ready))
        yield
    finally:
        process.send_signal(stop)
        process.wait(20)


async def _wait(ready: Callable[[], Awaitable[None]]) -> None:
    await ready()


@pytest.fixture(scope="module")
def authorities(server_dir: Path) -> dict[str, Authority]:
    """The one that signs the servers' certificates, and another."""
    return {name: Authority(server_dir, name) for name in ("right", "wrong")}


@pytest.fixture(scope="module")
def gate_ports(server_dir: Path, authorities: dict[str, Authority]) -> Iterator[Ports]:
    """A gate that speaks TLS on one port and no TLS on the other."""
    program = _gate_program()
    if program is None:
        pytest.skip("no Redis or Valkey with TLS is installed")
    certificate, key = authorities["right"].sign(HOST)
    ports = {TLS: free_port(), PLAIN: free_port()}
    files = {"tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": authorities["right"].file}
    settings = {name: str(path) for name, path in files.items()}
    settings |= {"tls-port": str(ports[TLS]), "tls-auth-clients": "no"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VALKEY_BIN_VARIABLE, program)
        server = embedded.valkey(server_dir / "vk-tls", {**embedded.VALKEY_SETTINGS, **settings})
    argv = (*server.argv, "--port", str(ports[PLAIN]))  # the file closes that port, and what is said last counts
    with _running(argv, signal.SIGTERM, lambda: server.wait_ready(20)):
        yield ports


@pytest.fixture(scope="module")
def vault_ports(server_dir: Path, authorities: dict[str, Authority]) -> Iterator[Ports]:
    """The ports of a vault that speaks TLS and of one that does not."""
    bin_dir = next((path for path in _VAULTS if Path(path, "postgres").is_file()), None)
    if bin_dir is None:
        pytest.skip("no PostgreSQL with TLS is installed")
    certificate, key = authorities["right"].sign(HOST)
    tls = {"ssl": "on", "ssl_cert_file": str(certificate), "ssl_key_file": str(key)}
    ports = {TLS: free_port(), PLAIN: free_port()}
    with pytest.MonkeyPatch.context() as patch, ExitStack() as running:
        patch.setenv(POSTGRES_BIN_DIR_VARIABLE, bin_dir)
        for kind, port in ports.items():
            settings = {"listen_addresses": ADDRESS, "port": str(port)} | (tls if kind == TLS else {})
            server = embedded.postgres(server_dir / f"pg-{kind}", {**embedded.POSTGRES_SETTINGS, **settings})
            running.enter_context(_running(server.argv, signal.SIGINT, partial(_vault_answers, port)))
        yield ports


async def _vault_answers(port: int) -> None:
    async def answers() -> bool:
        try:
            await (await asyncpg.connect(f"postgresql://grab@{ADDRESS}:{port}/postgres")).close()
        except (asyncpg.PostgresError, OSError):
            return False
        return True

    await wait_until(answers, "the vault answers")


@asynccontextmanager
async def _gate(url: str) -> AsyncIterator[None]:
    async with open_gate(Settings(redis_url=url)) as client:
        assert await client.ping()
        yield


@asynccontextmanager
async def _vault(url: str) -> AsyncIterator[None]:
    async with open_vault(Settings(database_url=url)) as connection:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        yield


class Wrong(NamedTuple):
    """What is wrong with a server, and what is said of it."""

    host: str
    kind: str
    authority: str
    sentence: str


REFUSALS = {
    "authority": Wrong(HOST, TLS, "wrong", "its certificate is not signed by the authority of .*wrong.pem"),
    "name": Wrong(ADDRESS, TLS, "right", "its certificate is for another name than the URL's"),
    "plain": Wrong(HOST, PLAIN, "right", "it does not speak TLS, which the URL asks for"),
    "file": Wrong(HOST, TLS, "absent", "the file of the authority .*absent.pem, is not there"),
}
refusals = pytest.mark.parametrize("wrong", REFUSALS.values(), ids=REFUSALS)


def _gate_url(host: str, port: int, authority: Path) -> str:
    return f"rediss://{host}:{port}?ssl_ca_certs={authority}"


def _vault_url(host: str, port: int, authority: Path) -> str:
    return f"postgresql://grab@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={authority}"


async def test_the_right_gate_is_spoken_to(gate_ports: Ports, authorities: dict[str, Authority]) -> None:
    """The authority signs it, for this name."""
    async with _gate(_gate_url(HOST, gate_ports[TLS], authorities["right"].file)):
        pass


async def test_the_right_vault_is_spoken_to(vault_ports: Ports, authorities: dict[str, Authority]) -> None:
    """The authority signs it, for this name, and the connection is encrypted."""
    async with _vault(_vault_url(HOST, vault_ports[TLS], authorities["right"].file)):
        pass


@refusals
async def test_a_gate_that_may_be_another_is_refused(
    gate_ports: Ports, server_dir: Path, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another authority, under another name or without TLS: one sentence says which."""
    if wrong.kind == PLAIN:
        monkeypatch.setattr("grab_service.stores._GATE_TIMEOUT_MS", 300)  # it waits in vain for what it understands
    with pytest.raises(StoreUnavailable, match=f"trouble with the gate at rediss://.*: {wrong.sentence}"):
        async with _gate(_gate_url(wrong.host, gate_ports[wrong.kind], server_dir / f"{wrong.authority}.pem")):
            pass


@refusals
async def test_a_vault_that_may_be_another_is_refused(vault_ports: Ports, server_dir: Path, wrong: Wrong) -> None:
    """Of another authority, under another name or without TLS: one sentence says which."""
    with pytest.raises(StoreUnavailable, match=f"trouble with the vault at postgresql://.*: {wrong.sentence}"):
        async with _vault(_vault_url(wrong.host, vault_ports[wrong.kind], server_dir / f"{wrong.authority}.pem")):
            pass
