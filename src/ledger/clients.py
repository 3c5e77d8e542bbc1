"""The back ends that may call: their keys, and the nonces of the requests that they have signed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from ledger.statements import statement

_INSERT_CLIENT = statement("insert_client")
_INSERT_KEY = statement("insert_client_key")
_LOCK_CLIENT = statement("lock_client")
_SHORTEN_KEYS = statement("shorten_client_keys")
_REVOKE_CLIENT = statement("revoke_client")
_REVOKE_KEY = statement("revoke_client_key")
_SELECT_KEYS = statement("select_client_keys")
_REMEMBER_NONCE = statement("remember_nonce")
_FORGET_NONCES = statement("forget_nonces")

NONCE_AGE_MAX = timedelta(minutes=10)  # far above the two minutes in which a timestamp is good, whatever the clocks say
_FORGOTTEN_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that is to be added.

    Attributes:
        algorithm: ``ed25519`` or ``hmac-sha256``.
        public_key: The 32 bytes of an Ed25519 key; None for HMAC, whose secret is derived.
        valid_for: From now on.
    """

    algorithm: str
    public_key: bytes | None
    valid_for: timedelta


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key of a client, as it is stored.

    Attributes:
        revoked_at: When the key or its whole client was revoked; None if neither was.
    """

    client_id: str
    name: str
    state: str
    scopes: Sequence[str]
    merchants: Sequence[str]
    key_id: str
    algorithm: str
    public_key: bytes | None
    valid_from: datetime
    valid_until: datetime
    revoked_at: datetime | None


async def add(
    vault: asyncpg.Connection,
    client_id: str,
    *,
    name: str,
    scopes: Collection[str],
    merchants: Collection[str],
    key: NewKey,
    actor: str,
    deed_no: int | None = None,
) -> str | None:
    """Add a client with its first key and return the key's id, None if there is a client of this id.

    Raises:
        asyncpg.IntegrityConstraintViolationError: The vault refuses a fact, or knows the public key already.
    """
    async with vault.transaction():
        if await vault.fetchval(_INSERT_CLIENT, client_id, name, sorted(scopes), sorted(merchants), actor) is None:
            return None
        return await _insert_key(vault, client_id, key, actor, deed_no)


async def rotate(
    vault: asyncpg.Connection,
    client_id: str,
    *,
    key: NewKey,
    overlap: timedelta,
    actor: str,
    deed_no: int | None = None,
) -> str | None:
    """Give a client another key and return its id, None if no such client is active; the others end after ``overlap``.

    Raises:
        asyncpg.IntegrityConstraintViolationError: The public key is known already.
    """
    async with vault.transaction():
        await vault.execute(_LOCK_CLIENT, client_id)
        key_id = await _insert_key(vault, client_id, key, actor, deed_no)
        if key_id is not None:
            await vault.execute(_SHORTEN_KEYS, client_id, key_id, overlap)
        return key_id


async def revoke(vault: asyncpg.Connection, client_or_key_id: str) -> bool:
    """Revoke a client, or one key of it; return whether there was such a one to revoke."""
    # Only the id of a key has a dot in it.
    revoking = _REVOKE_KEY if "." in client_or_key_id else _REVOKE_CLIENT
    return await vault.fetchval(revoking, client_or_key_id) is not None


async def keys(vault: asyncpg.Connection) -> list[KeyRow]:
    """Return every key of every client."""
    return [KeyRow(**row) for row in await vault.fetch(_SELECT_KEYS)]


async def remember_nonce(vault: asyncpg.Connection, key_id: str, nonce: str) -> bool:
    """Remember the nonce of a request; False if it was seen before, or if the key was revoked meanwhile."""
    return await vault.fetchval(_REMEMBER_NONCE, key_id, nonce) is not None


async def forget_nonces(vault: asyncpg.Connection) -> None:
    """Forget nonces that are too old to matter."""
    await vault.execute(_FORGET_NONCES, NONCE_AGE_MAX, _FORGOTTEN_AT_ONCE)


async def _insert_key(
    vault: asyncpg.Connection, client_id: str, key: NewKey, actor: str, deed_no: int | None
) -> str | None:
    added: str | None = await vault.fetchval(
        _INSERT_KEY, client_id, key.algorithm, key.public_key, key.valid_for, actor, deed_no
    )
    return added
