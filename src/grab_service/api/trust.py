"""Keeps current whom a process believes: the clients' keys from the vault, those of app and staff from files."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from grab_service import keyring, signatures
from grab_service.api.vault import Vault, VaultUnavailable
from grab_service.auth import Authenticator, KeySetInvalid
from grab_service.clients import ClientKey, Clients
from grab_service.keyring import Keyring, KeyringInvalid
from grab_service.settings import Settings
from grab_service.signatures import Algorithm
from grab_service.tickets import Tickets
from ledger import clients as stored_clients
from ledger.clients import KeyRow

_log = logging.getLogger(__name__)

_KEY_SET_LOOK_S = 1.0
_FORGET_S = 60.0


async def renew_clients(clients: Clients, vault: Vault, keys: Keyring, period_ms: int) -> None:
    """Read the clients' keys again and again, and let the vault forget old nonces."""
    forget_at_s = time.monotonic() + _FORGET_S
    is_told = False
    while True:
        try:
            async with vault.connection() as connection:
                clients.renew(trusted(await stored_clients.keys(connection), keys.client_key))
                if time.monotonic() >= forget_at_s:
                    await stored_clients.forget_nonces(connection)
                    forget_at_s = time.monotonic() + _FORGET_S
            is_told = False
        except VaultUnavailable as error:
            if not is_told:
                _log.warning("the clients' keys cannot be read: %s", error)
            is_told = True
        await asyncio.sleep(period_ms / 1000)


async def renew_key_set(authenticator: Authenticator, settings: Settings, keys: Keyring) -> None:
    """Read the key sets of app and staff again when a file has changed; what cannot be used changes nothing."""
    known, told = keys.key_sets, ""
    while True:
        await asyncio.sleep(_KEY_SET_LOOK_S)
        try:
            found = await asyncio.to_thread(keyring.read_key_sets, settings)
            if found != known:
                authenticator.renew(found)
                known = found
                told_of = ", ".join(f"{len(known[each]['keys'])} of {each.name.lower()}" for each in known)
                _log.info("believing tokens under other keys from now on: %s", told_of)
            told = ""
        except (KeyringInvalid, KeySetInvalid) as error:
            if str(error) != told:
                _log.error("the keys of tokens stay as they were: %s", error)
            told = str(error)


async def renew_ticket_keys(tickets: Tickets, settings: Settings, keys: Keyring) -> None:
    """Read the keys of tickets again when a file has changed; what cannot be used changes nothing."""
    known, told = (keys.ticket_key, keys.other_ticket_key), ""
    while True:
        await asyncio.sleep(_KEY_SET_LOOK_S)
        try:
            found = await asyncio.to_thread(keyring.read_ticket_keys, settings)
            if found != known:
                tickets.renew(*found)
                known = found
                _log.info("signing and believing tickets under other keys from now on")
            told = ""
        except KeyringInvalid as error:
            if str(error) != told:
                _log.error("the keys of tickets stay as they were: %s", error)
            told = str(error)


def trusted(rows: Iterable[KeyRow], client_key: bytes | None) -> list[ClientKey]:
    """Return the stored keys that can be believed; those with HMAC only where their secrets can be derived."""
    return [
        ClientKey(
            client_id=row.client_id,
            key_id=row.key_id,
            algorithm=Algorithm(row.algorithm),
            material=material,
            valid_from_s=row.valid_from.timestamp(),
            valid_until_s=row.valid_until.timestamp(),
            scopes=frozenset(row.scopes),
            merchants=frozenset(row.merchants),
        )
        for row in rows
        if row.revoked_at is None and (material := _material_of(row, client_key)) is not None
    ]


def _material_of(row: KeyRow, client_key: bytes | None) -> bytes | None:
    if row.algorithm == Algorithm.ED25519:
        return row.public_key
    return None if client_key is None else signatures.hmac_secret(client_key, row.key_id)
