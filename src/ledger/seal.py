"""Puts the rows of the journals into blocks, each block's hash over its rows and the hash before it.

One worker does it, the one that holds the lock, off the way of any claim.  A row that is in no block
goes into the next one, whenever it was committed: so no transaction under way can be passed over, and
no order among rows is needed but the one that is given here.  Keys make two sealers harmless.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
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
_BURST_BLOCKS = 2  # some 60 ms of worker and vault, in which claims wait longer to be recorded
_READ_ROWS_MAX = _BURST_BLOCKS * BLOCK_ROWS_MAX
_PASS_S = 10.0  # between two passes
_REST = 9  # times what a burst of blocks took: a tenth of the time at most, for claims are on their way to the vault

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


async def seal_journals(connection: asyncpg.Connection) -> AsyncIterator[NewBlock]:
    """Seal what is in no block; each block is a transaction of its own and is yielded once it is committed.

    Args:
        connection: To the vault, outside a transaction; the caller holds the lock.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble; what was sealed stays sealed.
    """
    await connection.execute(_INSERT_JOURNALS)
    for journal in await journals(connection):
        head = journal
        # Nearly every row is numbered after those that are sealed, and is found at once; then all are passed over for
        # those that were committed late, which costs the more the longer the journal is.
        for begin_no in dict.fromkeys((await last_sealed(connection, head), BEFORE_ALL)):
            after_no, read = begin_no, _READ_ROWS_MAX
            while read == _READ_ROWS_MAX:
                rows, read = await unsealed_rows(connection, head, after_no, _READ_ROWS_MAX), 0
                while part := list(islice(rows, BLOCK_ROWS_MAX)):
                    head, read, after_no = await _seal_block(connection, head, part), read + len(part), part[-1].row_no
                    assert head.hash is not None  # noqa: S101  it was made a moment ago
                    yield NewBlock(head.name, head.block_no, len(part), head.hash.hex())


async def seal_now(connection: asyncpg.Connection) -> list[NewBlock]:
    """Seal what is in no block, after waiting for whoever is sealing; return the new blocks.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    await connection.execute(_LOCK, locks.SEAL, 0)
    try:
        return [block async for block in seal_journals(connection)]
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

    async def run(self, stop: asyncio.Event) -> None:
        """Work until stopped.  No outage of the vault ends it."""
        condition = Condition("the sealer")
        while not stop.is_set():
            try:
                began_s, blocks = time.monotonic(), 0
                async with vault_session(self._database_url) as vault:
                    if await vault.fetchval(_TRY_LOCK, locks.SEAL, 0):
                        async for _ in seal_journals(vault):
                            blocks += 1
                            if blocks == _BURST_BLOCKS or stop.is_set():
                                break
                condition.well()
                # The lock is free meanwhile: whoever seals by hand does not wait for a rest.
                is_done = blocks < _BURST_BLOCKS
                await pause(stop, _PASS_S if is_done else min(_PASS_S, _REST * (time.monotonic() - began_s)))
            except TROUBLE as error:
                await pause(stop, condition.ill(error))
