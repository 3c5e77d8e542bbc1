"""Using a voucher at a merchant, looking at what was used, and undoing it when the payment never completed.

Each is one look and one statement.  The statement has the whole effect or none: the voucher's next
version is a key, so of two that want it one gets it, and the other looks again.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from ledger import china
from ledger.requests import Answer, Overtaken, Refusal, Request, answer_once, as_text, earlier_answer, refuse
from ledger.statements import statement

_FIND_REDEEMABLE = statement("find_redeemable")
_INSERT_REDEMPTION = statement("insert_redemption")
_FIND_REDEMPTION = statement("find_redemption")
_INSERT_REVERSAL = statement("insert_reversal")

_ID_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A payment that a voucher is to be used for.

    Attributes:
        code_hash: SHA-256 of the voucher's code.
        merchant_no: UnionPay number of the merchant.
        order_no: The merchant's number of the payment; it takes one voucher.
        order_amount_fen: Before the discount.
        channel: How the consumer pays: ``payment_code`` or ``scan``.
    """

    code_hash: bytes
    merchant_no: str
    order_no: str
    order_amount_fen: int
    channel: str

    def request(self, caller: str, out_request_no: str) -> Request:
        """Return the caller's request for it."""
        content = asdict(self) | {"code_hash": self.code_hash.hex(), "does": "redeem"}
        return Request.of(caller, out_request_no, content)


def new_id(letter: str) -> str:
    """Return an identifier that cannot be guessed and sorts by nothing."""
    return letter + secrets.token_hex(_ID_BYTES)


async def redeem(
    connection: asyncpg.Connection, request: Request, order: Order, *, at: datetime | None = None
) -> Answer:
    """Use a voucher for an order, or say why not.

    Args:
        connection: To the vault, outside a transaction.
        request: Whose request this is.
        order: What is paid.
        at: The instant; None for the vault's clock.

    Raises:
        Contended: Others were faster every time.
        asyncpg.PostgresError, OSError: The vault is in trouble; repeat the request to know the outcome.
    """

    async def attempt() -> Answer:
        row = await connection.fetchrow(
            _FIND_REDEEMABLE,
            order.code_hash,
            order.merchant_no,
            order.order_no,
            order.channel,
            request.caller,
            request.out_request_no,
            at,
        )
        assert row is not None  # noqa: S101  the statement always gives a row
        if (earlier := earlier_answer(request, row)) is not None:
            return earlier
        if (refusal := _refusal_of(row, order)) is not None:
            return await refuse(connection, request, refusal)
        answer = _redeemed(new_id("R"), row, order)
        done = await connection.fetchval(
            _INSERT_REDEMPTION,
            answer["redemption_id"],
            row["stock_no"],
            row["claim_no"],
            row["next_version"],
            order.merchant_no,
            order.order_no,
            order.order_amount_fen,
            order.channel,
            row["next_attempt"],
            row["at"],
            request.caller,
            request.out_request_no,
            request.digest,
            as_text(answer),
        )
        if not done:
            raise Overtaken
        return Answer(None, answer)

    return await answer_once(attempt)


def _refusal_of(row: asyncpg.Record, order: Order) -> Refusal | None:
    """Return the first reason not to use a voucher: what the merchant may, then the voucher, then the order."""
    reasons = (
        (row["stock_no"] is None, Refusal.RESOURCE_NOT_EXISTS),
        (row["merchant_state"] != "APPROVED", Refusal.MERCHANT_NOT_APPROVED),
        (not row["is_of_category"], Refusal.CATEGORY_NOT_ACCEPTED),
        (not row["takes_channel"], Refusal.CHANNEL_NOT_ACCEPTED),
        (not row["is_claimed"], Refusal.VOUCHER_NOT_ISSUED),
        (row["state"] in ("USED", "REFUNDED"), Refusal.VOUCHER_USED),
        (row["state"] == "EXPIRED" or row["at"] >= (row["available_until"] or row["at"]), Refusal.VOUCHER_EXPIRED),
        (order.order_amount_fen < (row["threshold_fen"] or 0), Refusal.BELOW_THRESHOLD),
        (row["order_has_voucher"], Refusal.ORDER_HAS_VOUCHER),
        (not row["has_money"], Refusal.FUND_NOT_RECEIVED),
    )
    return next((refusal for holds, refusal in reasons if holds), None)


def _redeemed(redemption_id: str, row: asyncpg.Record, order: Order) -> dict[str, Any]:
    return {
        "redemption_id": redemption_id,
        "state": "USED",
        "campaign_id": row["campaign_id"],
        "stock_id": row["stock_id"],
        "merchant_no": order.merchant_no,
        "order_no": order.order_no,
        "channel": order.channel,
        "order_amount_fen": order.order_amount_fen,
        "discount_fen": row["discount_fen"],
        "payable_fen": order.order_amount_fen - row["discount_fen"],
        "redeemed_at": china.told(row["at"]),
    }


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
