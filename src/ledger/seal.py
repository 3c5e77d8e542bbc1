"""Puts the rows of the journals into blocks, each block's hash over its rows and the hash before it.

One worker does it, the one that holds the lock, off the way of any claim.  A row that is in no block
goes into the next one, whenever it was committed: so no transaction under way can be passed over, and
no order among rows is needed but the one that is given here.  Keys make two sealers harmless.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import asyncpg

from ledger import locks
from ledger.blocks import NO_HASH, block_hash
from ledger.journals import BEFORE_ALL, Journal, JournalRow, journals, last_sealed, unsealed_rows
from ledger.session import vault_session
from ledger.statements import statement
from ledger.trouble import TROUBLE, Condition, pause

BLOCK_ROWS_MAX = 500  # what one turn of the worker's loop hashes, some milliseconds; a shorter block took all there was
_LOOK_BLOCKS = 2  # some 60 ms of worker and vault, in which claims wait longer to be recorded
_PASS_S = 10.0  # between two looks at every row of a journal, and between two passes that found nothing
_REST = 9  # times what sealing some blocks took: a tenth of the time at most, for claims are on their way to the vault

_TRY_LOCK = statement("try_lock")
_LOCK = statement("lock")
_UNLOCK = statement("unlock")
_CLOCK = statement("select_clock")
_INSERT_JOURNALS = statement("insert_journals")
_INSERT_BLOCK = statement("insert_block")


@dataclass(frozen=True, slots=True)
class NewBlock:
    """A block that was sealed."""

    journal: str
    block_no: int
    rows: int
    hash: str


async def _seal_some(
    connection: asyncpg.Connection, journal: Journal, *, looks_at_all: bool
) -> tuple[Journal, list[NewBlock]]:
    """Seal some rows that are in no block, and return the new head; each block is a transaction of its own.

    Nearly every row is numbered above those that are sealed and found without reading the others; but a row may be
    committed late, or take a number that was free again.  A short block says that it took all there was, so only a look
    at all may end in one.

    Args:
        connection: To the vault, outside a transaction; the caller holds the lock.
        journal: The journal.
        looks_at_all: Whether every row is looked at, else only those above the last that is sealed.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble; what was sealed stays sealed.
    """
    after_no = BEFORE_ALL if looks_at_all else await last_sealed(connection, journal)
    rows = await unsealed_rows(connection, journal, after_no, _LOOK_BLOCKS * BLOCK_ROWS_MAX)
    head, sealed = journal, list[NewBlock]()
    while part := list(islice(rows, BLOCK_ROWS_MAX)):
        if len(part) < BLOCK_ROWS_MAX and not looks_at_all:
            break
        head = await _seal_block(connection, head, part)
        assert head.hash is not None  # noqa: S101  it was made a moment ago
        sealed.append(NewBlock(head.name, head.block_no, len(part), head.hash.hex()))
    return head, sealed


async def seal_now(connection: asyncpg.Connection) -> list[NewBlock]:
    """Seal what is in no block, after waiting for whoever is sealing; return the new blocks.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    await connection.execute(_LOCK, locks.SEAL, 0)
    try:
        await connection.execute(_INSERT_JOURNALS)
        sealed: list[NewBlock] = []
        for journal in await journals(connection):
            head = journal
            for looks_at_all in (False, True):
                blocks: list[NewBlock] | None = None
                while blocks is None or blocks:
                    head, blocks = await _seal_some(connection, head, looks_at_all=looks_at_all)
                    sealed += blocks
        return sealed
    finally:
        if not connection.is_closed():
            await connection.execute(_UNLOCK, locks.SEAL, 0)


async def _seal_block(connection: asyncpg.Connection, head: Journal, rows: Sequence[JournalRow]) -> Journal:
    """Seal rows as the block after ``head`` and return the head that it makes."""
    async with connection.transaction(isolation="read_committed"):
        sealed_at = await connection.fetchval(_CLOCK)
        block_no = head.block_no + 1
        digest = block_hash(head.name, block_no, sealed_at, head.hash or NO_HASH, [row.line for row in rows])
        numbers = [row.row_no for row in rows]
        await connection.execute(_INSERT_BLOCK, head.journal_no, block_no, head.hash, digest, sealed_at, numbers)
    return replace(head, block_no=block_no, hash=digest, sealed_at=sealed_at, row_count=head.row_count + len(rows))


class Sealer:
    """Seals now and then, for as long as it is the one that does.

    Args:
        database_url: The vault.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._last_no = 0  # the journal that was sealed last
        self._look_at_all_s: dict[int, float] = {}  # when, by journal

    async def run(self, stop: asyncio.Event) -> None:
        """Work until stopped.  No outage of the vault ends it."""
        condition = Condition("the sealer")
        while not stop.is_set():
            try:
                began_s, is_done = time.monotonic(), True
                async with vault_session(self._database_url) as vault:
                    if await vault.fetchval(_TRY_LOCK, locks.SEAL, 0):
                        is_done = not await self.seal_some(vault)
                condition.well()
                # The lock is free meanwhile: whoever seals by hand does not wait for a rest.
                await pause(stop, _PASS_S if is_done else min(_PASS_S, _REST * (time.monotonic() - began_s)))
            except TROUBLE as error:
                await pause(stop, condition.ill(error))

    async def seal_some(self, vault: asyncpg.Connection) -> list[NewBlock]:
        """Seal blocks of the journals in turn until there are some, and return them; the caller holds the lock.

        Raises:
            asyncpg.PostgresError, OSError: The vault is in trouble; what was sealed stays sealed.
        """
        await vault.execute(_INSERT_JOURNALS)
        every, sealed = await journals(vault), list[NewBlock]()
        begin = next((place for place, each in enumerate(every) if each.journal_no > self._last_no), 0)
        for journal in every[begin:] + every[:begin]:
            now_s, number = time.monotonic(), journal.journal_no
            looks_at_all = now_s >= self._look_at_all_s.get(number, 0.0)
            _, blocks = await _seal_some(vault, journal, looks_at_all=looks_at_all)
            sealed += blocks
            self._last_no = number
            if looks_at_all and len(blocks) < _LOOK_BLOCKS:
                self._look_at_all_s[number] = now_s + _PASS_S
            if len(sealed) >= _LOOK_BLOCKS:
                break
        return sealed
