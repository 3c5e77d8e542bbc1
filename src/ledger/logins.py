"""Lets the vault's roles log in, each with a password of its own, of which the server is given a verifier only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping

import asyncpg

from ledger.statements import statement

_SELECT_LOGINS = statement("select_logins")
_COMPOSE_LOGIN = statement("compose_login")

_METHOD = "SCRAM-SHA-256"
_ITERATIONS = 4096  # PostgreSQL's own default; what it protects is random
_SALT_BYTES = 16


async def let_in(connection: asyncpg.Connection, passwords: Mapping[str, str]) -> dict[str, bool]:
    """Let each role log in with its password; repeated it changes nothing.

    Args:
        connection: To the vault, as a superuser.
        passwords: Of printable ASCII, by role; the roles are there.

    Returns:
        Whether something was changed, by role.

    Raises:
        asyncpg.InsufficientPrivilegeError: The connection may not do this.
    """
    async with connection.transaction():
        rows = await connection.fetch(_SELECT_LOGINS, list(passwords))
        found = {row["name"]: row["verifier"] for row in rows if row["can_log_in"]}
        changed = {role: not is_of(found.get(role) or "", password) for role, password in passwords.items()}
        for role in (role for role, must_change in changed.items() if must_change):
            made = verifier(passwords[role], secrets.token_bytes(_SALT_BYTES), _ITERATIONS)
            await connection.execute(await connection.fetchval(_COMPOSE_LOGIN, role, made))
        return changed


def verifier(password: str, salt: bytes, iterations: int) -> str:
    """Return what PostgreSQL keeps of a password (RFC 5803), so that the password itself never travels or is logged."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key, server_key = hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"{_METHOD}${iterations}:{salt64}${stored64}:{server64}"


def is_of(kept: str, password: str) -> bool:
    """Whether a verifier that the server keeps, empty for none, is one of this password."""
    method, _, rest = kept.partition("$")
    iterations, _, salt = rest.partition("$")[0].partition(":")
    if method != _METHOD:
        return False
    return hmac.compare_digest(kept, verifier(password, base64.b64decode(salt), int(iterations)))
