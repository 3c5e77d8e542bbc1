"""Connections to the vault and the gate for the time of a task, with errors that a person understands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import redis.asyncio as redis

from grab_service import gate
from grab_service.gate import GateUnavailable
from grab_service.settings import Settings
from grab_service.store_trouble import reason
from grab_service.store_urls import without_password

_CONNECT_S = 5.0
_COMMAND_S = 60.0  # minting a large campaign takes some seconds
_GATE_TIMEOUT_MS = 10_000  # a recovery writes large stocks


class StoreUnavailable(Exception):
    """The vault or the gate does not answer or is not prepared; the message says which and why."""


@asynccontextmanager
async def open_vault(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the vault.

    Raises:
        StoreUnavailable: There is trouble with it, now or later in the block.
    """
    try:
        connection = await asyncpg.connect(settings.database_url, timeout=_CONNECT_S, command_timeout=_COMMAND_S)
        try:
            yield connection
        finally:
            connection.terminate()
    except asyncpg.UndefinedTableError as error:
        raise StoreUnavailable("the vault has no tables yet: run 'grab migrate'") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        where = without_password(settings.database_url)
        raise StoreUnavailable(f"trouble with the vault at {where}: {reason(error, settings.database_url)}") from error


@asynccontextmanager
async def open_gate(settings: Settings) -> AsyncIterator[redis.Redis]:
    """Connect to the gate.

    Raises:
        StoreUnavailable: There is trouble with it, now or later in the block.
    """
    client = gate.connect(settings.redis_url, _GATE_TIMEOUT_MS)
    try:
        yield client
    except (redis.RedisError, GateUnavailable) as error:
        where = without_password(settings.redis_url)
        raise StoreUnavailable(f"trouble with the gate at {where}: {reason(error, settings.redis_url)}") from error
    finally:
        await client.aclose()
