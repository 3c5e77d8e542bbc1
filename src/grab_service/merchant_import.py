"""The import of a bank's list of merchants: every bad row is reported, and nothing is stored by halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import asyncpg

from grab_service.merchant_list import ListRow
from ledger import merchants
from ledger.merchant_facts import MerchantRules, NewMerchant
from ledger.merchants import Verdict

_BATCH_ROWS = 500  # of one statement

Advance = Callable[[int], None]
Progress = Callable[[str, int], AbstractContextManager[Advance]]  # what is done, and with how many


@contextmanager
def untold(_: str, __: int) -> Iterator[Advance]:
    """Show nobody how far an import is."""
    yield lambda _: None


@dataclass(frozen=True, slots=True)
class BadRow:
    """One thing that is wrong with one row; column ``row`` is the row as a whole."""

    line: int
    column: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a list is to be imported.

    Attributes:
        actor: Who imports it.
        reason: What the journal says of it.
        is_partial: Whether good rows are stored although others are bad.
        approves: Whether what was imported is approved too.
    """

    actor: str
    reason: str
    is_partial: bool
    approves: bool


@dataclass(slots=True)
class Outcome:
    """What an import has done."""

    rows: int
    imported: int = 0
    approved: int = 0
    faults: list[BadRow] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"ok": not self.faults, **asdict(self)}


class _TakenMeanwhile(Exception):
    """Numbers were given to other merchants since they were looked up."""

    def __init__(self, numbers: frozenset[str]) -> None:
        super().__init__(numbers)
        self.numbers = numbers


async def import_rows(
    connection: asyncpg.Connection, rows: Sequence[ListRow], wish: Wish, progress: Progress = untold
) -> Outcome:
    """Check every row and store the good ones, all or nothing unless the wish is a partial one.

    Args:
        connection: To the vault, outside a transaction.
        rows: The list.
        wish: How it is to be imported.
        progress: Shows how far it is.

    Raises:
        asyncpg.PostgresError: The vault cannot; nothing was stored then.
    """
    rules = await merchants.stored_rules(connection)
    with progress("checking", len(rows)) as advance:
        good, faults = _judged(rows, rules, wish, advance)
    known = await merchants.known_numbers(connection, list(good))
    faults += [BadRow(good[number][0], "merchant_no", "is registered already") for number in known]
    new = [merchant for number, (_, merchant) in good.items() if number not in known]
    outcome = Outcome(len(rows), faults=sorted(faults, key=lambda fault: fault.line))
    if not new or (faults and not wish.is_partial):
        return outcome
    try:
        taken = await _store_all(connection, new, wish, progress)
        outcome.imported = len(new) - len(taken)
        outcome.approved = outcome.imported if wish.approves else 0
    except _TakenMeanwhile as error:
        taken = error.numbers
    outcome.faults += [BadRow(good[number][0], "merchant_no", "was registered meanwhile") for number in taken]
    return outcome


def _judged(
    rows: Sequence[ListRow], rules: MerchantRules, wish: Wish, advance: Advance
) -> tuple[dict[str, tuple[int, NewMerchant]], list[BadRow]]:
    """Return the good rows by their merchant's number, and what is wrong with the others."""
    good: dict[str, tuple[int, NewMerchant]] = {}
    first_lines: dict[str, int] = {}
    faults: list[BadRow] = []
    for row in rows:
        merchant = NewMerchant.of_texts(row.texts, row.accepts)
        found = [BadRow(row.line, column, reason) for column, reason in row.faults]
        unread = {column for column, _ in row.faults}
        judged = rules.faults_of(merchant)
        if wish.approves and not any(fault.field == "accepts" for fault in judged):
            judged += rules.approval_faults_of(merchant.accepts)
        if "row" not in unread:
            found += [BadRow(row.line, fault.field, fault.reason) for fault in judged if fault.field not in unread]
        first_line = first_lines.setdefault(merchant.merchant_no, row.line) if merchant.merchant_no else row.line
        if first_line != row.line:
            found.append(BadRow(row.line, "merchant_no", f"stands in line {first_line} already"))
        if found:
            faults += found
        else:
            good[merchant.merchant_no] = (row.line, merchant)
        advance(1)
    return good, faults


async def _store_all(
    connection: asyncpg.Connection, new: Sequence[NewMerchant], wish: Wish, progress: Progress
) -> frozenset[str]:
    """Store merchants in one transaction; return the numbers that are taken and were left out.

    Raises:
        _TakenMeanwhile: Some are taken and the wish is not a partial one; nothing was stored.
    """
    taken: set[str] = set()
    async with connection.transaction():
        with progress("storing", len(new)) as advance:
            for begin in range(0, len(new), _BATCH_ROWS):
                batch = new[begin : begin + _BATCH_ROWS]
                taken |= await _store(connection, batch, wish)
                advance(len(batch))
        if taken and not wish.is_partial:
            raise _TakenMeanwhile(frozenset(taken))
    return frozenset(taken)


async def _store(connection: asyncpg.Connection, batch: Sequence[NewMerchant], wish: Wish) -> frozenset[str]:
    taken = await merchants.submit(connection, batch, actor=wish.actor, reason=wish.reason)
    if wish.approves:
        numbers = [merchant.merchant_no for merchant in batch if merchant.merchant_no not in taken]
        refusals = await merchants.decide(connection, numbers, Verdict.APPROVE, actor=wish.actor, reason=wish.reason)
        assert not refusals  # noqa: S101  stored a moment ago, in this transaction, from rows that can be approved
    return taken
