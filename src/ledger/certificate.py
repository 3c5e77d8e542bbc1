"""What a certificate says: a stock, every claim of it without its owner, and the head of its chain.

The list holds the lines that the blocks are made of, so whoever has it computes the head himself.  A
user who is given the opening of his line can show that it is his; nobody else can, and it shows
nothing of what else he claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from ledger.blocks import merkle_path, merkle_root, microseconds
from ledger.china import told
from ledger.journals import JournalRow, blocks, claim_row, every_row, journals
from ledger.statements import statement

FORMAT = "grab-certificate-1"
PROOF_FORMAT = "grab-proof-1"

_SELECT_STOCK = statement("select_stock_to_certify")
_SELECT_CLAIM = statement("select_claim_to_prove")
_CLOCK = statement("select_clock")
_STREAM_MS = 2  # where a claim's line has the instant by the gate's clock


class NothingToCertify(Exception):
    """There is no such stock, or nothing of it was ever sealed."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stock's certificate before it is signed, and its public list.

    Attributes:
        statement: Names, whole numbers, texts and lists of them; all of it is signed.
        lines: The public list, in the order of the chain.
    """

    statement: Mapping[str, Any]
    lines: Sequence[str] = field(repr=False)
    _rows: Sequence[JournalRow] = field(repr=False)

    def proof(self, claim_no: int) -> dict[str, Any]:
        """Return what shows the owner of a claim, and anybody he gives it to, that it stands in the list.

        Raises:
            KeyError: The claim is in no block.
        """
        index = next((at for at, row in enumerate(self._rows) if row.row_no == claim_no), None)
        if index is None:
            raise KeyError(claim_no)
        row = self._rows[index]
        return {**proof_of(str(self.statement["stock_id"]), row), "path": merkle_path(self.lines, index)}


def proof_of(stock_id: str, row: JournalRow) -> dict[str, Any]:
    """Return a proof for those who have the whole list: the line and what opens it."""
    return {
        "format": PROOF_FORMAT,
        "stock_id": stock_id,
        "claim_no": row.row_no,
        "block_no": row.block_no,
        "line": row.line,
        "opening": row.opening,
    }


async def own_row(connection: asyncpg.Connection, stock_id: str, user_ref: str) -> JournalRow | None:
    """Return a user's claim as it stands in the stock's journal; None if the vault has none."""
    row = await connection.fetchrow(_SELECT_CLAIM, stock_id, user_ref)
    return None if row is None else claim_row(stock_id, row)


async def evidence_of(connection: asyncpg.Connection, stock_id: str) -> Evidence:
    """Read what a certificate of a stock says, at one instant of the vault.

    Raises:
        NothingToCertify: No claim of it is in a block.
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        stock = await connection.fetchrow(_SELECT_STOCK, stock_id)
        if stock is None:
            raise NothingToCertify(f"there is no stock {stock_id}, or 'grab seal' never ran")
        journal = next(each for each in await journals(connection) if each.journal_no == stock["journal_no"])
        if journal.hash is None or journal.sealed_at is None:
            raise NothingToCertify(f"nobody has claimed {stock_id} yet, or 'grab seal' has not run since")
        rows = [row async for row in every_row(connection, journal)]
        sealed = [row for row in rows if row.block_no is not None]
        lines = [row.line for row in sealed]
        instants_ms = [int(line.split("\t")[_STREAM_MS]) for line in lines]
        found = {
            "format": FORMAT,
            "campaign_id": stock["campaign_id"],
            "round_id": stock["round_id"],
            "stock_id": stock_id,
            "quantity": stock["quantity"],
            "claims": len(lines),
            "first_claim_ms": min(instants_ms),
            "last_claim_ms": max(instants_ms),
            "is_final": stock["sealed_at"] is not None and len(sealed) == len(rows),  # no claim can come any more
            "journal": journal.name,
            "blocks": [
                {"rows": block.row_count, "sealed_at_us": microseconds(block.sealed_at), "hash": block.hash.hex()}
                for block in await blocks(connection, journal.journal_no)
            ],
            "head": journal.hash.hex(),
            "merkle_root": merkle_root(lines).hex(),
            "issued_at": told(await connection.fetchval(_CLOCK)),
        }
        return Evidence(found, lines, sealed)
