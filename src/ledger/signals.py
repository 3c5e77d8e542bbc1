"""Signals for review: what looks like abuse is noticed from the books, and written down once.

Nothing follows from a signal by itself: people look, and two of them may hold the vouchers concerned.
Each look is a few bounded statements, off the way of any claim or use.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from ledger.statements import statement

_BURSTS = statement("signal_bursts")
_SPLITS = statement("signal_splits")
_ADDRESSES = statement("signal_addresses")
_INSERT_USES = statement("insert_address_uses")
_FORGET = statement("forget_address_uses")
_COUNT = statement("count_signals_of_a_day")
_SELECT = statement("select_signals")
_SELECT_VOUCHERS = statement("select_signal_vouchers")

KINDS = ("MERCHANT_BURST", "SPLIT_PAYMENTS", "SHARED_ADDRESS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What is still expected.

    Attributes:
        burst_vouchers_max: Vouchers that one merchant takes within ``burst_s`` seconds.
        split_s: Payments of one owner at one merchant within so many seconds belong together.
        split_percent_max: So much above the threshold is just above it, in percent.
        address_users_max: Users who take tickets from one block of addresses on one day.
        address_days: For how many days it is remembered who took tickets from where.
    """

    burst_vouchers_max: int = 30
    burst_s: int = 60
    split_s: int = 600
    split_percent_max: int = 5
    address_users_max: int = 50
    address_days: int = 7


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that people should look at.

    Attributes:
        subject: Merchant, merchant and user, or the keyed hash of a block of addresses.
        begins_at: Of the span in which it was noticed.
        vouchers: ``STOCK:NUMBER`` of some that it concerns.
        figures: Counts and thresholds as they were.
    """

    signal_no: int
    kind: str
    subject: str
    begins_at: datetime
    merchant_no: str | None
    vouchers: list[str]
    figures: Mapping[str, Any]
    noticed_at: datetime


@dataclass(frozen=True, slots=True)
class Concerned:
    """A voucher of a user whom a signal concerns; ``merchant_no`` is where it was used last."""

    stock_id: str
    claim_no: int
    user_ref: str
    claimed_at: datetime
    state: str
    merchant_no: str | None


async def notice(connection: asyncpg.Connection, thresholds: Thresholds, *, back: timedelta) -> int:
    """Look at the latest uses and tickets, write down what is above the thresholds, and return how much is new.

    Args:
        connection: To the vault, outside a transaction.
        thresholds: What is still expected.
        back: How far to look back; what was noticed before is not written again.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    new = await connection.fetch(_BURSTS, thresholds.burst_s, thresholds.burst_vouchers_max, back)
    new += await connection.fetch(_SPLITS, thresholds.split_s, thresholds.split_percent_max, back)
    new += await connection.fetch(_ADDRESSES, thresholds.address_users_max)
    await connection.execute(_FORGET, thresholds.address_days)
    return len(new)


async def note_address_uses(connection: asyncpg.Connection, uses: Iterable[tuple[bytes, str]]) -> None:
    """Remember who took tickets from where today.

    Args:
        connection: To the vault.
        uses: Keyed hash of a block of addresses, and reference of a user who took a ticket from it.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    pairs = list(uses)
    await connection.execute(_INSERT_USES, [address for address, _ in pairs], [user_ref for _, user_ref in pairs])


async def of_a_day(connection: asyncpg.Connection) -> Mapping[str, int]:
    """Return how many signals of each kind were noticed within the last day, those of which there are none as well.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    rows = await connection.fetch(_COUNT)
    return dict.fromkeys(KINDS, 0) | {row["kind"]: row["signals"] for row in rows}


async def signals(connection: asyncpg.Connection, signals_max: int) -> list[Signal]:
    """Return the signals, the latest first."""
    rows = await connection.fetch(_SELECT, signals_max)
    return [Signal(**{**row, "figures": json.loads(row["figures"])}) for row in rows]


async def concerned(connection: asyncpg.Connection, signal_no: int, vouchers_max: int) -> list[Concerned]:
    """Return the vouchers of all users whom a signal concerns, as they are now."""
    return [Concerned(**row) for row in await connection.fetch(_SELECT_VOUCHERS, signal_no, vouchers_max)]
