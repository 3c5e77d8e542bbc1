"""Records claims: the one place where a reservation becomes ownership.

A batch is one statement, fence and insert, and a transaction by itself.  If that has not recorded
every entry, a second transaction classifies them and keeps dead letters: what is neither recorded
nor a repeat never stops the entries behind it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from ledger.catalogue import StockRow
from ledger.entry import Entry, Malformed, decode, digest
from ledger.statements import statement

_RECORD = statement("record_claims")
# Rows that nobody has recorded before need no look for those that are there: without it a row costs the vault a fifth
# less, and one that is there is an error.
RECORD_NEW = _RECORD.replace("ON CONFLICT DO NOTHING\n", "")
_CLASSIFY = statement("classify_claims")
_INSERT_DEAD_LETTERS = statement("insert_dead_letters")

RECORDED = "RECORDED"
FENCED, MALFORMED, FORBIDDEN = "FENCED", "MALFORMED", "FORBIDDEN"

RawEntry = tuple[str, Mapping[str, str]]  # stream id and fields, as they are read

# What the database says when a row itself cannot be stored, as opposed to the database being in trouble.
_POISON = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that the vault does not record.

    Attributes:
        stream_id: Its id in the stream.
        reason: CONFLICT, FENCED, MALFORMED or FORBIDDEN.
        fields: Its fields as they were read.
        detail: What is wrong, for people.
    """

    stream_id: str
    reason: str
    fields: Mapping[str, str]
    detail: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch.

    Attributes:
        recorded: Rows that are new.
        replayed: Entries that were recorded before.
        refused: Entries that were not recorded, each now a dead letter; in the order in which they were read.
    """

    recorded: int
    replayed: int
    refused: tuple[Refused, ...]


class Batch(NamedTuple):
    """Entries as they were read, sorted out.

    Attributes:
        fields_of: Their fields by stream id, ascending.
        readable: What can be recorded.
        columns: The same as the vault takes it: an array for each column.
        malformed: What cannot.
    """

    fields_of: dict[str, Mapping[str, str]]
    readable: Sequence[Entry]
    columns: Sequence[Sequence[object]]
    malformed: Sequence[Refused]

    @property
    def last_id(self) -> str:
        """The id of the last of them."""
        return next(reversed(self.fields_of))

    @classmethod
    def of(cls, entries: Sequence[RawEntry]) -> Batch:
        """Sort out entries: stream ids and fields as they were read."""
        readable: list[Entry] = []
        malformed: list[Refused] = []
        for stream_id, fields in entries:
            entry = decode(stream_id, fields)
            if isinstance(entry, Malformed):
                malformed.append(Refused(stream_id, MALFORMED, fields, entry.reason))
            else:
                readable.append(entry)
        return cls(dict(entries), readable, _columns(readable), malformed)


async def record(connection: asyncpg.Connection, stock: StockRow, entries: Sequence[RawEntry]) -> Recorded:
    """Record entries of one stock as they were read; see ``record_batch``."""
    return await record_batch(connection, stock, Batch.of(entries))


async def record_batch(connection: asyncpg.Connection, stock: StockRow, batch: Batch) -> Recorded:
    """Record entries of one stock; when it returns they are committed.

    Args:
        connection: To the vault, outside a transaction.
        stock: Whose stream they were read from.
        batch: The entries.

    Raises:
        asyncpg.PostgresError, OSError: The database is in trouble.  What of the batch is committed is not known;
            recording it again is harmless.
    """
    recorded: int | None = None
    refused = list(batch.malformed)
    with suppress(*_POISON):  # a row that is there already, or one that nothing can store
        recorded = await connection.fetchval(RECORD_NEW, stock.stock_no, *batch.columns)
    if recorded == len(batch.readable) and not refused:
        return Recorded(recorded, 0, ())
    async with connection.transaction(isolation="read_committed"):
        if recorded is None:
            recorded, unrecorded = await _record_part(connection, stock, batch.readable)
        else:
            unrecorded = await _unrecorded(connection, stock, batch.readable, batch.columns)
        await _bury(connection, stock, batch, refused, unrecorded)
    return Recorded(recorded, len(batch.readable) - recorded - len(unrecorded), tuple(refused))


_Unrecorded = list[tuple[Entry, str, str]]  # entry, reason, detail
_Columns = Sequence[Sequence[object]]


async def _record_part(
    connection: asyncpg.Connection, stock: StockRow, entries: Sequence[Entry]
) -> tuple[int, _Unrecorded]:
    """Insert entries, halving a part that the database refuses until the poison rows stand alone."""
    columns = _columns(entries)
    try:
        async with connection.transaction():
            recorded: int = await connection.fetchval(_RECORD, stock.stock_no, *columns)
    except _POISON as error:
        if len(entries) == 1:
            return 0, [(entries[0], FORBIDDEN, str(error.args[0]))]  # without its DETAIL, which quotes the row
        middle = len(entries) // 2
        left, unrecorded = await _record_part(connection, stock, entries[:middle])
        right, unrecorded_too = await _record_part(connection, stock, entries[middle:])
        return left + right, unrecorded + unrecorded_too
    return recorded, await _unrecorded(connection, stock, entries, columns)


async def _unrecorded(
    connection: asyncpg.Connection, stock: StockRow, entries: Sequence[Entry], columns: _Columns
) -> _Unrecorded:
    """Return which entries the vault does not have, and why: a statement after the one that inserted."""
    verdicts = await connection.fetch(_CLASSIFY, stock.stock_no, *columns)
    return [
        (entry, row["verdict"], f"claim {entry.claim_no} in epoch {entry.epoch}")
        for entry, row in zip(entries, verdicts, strict=True)
        if row["verdict"] != RECORDED
    ]


def _columns(entries: Sequence[Entry]) -> _Columns:
    return (
        [entry.claim_no for entry in entries],
        [entry.epoch for entry in entries],
        [entry.user_ref for entry in entries],
        [entry.stream_ms for entry in entries],
        [entry.stream_seq for entry in entries],
        [entry.nth for entry in entries],
    )


async def _bury(
    connection: asyncpg.Connection, stock: StockRow, batch: Batch, refused: list[Refused], unrecorded: _Unrecorded
) -> None:
    """Keep what is refused as dead letters, those of ``refused`` and those not recorded, which are added to it."""
    refused += (
        Refused(entry.stream_id, reason, batch.fields_of[entry.stream_id], why) for entry, reason, why in unrecorded
    )
    if not refused:
        return
    place = {stream_id: number for number, stream_id in enumerate(batch.fields_of)}
    refused.sort(key=lambda each: place[each.stream_id])
    await connection.execute(
        _INSERT_DEAD_LETTERS,
        stock.stock_no,
        [each.stream_id for each in refused],
        [each.reason for each in refused],
        [_as_json(each.fields) for each in refused],
        [digest(each.fields) for each in refused],
        [each.detail for each in refused],
    )


def _as_json(fields: Mapping[str, str]) -> str:
    """Write fields as JSON; the database's JSON has no NUL character, so it is shown as an escape."""
    return json.dumps({name.replace("\0", r"\0"): value.replace("\0", r"\0") for name, value in fields.items()})
