"""The vault's roles: the owner, who cannot log in; one for each part, which can change no journal; the auditor."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from ledger.locks import MIGRATION
from ledger.statements import statement

OWNER, SERVICE, AUDITOR = "grab_owner", "grab_service", "grab_auditor"
API, LEDGER, STAFF = "grab_api", "grab_ledger", "grab_staff"

_ROLES = Path(__file__).parent / "roles.sql"
_ATTEMPTS = 5  # where others read the tables that get another owner, one of them has to give way

_LOCK = statement("lock")
_UNLOCK = statement("unlock")
_SELECT_POWERS = statement("select_powers_over_journals")


async def create(connection: asyncpg.Connection) -> None:
    """Make the roles and give each what it needs and no more; repeated after a migration it takes in new tables.

    Args:
        connection: To the vault, as a superuser.

    Raises:
        asyncpg.InsufficientPrivilegeError: The connection may not do this.
        asyncpg.DeadlockDetectedError: Others did not give way, again and again.
    """
    await connection.execute(_LOCK, MIGRATION, 0)
    try:
        for left in reversed(range(_ATTEMPTS)):
            try:
                async with connection.transaction():
                    await connection.execute(_ROLES.read_text(encoding="utf-8"))
                break
            except asyncpg.DeadlockDetectedError:
                if not left:
                    raise
    finally:
        if not connection.is_closed():
            await connection.execute(_UNLOCK, MIGRATION, 0)


async def powers_over_journals(connection: asyncpg.Connection) -> list[str]:
    """Return the journals that the connection's role could change, if no trigger were there."""
    return [row["name"] for row in await connection.fetch(_SELECT_POWERS)]
