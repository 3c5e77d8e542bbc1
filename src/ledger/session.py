"""The connection that the worker writes over: what hangs cannot hold it, or be held by it, for long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

_ANSWER_S = 10.0  # to connect, or for one statement; above the server's own bounds, so that it speaks first
_SERVER_SETTINGS: Mapping[str, str] = {
    "application_name": "grab-ledger",
    # A batch is a statement by itself: it waits for rows of others that are not committed, and does not fail on them.
    "default_transaction_isolation": "read committed",
    "statement_timeout": "8s",
    "lock_timeout": "5s",
    # A worker that hangs must not hold up a recovery, nor keep its stocks from the others.
    "idle_in_transaction_session_timeout": "10s",
    "idle_session_timeout": "30s",
    # The same for a worker whose machine has vanished (no effect on a Unix socket, which cannot lose its peer).
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


@asynccontextmanager
async def vault_session(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect; at the end the connection is cut, which frees its advisory locks at once and cannot hang.

    Raises:
        asyncpg.PostgresError, OSError, TimeoutError: The server cannot be reached or refuses.
    """
    connection = await asyncpg.connect(
        database_url, timeout=_ANSWER_S, command_timeout=_ANSWER_S, server_settings=dict(_SERVER_SETTINGS)
    )
    try:
        yield connection
    finally:
        connection.terminate()
