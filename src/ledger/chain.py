"""Checks the chains: recomputes every block from the rows as they are now, and names those that differ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

import asyncpg

from ledger.blocks import NO_HASH, block_hash, microseconds
from ledger.journals import Block, Journal, JournalRow, blocks, every_row, journals
from ledger.seal import BLOCK_ROWS_MAX
from ledger.statements import statement

# A claim is committed seconds after its transaction began, or never: what comes later no worker has recorded.
LATE_US = 60_000_000

_Group = tuple[int | None, list[JournalRow]]  # a block's number and its rows; no rows: there are no more

_SELECT_AFTER_THE_END = statement("select_claims_after_the_end")


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head that was published: what the journal must have had then, and must have for ever."""

    journal: str
    block_no: int
    hash: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was sealed.

    Attributes:
        journal: Its name.
        block_no: The block that differs; None for a row in no block.
        sentence: What is wrong.
    """

    journal: str
    block_no: int | None
    sentence: str

    def __str__(self) -> str:
        """Name the journal and the block."""
        where = self.journal if self.block_no is None else f"{self.journal} block {self.block_no}"
        return f"{where}: {self.sentence}"


@dataclass(slots=True)
class ChainReport:
    """What was found of one journal.

    Attributes:
        journal: Its name.
        blocks: How many it has.
        rows: Rows in blocks.
        unsealed: Rows that are in no block yet.
        head: Hash of the newest block, hexadecimal; empty before the first.
        faults: What is wrong, in the order of the blocks.
    """

    journal: str
    blocks: int = 0
    rows: int = 0
    unsealed: int = 0
    head: str = ""
    faults: list[Fault] = field(default_factory=list)


async def check_chains(connection: asyncpg.Connection, anchors: Sequence[Anchor] = ()) -> list[ChainReport]:
    """Recompute every journal, at one instant of the vault; memory holds one block at a time.

    Args:
        connection: To the vault, outside a transaction.
        anchors: Heads that were published, to be found in the chains.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = await journals(connection)
        reports = [await _check(connection, journal, anchors) for journal in found]
        by_name = {report.journal: report for report in reports}
        for row in await connection.fetch(_SELECT_AFTER_THE_END):
            if row["journal"] in by_name:
                fault = Fault(
                    row["journal"], row["block_no"], f"row {row['claim_no']} was recorded after its round's end"
                )
                by_name[row["journal"]].faults.append(fault)
    unknown = [anchor for anchor in anchors if anchor.journal not in by_name]
    for anchor in unknown:
        fault = Fault(anchor.journal, anchor.block_no, "was published, and the journal is gone")
        reports.append(ChainReport(anchor.journal, faults=[fault]))
    return reports


async def _check(connection: asyncpg.Connection, journal: Journal, anchors: Iterable[Anchor]) -> ChainReport:
    report = ChainReport(journal.name)
    groups = _by_block(every_row(connection, journal))
    block_no, rows = await _next(groups)
    previous, took_all_us = NO_HASH, 0
    for expected_no, block in enumerate(await blocks(connection, journal.journal_no), start=1):
        while block_no is not None and block_no < block.block_no:  # rows of a block that is gone
            report.faults.append(Fault(journal.name, block_no, "has rows and is not there itself"))
            block_no, rows = await _next(groups)
        mine: list[JournalRow] = []
        if block_no == block.block_no:
            mine = rows
            block_no, rows = await _next(groups)
        report.faults += (
            Fault(journal.name, block.block_no, sentence)
            for sentence in _faults_of(
                journal.name, block, mine, expected_no=expected_no, previous=previous, took_all_us=took_all_us
            )
        )
        previous = block.hash
        if block.row_count < BLOCK_ROWS_MAX:
            took_all_us = microseconds(block.sealed_at)
        report.blocks, report.rows, report.head = block.block_no, report.rows + len(mine), block.hash.hex()
        for anchor in anchors:
            if (anchor.journal, anchor.block_no) == (journal.name, block.block_no) and anchor.hash != report.head:
                report.faults.append(Fault(journal.name, block.block_no, f"was published with the hash {anchor.hash}"))
    await _check_rest(report, groups, (block_no, rows), took_all_us)
    for anchor in anchors:
        if anchor.journal == journal.name and anchor.block_no > report.blocks:
            report.faults.append(Fault(journal.name, anchor.block_no, "was published, and is gone"))
    return report


async def _check_rest(
    report: ChainReport,
    groups: AsyncIterator[_Group],
    group: _Group,
    took_all_us: int,
) -> None:
    """Take in what is behind the last block: rows of blocks that are gone, and rows in no block."""
    block_no, rows = group
    while rows:
        if block_no is not None:
            report.faults.append(Fault(report.journal, block_no, "has rows and is not there itself"))
        else:
            report.unsealed += len(rows)
            report.faults += (
                Fault(report.journal, None, f"row {row.row_no} is in no block, and older than block {report.blocks}")
                for row in rows
                if _is_late(row, took_all_us)
            )
        block_no, rows = await _next(groups)


def _faults_of(
    name: str, block: Block, rows: Sequence[JournalRow], *, expected_no: int, previous: bytes, took_all_us: int
) -> Iterable[str]:
    if block.block_no != expected_no:
        yield f"comes where block {expected_no} must be"
    if block.previous != previous:
        yield "does not follow from the block before it"
    if block.row_count != len(rows):
        yield f"was sealed with {block.row_count} rows and has {len(rows)}"
    elif block_hash(name, block.block_no, block.sealed_at, block.previous, [row.line for row in rows]) != block.hash:
        yield "its rows are not those that were sealed"
    for row in rows:
        if _is_late(row, took_all_us):
            yield f"row {row.row_no} is older than a block before this one that took all rows there were"


def _is_late(row: JournalRow, took_all_us: int) -> bool:
    return row.recorded_us is not None and row.recorded_us < took_all_us - LATE_US


async def _next(groups: AsyncIterator[_Group]) -> _Group:
    async for group in groups:
        return group
    return None, []


async def _by_block(rows: AsyncIterator[JournalRow]) -> AsyncIterator[_Group]:
    """Put together the rows of each block; those in no block come in parts."""
    block_no: int | None = None
    group: list[JournalRow] = []
    async for row in rows:
        if group and (row.block_no != block_no or (block_no is None and len(group) == BLOCK_ROWS_MAX)):
            yield block_no, group
            group = []
        block_no = row.block_no
        group.append(row)
    if group:
        yield block_no, group
