"""Goods that come back: the discount's share of them returns to the pool, and the voucher stays used."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from ledger import china
from ledger.redemption import look, new_id
from ledger.requests import Answer, Refusal, Request, answer_once, as_text, earlier_answer, refuse
from ledger.statements import statement

_INSERT_REFUND = statement("insert_refund")


def refund_request(caller: str, out_request_no: str, redemption_id: str, refund_amount_fen: int) -> Request:
    """Return the caller's request for a refund."""
    content = {"does": "refund", "redemption_id": redemption_id, "refund_amount_fen": refund_amount_fen}
    return Request.of(caller, out_request_no, content)


def share_fen(discount_fen: int, refunded_fen: int, order_amount_fen: int) -> int:
    """Return the part of a discount that belongs to the returned part of its order, half a fen upwards.

    ``refunded_fen`` is all that came back so far: rounding the sum, and not each part, keeps the parts
    from ever adding up to more than the discount, and gives back all of it with the last of the goods.
    """
    return (2 * discount_fen * refunded_fen + order_amount_fen) // (2 * order_amount_fen)


async def refund(
    connection: asyncpg.Connection,
    request: Request,
    redemption_id: str,
    refund_amount_fen: int,
    *,
    at: datetime | None = None,
) -> Answer:
    """Return a part of an order, or all of it, or say why not.

    Args:
        connection: To the vault, outside a transaction.
        request: Whose request this is.
        redemption_id: Of which order.
        refund_amount_fen: Goods that come back, at their price before the discount; positive.
        at: The instant; None for the vault's clock.

    Raises:
        Contended: Others were faster every time.
        asyncpg.PostgresError, OSError: The vault is in trouble; repeat the request to know the outcome.
    """

    async def attempt() -> Answer:
        row = await look(connection, redemption_id, request, at)
        if (earlier := earlier_answer(request, row)) is not None:
            return earlier
        if (refusal := _refusal_of(row, refund_amount_fen)) is not None:
            return await refuse(connection, request, refusal)
        refunded_fen = row["refund_total_fen"] + refund_amount_fen
        returned_total_fen = share_fen(row["discount_fen"], refunded_fen, row["order_amount_fen"])
        returned_fen = returned_total_fen - row["returned_total_fen"]
        answer = {
            "refund_id": new_id("F"),
            "redemption_id": redemption_id,
            "refund_amount_fen": refund_amount_fen,
            "discount_returned_fen": returned_fen,
            "refunded_total_fen": refunded_fen,
            "discount_returned_total_fen": returned_total_fen,
            "voucher_state": "USED",
            "refunded_at": china.told(row["at"]),
        }
        await connection.execute(
            _INSERT_REFUND,
            answer["refund_id"],
            row["redemption_no"],
            row["next_nth"],
            refund_amount_fen,
            returned_fen,
            row["next_version"],
            row["state"],
            "CLAW_BACK" if row["is_settled"] else "REFUND",
            row["at"],
            request.caller,
            request.out_request_no,
            request.digest,
            as_text(answer),
            refunded_fen,
            returned_total_fen,
        )
        return Answer(None, answer)

    return await answer_once(attempt)


def _refusal_of(row: asyncpg.Record, refund_amount_fen: int) -> Refusal | None:
    if row["redemption_no"] is None:
        return Refusal.RESOURCE_NOT_EXISTS
    if row["reversed_at"] is not None:
        return Refusal.ALREADY_REVERSED
    if row["refund_total_fen"] + refund_amount_fen > row["order_amount_fen"]:
        return Refusal.REFUND_EXCEEDS_ORDER
    return None
