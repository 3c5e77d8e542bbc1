"""The journals that are sealed, their newest blocks, and their rows as the lines that blocks are made of.

A journal is the issue log of one stock, ``claims/{stock_id}``, the money of one campaign,
``money/{campaign_id}``, or what ``staff`` asked for, approved and did: each can be checked, and
published, without any other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from ledger.blocks import NO_HASH, entry_hash, line_of, opening_of
from ledger.statements import statement

BEFORE_ALL = -1  # below the number of every row
STAFF = "staff"  # the journal of what staff asked for, approved and did

_EVERY_ROW = 2**62
_RECORDED_US = 7  # where a claim's fields have the instant of recording

_SELECT_JOURNALS = statement("select_journals")
_LAST_SEALED = statement("select_last_sealed")
_SELECT_BLOCKS = statement("select_blocks")
_CLAIM_ROWS = statement("select_claim_rows")
_MONEY_ROWS = statement("select_money_rows")
_DEED_ROWS = statement("select_deed_rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A journal and its head.

    Attributes:
        stock_no: Of the stock whose claims it holds, or None.
        campaign_no: Of the campaign whose money it holds, or None.
        name: ``claims/{stock_id}``, ``money/{campaign_id}`` or ``staff``.
        block_no: Its newest block; 0 before the first.
        hash: Of that block; None before the first.
        sealed_at: When that block was sealed; None before the first.
        row_count: Rows in all its blocks.
    """

    journal_no: int
    stock_no: int | None
    campaign_no: int | None
    name: str
    block_no: int
    hash: bytes | None
    sealed_at: datetime | None
    row_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block as it was sealed."""

    block_no: int
    row_count: int
    previous_hash: bytes | None
    hash: bytes
    sealed_at: datetime

    @property
    def previous(self) -> bytes:
        """The hash of the block before, or what stands for it."""
        return self.previous_hash or NO_HASH


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """A row of a journal.

    Attributes:
        block_no: The block it is in; None if it is in none yet.
        row_no: The number of the claim or of the event, or one that is made of those of requests and deeds.
        line: What the block's hash covers.
        recorded_us: When a claim was recorded, in Unix microseconds; None for events.
        opening: What opens a claim's entry; None for events.
    """

    block_no: int | None
    row_no: int
    line: str
    recorded_us: int | None = None
    opening: str | None = field(default=None, repr=False)


async def journals(connection: asyncpg.Connection) -> list[Journal]:
    """Return every journal, in the order they began; those that nobody has sealed from yet may be missing."""
    return [Journal(**row) for row in await connection.fetch(_SELECT_JOURNALS)]


async def blocks(connection: asyncpg.Connection, journal_no: int) -> list[Block]:
    """Return the blocks of a journal, in order."""
    return [Block(**row) for row in await connection.fetch(_SELECT_BLOCKS, journal_no)]


async def last_sealed(connection: asyncpg.Connection, journal: Journal) -> int:
    """Return the highest number of a row that is in a block; ``BEFORE_ALL`` if none is."""
    return int(await connection.fetchval(_LAST_SEALED, journal.journal_no)) if journal.row_count else BEFORE_ALL


async def unsealed_rows(
    connection: asyncpg.Connection, journal: Journal, after_no: int, rows_max: int
) -> Iterator[JournalRow]:
    """Return rows of a journal that are in no block, in the order of their numbers; each is made when it is asked for.

    Args:
        connection: To the vault.
        journal: The journal.
        after_no: Rows of this number and below are not looked at.
        rows_max: How many at most.
    """
    rows = await connection.fetch(*_query(journal), True, rows_max, after_no)
    return (_row_of(journal, row) for row in rows)


async def every_row(connection: asyncpg.Connection, journal: Journal) -> AsyncIterator[JournalRow]:
    """Yield every row of a journal, block by block, those in no block last; needs a transaction."""
    async for row in connection.cursor(*_query(journal), False, _EVERY_ROW, BEFORE_ALL):
        yield _row_of(journal, row)


def claim_row(stock_id: str, row: asyncpg.Record) -> JournalRow:
    """Return a claim as a row of its stock's journal."""
    fields, claim_no = row["fields"], row["row_no"]
    opening = opening_of(row["user_ref"], stock_id, claim_no)
    return JournalRow(
        block_no=row["block_no"],
        row_no=claim_no,
        line=line_of([*fields, entry_hash(stock_id, claim_no, int(fields[2]), opening)]),
        recorded_us=int(fields[_RECORDED_US]),
        opening=opening,
    )


def _query(journal: Journal) -> tuple[str, *tuple[int, ...]]:
    if journal.stock_no is not None:
        return _CLAIM_ROWS, journal.journal_no, journal.stock_no
    if journal.campaign_no is not None:
        return _MONEY_ROWS, journal.journal_no, journal.campaign_no
    return _DEED_ROWS, journal.journal_no


def _row_of(journal: Journal, row: asyncpg.Record) -> JournalRow:
    if journal.stock_no is not None:
        return claim_row(journal.name.removeprefix("claims/"), row)
    return JournalRow(block_no=row["block_no"], row_no=row["row_no"], line=line_of(row["fields"]))
