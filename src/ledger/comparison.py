"""What is settled against what the bank or UnionPay counted: line by line, before money leaves.

The key of a line is merchant, order and kind.  An order may stand there several times, as when a
reversed voucher was used again, so the lines of a key are compared as multisets of amounts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

import asyncpg

from ledger.settlement import Item, Settlement, SettlementRefused
from ledger.statements import statement

_SELECT_CAMPAIGN = statement("select_campaign_locked")
_INSERT = statement("insert_comparison")

# Whether goods came back before or after the payout is of no concern to the other side.
_KIND_OF = {"CLAW_BACK": "REFUND"}


class Verdict(StrEnum):
    """How a line of one side stands to those of the other."""

    ONLY_OURS = "ONLY_OURS"
    ONLY_THEIRS = "ONLY_THEIRS"
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What a line is about; ``kind`` is REDEEM, REVERSE or REFUND."""

    merchant_no: str
    order_no: str
    kind: str

    @classmethod
    def of(cls, merchant_no: str, order_no: str, kind: str) -> Key:
        """Return the key of a line; a claw-back is a refund."""
        return cls(merchant_no, order_no, _KIND_OF.get(kind, kind))


@dataclass(frozen=True, slots=True)
class Difference:
    """A line on which the sides do not agree; the amount of the side that lacks it is None, both are without sign."""

    key: Key
    verdict: Verdict
    ours_fen: int | None
    theirs_fen: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found.

    Attributes:
        agreeing: Lines that both sides have, with the same amount.
        differences: The others, in the order of their keys.
    """

    agreeing: int
    differences: Sequence[Difference]

    def total(self, verdict: Verdict) -> tuple[int, int]:
        """Return how many lines have a verdict, and how many fen: theirs, ours, or ours less theirs."""
        found = [each for each in self.differences if each.verdict is verdict]
        sign = -1 if verdict is Verdict.AMOUNT_DIFFERS else 1
        return len(found), sum((each.ours_fen or 0) + sign * (each.theirs_fen or 0) for each in found)


def compare(items: Iterable[Item], theirs: Iterable[tuple[Key, int]]) -> Comparison:
    """Compare the events of a settlement with the other side's lines, amounts in fen without sign."""
    ours_by_key = _by_key((Key.of(item.merchant_no, item.order_no, item.kind), item.amount_fen) for item in items)
    theirs_by_key = _by_key(theirs)
    agreeing, differences = 0, []
    for key in sorted(ours_by_key.keys() | theirs_by_key.keys()):
        ours, others = ours_by_key.get(key, Counter()), theirs_by_key.get(key, Counter())
        agreeing += (ours & others).total()
        pairs = zip_longest(sorted((ours - others).elements()), sorted((others - ours).elements()))
        differences += [Difference(key, _verdict(mine, their), mine, their) for mine, their in pairs]
    return Comparison(agreeing, differences)


async def record(
    connection: asyncpg.Connection, settlement: Settlement, comparison: Comparison, *, subject: str, list_digest: bytes
) -> int:
    """Write down what was found; return the number of the comparison.

    Args:
        connection: To the vault, outside a transaction.
        settlement: What was compared.
        comparison: What was found.
        subject: Who compared.
        list_digest: SHA-256 of the other side's list.

    Raises:
        SettlementRefused: The name is empty or too long.
    """
    totals = [number for verdict in Verdict for number in comparison.total(verdict)]
    facts = (settlement.settlement_no, subject, list_digest, comparison.agreeing, *totals)
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.fetchrow(_SELECT_CAMPAIGN, settlement.campaign_id)  # no approval comes between
            number: int = await connection.fetchval(_INSERT, *facts)
    except asyncpg.CheckViolationError as error:
        raise SettlementRefused("the name is empty or too long") from error
    return number


def _by_key(lines: Iterable[tuple[Key, int]]) -> Mapping[Key, Counter[int]]:
    found: defaultdict[Key, Counter[int]] = defaultdict(Counter)
    for key, amount_fen in lines:
        found[key][amount_fen] += 1
    return found


def _verdict(ours_fen: int | None, theirs_fen: int | None) -> Verdict:
    if theirs_fen is None:
        return Verdict.ONLY_OURS
    return Verdict.ONLY_THEIRS if ours_fen is None else Verdict.AMOUNT_DIFFERS
