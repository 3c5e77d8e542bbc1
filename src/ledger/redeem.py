"""Using vouchers at merchants, many at once: one look and one statement for all that wait.

The balance of a stock is locked from its change to the commit, so one transaction a voucher would use
as many vouchers a second as the disk can confirm.  What waits together travels together, and each
request keeps its own answer: a refusal is a value, and one that the database refuses fails alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from ledger import china
from ledger.lockouts import CODES_A_DAY_MAX
from ledger.redemption import new_id
from ledger.requests import ATTEMPTS_MAX, DONE, Answer, Contended, Refusal, Request, as_text, earlier_answer
from ledger.statements import statement

_FIND_REDEEMABLE = statement("find_redeemable")
_INSERT_REDEMPTIONS = statement("insert_redemptions")

# What can be the fault of one request of many, so that the others are worth another try.
_POISON = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.DeadlockDetectedError,
    UnicodeError,
)
_OVERTAKEN = (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError)


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


Asked = tuple[Request, Order]
Outcome = Answer | Exception


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
    (outcome,) = await redeem_together(connection, [(request, order)], at=at)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def redeem_together(
    connection: asyncpg.Connection,
    asked: Sequence[Asked],
    *,
    at: datetime | None = None,
    unknown_codes_max: int = CODES_A_DAY_MAX,
) -> list[Outcome]:
    """Use vouchers for orders; the outcome of each is an answer, or what ``redeem`` would raise.

    Args:
        connection: To the vault, outside a transaction.
        asked: The requests; the earlier goes first where two want the same voucher, order or number.
        at: The instant; None for the vault's clock.
        unknown_codes_max: So many unknown codes within a day lock a caller at a merchant until staff let him go on.

    Raises:
        asyncpg.PostgresError, OSError: The vault is in trouble; repeat the requests to know the outcomes.
    """
    outcomes: dict[int, Outcome] = {}
    for _ in range(ATTEMPTS_MAX):
        waiting = [number for number in range(len(asked)) if number not in outcomes]
        if not waiting:
            break
        found = await _try(_Books(connection, at, unknown_codes_max), [asked[number] for number in waiting])
        outcomes |= {waiting[place]: outcome for place, outcome in found.items()}
    return [outcomes.get(number, Contended()) for number in range(len(asked))]


class _Books(NamedTuple):
    connection: asyncpg.Connection
    at: datetime | None
    unknown_codes_max: int


async def _try(books: _Books, asked: Sequence[Asked]) -> dict[int, Outcome]:
    """Answer what can be answered now, halving what the database refuses until the poison stands alone."""
    try:
        return await _answer(books, asked)
    except _POISON as error:
        if len(asked) == 1:
            return {} if isinstance(error, _OVERTAKEN) else {0: error}
    middle = len(asked) // 2
    outcomes = await _try(books, asked[:middle])
    others = await _try(books, asked[middle:])
    return outcomes | {middle + place: outcome for place, outcome in others.items()}


async def _answer(books: _Books, asked: Sequence[Asked]) -> dict[int, Outcome]:
    """Look, judge, and store effects and answers in one statement; what has to look again is left out."""
    rows = await books.connection.fetch(
        _FIND_REDEEMABLE,
        [order.code_hash for _, order in asked],
        [order.merchant_no for _, order in asked],
        [order.order_no for _, order in asked],
        [order.channel for _, order in asked],
        [request.caller for request, _ in asked],
        [request.out_request_no for request, _ in asked],
        books.at,
    )
    outcomes: dict[int, Outcome] = {}
    judged: dict[int, Answer] = {}
    taken: set[Any] = set()
    for place, ((request, order), row) in enumerate(zip(asked, rows, strict=True)):
        if (earlier := earlier_answer(request, row)) is not None:
            outcomes[place] = earlier
            continue
        if row["is_locked"]:
            outcomes[place] = Answer(Refusal.TILL_LOCKED, {})  # not stored: once let go, the same request is answered
            continue
        number = (request.caller, request.out_request_no)
        refusal = _refusal_of(row, order)
        wants = {number} if refusal else {number, order.code_hash, (order.merchant_no, order.order_no, None)}
        if taken.isdisjoint(wants):
            taken |= wants
            judged[place] = Answer(refusal, {} if refusal else _redeemed(new_id("R"), row, order))
    if judged:
        stored = await _store(books, [(*asked[place], rows[place], answer) for place, answer in judged.items()])
        numbers = {place: (asked[place][0].caller, asked[place][0].out_request_no) for place in judged}
        outcomes |= {place: answer for place, answer in judged.items() if numbers[place] in stored}
    return outcomes


async def _store(
    books: _Books, judged: Sequence[tuple[Request, Order, asyncpg.Record, Answer]]
) -> set[tuple[str, str]]:
    """Store effects and answers; return the numbers of those that are, which a suspended merchant's are not."""
    rows = await books.connection.fetch(
        _INSERT_REDEMPTIONS,
        [request.caller for request, _, _, _ in judged],
        [request.out_request_no for request, _, _, _ in judged],
        [request.digest for request, _, _, _ in judged],
        [DONE if answer.refusal is None else answer.refusal.value for _, _, _, answer in judged],
        [as_text(answer.body) for _, _, _, answer in judged],
        [answer.body.get("redemption_id") for _, _, _, answer in judged],
        [row["stock_no"] for _, _, row, _ in judged],
        [row["claim_no"] for _, _, row, _ in judged],
        [row["next_version"] for _, _, row, _ in judged],
        [order.merchant_no for _, order, _, _ in judged],
        [order.order_no for _, order, _, _ in judged],
        [order.order_amount_fen for _, order, _, _ in judged],
        [order.channel for _, order, _, _ in judged],
        [row["next_attempt"] for _, _, row, _ in judged],
        [row["at"] for _, _, row, _ in judged],
        books.unknown_codes_max,
    )
    return {(row["caller"], row["out_request_no"]) for row in rows}


def _refusal_of(row: asyncpg.Record, order: Order) -> Refusal | None:
    """Return the first reason not to use a voucher: what the merchant may, then the voucher, then the order."""
    reasons = (
        (row["stock_no"] is None, Refusal.RESOURCE_NOT_EXISTS),
        (row["merchant_state"] != "APPROVED", Refusal.MERCHANT_NOT_APPROVED),
        (not row["is_of_category"], Refusal.CATEGORY_NOT_ACCEPTED),
        (not row["takes_channel"], Refusal.CHANNEL_NOT_ACCEPTED),
        (not row["is_claimed"], Refusal.VOUCHER_NOT_ISSUED),
        (row["state"] in ("USED", "REFUNDED"), Refusal.VOUCHER_USED),
        (row["state"] in ("HELD", "VOID"), Refusal.VOUCHER_VOID),
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
