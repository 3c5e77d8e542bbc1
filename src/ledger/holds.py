"""Holding vouchers until two persons have looked at them, releasing them, and taking them back for good.

Each is a step of the voucher's life like its use: the next version is a key, so of a hold and a till that
want the same voucher one gets it.  A hold moves no money; what is void gives its money back to the pool.
A held voucher still expires: a hold stops no clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from ledger.admin import Action
from ledger.statements import statement

_CHANGE = statement("change_hold")
_SELECT = statement("select_holds")

_NAME = re.compile(r"([A-Za-z0-9-]{1,64}):([1-9][0-9]{0,8})", re.ASCII)

# What an act makes of a voucher: the event, the state to begin with, the state after it.
_STEPS: Mapping[Action, tuple[str, str, str]] = {
    Action.HOLD: ("HOLD", "ISSUED", "HELD"),
    Action.RELEASE: ("RELEASE", "HELD", "ISSUED"),
    Action.VOID: ("VOID", "HELD", "VOID"),
}


@dataclass(frozen=True, slots=True, order=True)
class VoucherName:
    """A voucher by its stock and number, which is no secret: ``qijiang-2023-r1-general-1:17``."""

    stock_id: str
    claim_no: int

    @classmethod
    def read(cls, text: str) -> VoucherName:
        """Read a name.

        Raises:
            ValueError: It is none.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            raise ValueError(f"{text} is not the name of a voucher, STOCK:NUMBER")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        """Write the name."""
        return f"{self.stock_id}:{self.claim_no}"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold, who agreed on it, and its end; ``ended_by`` is RELEASE, VOID or EXPIRE, None while it lasts."""

    stock_id: str
    claim_no: int
    held_at: datetime
    request_no: int
    requested_by: str
    approved_by: str
    reason: str
    ended_at: datetime | None
    ended_by: str | None
    end_request_no: int | None
    end_reason: str | None


async def change(
    connection: asyncpg.Connection,
    action: Action,
    vouchers: Sequence[VoucherName],
    *,
    request_no: int,
    at: datetime | None = None,
) -> list[VoucherName]:
    """Hold, release or void vouchers, and return those for which it was done.

    Left out are vouchers that the request does not name, those in another state, as of a till that was faster, and
    those whose money has not come.

    Args:
        connection: To the vault, outside a transaction.
        action: HOLD, RELEASE or VOID.
        vouchers: Which ones.
        request_no: The request that two persons agreed on and whose act has begun.
        at: The instant; None for the vault's clock.

    Raises:
        asyncpg.ForeignKeyViolationError: The request is of another kind, or its act has not begun.
    """
    kind, before, after = _STEPS[action]
    names = sorted(set(vouchers))
    rows = await connection.fetch(
        _CHANGE,
        [each.stock_id for each in names],
        [each.claim_no for each in names],
        kind,
        before,
        after,
        request_no,
        at,
    )
    return [VoucherName(row["stock_id"], row["claim_no"]) for row in rows]


async def holds(connection: asyncpg.Connection, holds_max: int) -> list[Hold]:
    """Return the holds there were, the latest first."""
    return [Hold(**row) for row in await connection.fetch(_SELECT, holds_max)]
