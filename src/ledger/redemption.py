"""Looking at what vouchers were used for, and undoing it when the payment never completed.

Each is one look and one statement.  The statement has the whole effect or none: the voucher's next
version is a key, so of two that want it one gets it, and the other looks again.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from ledger import china
from ledger.requests import Answer, Refusal, Request, answer_once, as_text, earlier_answer, refuse
from ledger.statements import statement

_FIND_REDEMPTION = statement("find_redemption")
_INSERT_REVERSAL = statement("insert_reversal")

_ID_BYTES = 12


def new_id(letter: str) -> str:
    """Return an identifier that cannot be guessed and sorts by nothing."""
    return letter + secrets.token_hex(_ID_BYTES)


async def find(connection: asyncpg.Connection, redemption_id: str) -> dict[str, Any] | None:
    """Return a redemption and what became of it; None if there is none of this id."""
    row = await look(connection, redemption_id)
    return None if row["redemption_no"] is None else _shown(row)


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "redemption_id": row["redemption_id"],
        "state": "USED" if row["reversed_at"] is None else "REVERSED",
        "campaign_id": row["campaign_id"],
        "stock_id": row["stock_id"],
        "merchant_no": row["merchant_no"],
        "order_no": row["order_no"],
        "channel": row["channel"],
        "order_amount_fen": row["order_amount_fen"],
        "discount_fen": row["discount_fen"],
        "payable_fen": row["order_amount_fen"] - row["discount_fen"],
        "redeemed_at": china.told(row["redeemed_at"]),
        "reversed_at": None if row["reversed_at"] is None else china.told(row["reversed_at"]),
        "refunded_fen": row["refund_total_fen"],
        "discount_returned_fen": row["returned_total_fen"],
    }


async def look(
    connection: asyncpg.Connection, redemption_id: str, request: Request | None = None, at: datetime | None = None
) -> asyncpg.Record:
    """Return all that decides about a redemption and, if asked for, what a request was answered."""
    caller, out_request_no = (request.caller, request.out_request_no) if request else (None, None)
    row = await connection.fetchrow(_FIND_REDEMPTION, redemption_id, caller, out_request_no, at)
    assert row is not None  # noqa: S101  the statement always gives a row
    return row


def reversal_request(caller: str, out_request_no: str, redemption_id: str) -> Request:
    """Return the caller's request to undo a redemption."""
    return Request.of(caller, out_request_no, {"does": "reverse", "redemption_id": redemption_id})


async def reverse(
    connection: asyncpg.Connection,
    request: Request,
    redemption_id: str,
    *,
    within: timedelta,
    at: datetime | None = None,
) -> Answer:
    """Undo a redemption whose payment never completed (冲正); the voucher can be used again while it is valid.

    Args:
        connection: To the vault, outside a transaction.
        request: Whose request this is.
        redemption_id: What to undo.
        within: How long after the redemption.
        at: The instant; None for the vault's clock.

    Raises:
        Contended: Others were faster every time.
        asyncpg.PostgresError, OSError: The vault is in trouble; repeat the request to know the outcome.
    """

    async def attempt() -> Answer:
        row = await look(connection, redemption_id, request, at)
        if (earlier := earlier_answer(request, row)) is not None:
            return earlier
        if (refusal := _refusal_to_reverse(row, within)) is not None:
            return await refuse(connection, request, refusal)
        answer = {
            "redemption_id": redemption_id,
            "state": "REVERSED",
            "voucher_state": "ISSUED" if row["at"] < row["available_until"] else "EXPIRED",
            "discount_fen": row["discount_fen"],
            "reversed_at": china.told(row["at"]),
        }
        await connection.execute(
            _INSERT_REVERSAL,
            row["redemption_no"],
            row["next_version"],
            row["at"],
            request.caller,
            request.out_request_no,
            request.digest,
            as_text(answer),
        )
        return Answer(None, answer)

    return await answer_once(attempt)


def _refusal_to_reverse(row: asyncpg.Record, within: timedelta) -> Refusal | None:
    if row["redemption_no"] is None:
        return Refusal.RESOURCE_NOT_EXISTS
    if row["reversed_at"] is not None:
        return Refusal.ALREADY_REVERSED
    if row["state"] == "REFUNDED":
        return Refusal.ALREADY_REFUNDED
    if row["is_settled"]:
        return Refusal.ALREADY_SETTLED
    return Refusal.REVERSAL_TOO_LATE if row["at"] - row["redeemed_at"] > within else None
