"""Remembers who took tickets from where, so that many users on one address are noticed; off the way of every answer."""

from __future__ import annotations

import asyncio

from grab_service.addresses import hash_of_block
from grab_service.api.vault import Vault, VaultUnavailable
from ledger.signals import note_address_uses

_PASS_S = 2.0
_NOTES_MAX = 20_000  # more within one pass are not noted: a signal needs far fewer
_BATCH_MAX = 2_000


class Whence:
    """Collects uses of addresses and brings them to the vault now and then.

    Args:
        pepper: The secret of the keyed hash.
        is_kept: Whether anything is remembered at all.
    """

    def __init__(self, pepper: bytes, *, is_kept: bool) -> None:
        self._pepper = pepper
        self._is_kept = is_kept
        self._notes: set[tuple[bytes, str]] = set()

    def note(self, block: str | None, user_ref: str) -> None:
        """Remember that a user has taken a ticket from a block of addresses."""
        if self._is_kept and block is not None and len(self._notes) < _NOTES_MAX:
            self._notes.add((hash_of_block(self._pepper, block), user_ref))

    async def run(self, vault: Vault) -> None:
        """Bring what was noted to the vault; while that does not answer it is kept, up to the bound."""
        while True:
            await asyncio.sleep(_PASS_S)
            while self._notes:
                batch = [self._notes.pop() for _ in range(min(len(self._notes), _BATCH_MAX))]
                try:
                    async with vault.connection() as connection:
                        await note_address_uses(connection, batch)
                except VaultUnavailable:
                    self._notes.update(batch)
                    break
