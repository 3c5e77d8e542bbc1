"""Real servers for the tests: one Valkey and one PostgreSQL for each test process.

Every test gets a database of its own and campaigns with ids of their own, so tests run in any
order and in parallel.  ``GRAB_VALKEY_BIN`` and ``GRAB_POSTGRES_BIN_DIR`` choose other servers.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from grab_service import embedded
from ledger.migrate import migrate

_MEMORY = Path("/dev/shm")  # noqa: S108  each run makes directories of its own below it
_MEMORY_FREE_MIN = 6 << 30


def _use_memory_as_disk() -> None:
    """Keep what tests write in memory where there is room: a database for each test costs a fifth of it on a disk.

    Servers fsync all the same, and a killed process loses nothing there that it would keep on a disk.
    """
    has_room = os.access(_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY).free >= _MEMORY_FREE_MIN
    if has_room and "TMPDIR" not in os.environ:
        tempfile.tempdir = os.environ["TMPDIR"] = str(_MEMORY)


_use_memory_as_disk()
_database_numbers = itertools.count(1)
_campaign_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Path]:
    """A short-lived directory for this process's servers; short, because sockets live in it."""
    path = Path(tempfile.mkdtemp(prefix="grab-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _run(server: embedded.Server, log: Path, stop_signal: signal.Signals) -> Iterator[embedded.Server]:
    with log.open("wb") as output:
        process = subprocess.Popen(server.argv, stdout=output, stderr=output)
        try:
            asyncio.run(_wait_ready(server))
            yield server
        finally:
            process.send_signal(stop_signal)
            process.wait(timeout=30)


async def _wait_ready(server: embedded.Server) -> None:
    await server.wait_ready(20)


@pytest.fixture(scope="session")
def valkey_server(server_dir: Path) -> Iterator[embedded.Server]:
    """The Valkey (or Redis) of this test process."""
    yield from _run(embedded.valkey(server_dir / "vk"), server_dir / "valkey.log", signal.SIGTERM)


@pytest.fixture(scope="session")
def postgres_server(server_dir: Path) -> Iterator[embedded.Server]:
    """The PostgreSQL of this test process."""
    yield from _run(embedded.postgres(server_dir / "pg"), server_dir / "postgres.log", signal.SIGINT)


@pytest.fixture(scope="session")
def template_database(postgres_server: embedded.Server) -> str:
    """The name of a migrated database that every test's database is copied from."""

    async def create() -> None:
        admin = await asyncpg.connect(postgres_server.url)
        await admin.execute("CREATE DATABASE grab_template")
        await admin.close()
        connection = await asyncpg.connect(_with_database(postgres_server.url, "grab_template"))
        await migrate(connection)
        await connection.close()

    asyncio.run(create())
    return "grab_template"


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture
async def database_url(postgres_server: embedded.Server, template_database: str) -> AsyncIterator[str]:
    """The URL of a migrated database of this test's own."""
    name = f"test_{next(_database_numbers)}"
    admin = await asyncpg.connect(postgres_server.url)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
        yield _with_database(postgres_server.url, name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def vault(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to this test's database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def redis_client(valkey_server: embedded.Server) -> AsyncIterator[redis.Redis]:
    """A client of this test process's Valkey that repeats nothing by itself."""
    client = redis.Redis.from_url(
        valkey_server.url, decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0)
    )
    yield client
    await client.aclose()


@pytest.fixture
async def empty_gate(redis_client: redis.Redis) -> redis.Redis:
    """The same, for a test whose campaign has no id of its own: nothing is left there of another's vault."""
    await redis_client.flushdb()
    return redis_client


@pytest.fixture
def campaign_id() -> str:
    """A campaign id that no other test of this process uses."""
    return f"test-{next(_campaign_numbers)}"
