"""Answers each request once: a repeat gets the stored answer, a number used again for something else is refused.

The answer is stored by the very statement that has the effect, so there is never the one without the
other.  Refusals that the books gave are answers too: they are stored and repeated like any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import asyncpg

from ledger.statements import statement

_INSERT_REQUEST = statement("insert_request")

ATTEMPTS_MAX = 8  # each one that is overtaken means that another request got through
DONE = "DONE"


class Refusal(StrEnum):
    """Why the books refuse; each is also the code that the caller is told."""

    RESOURCE_NOT_EXISTS = "RESOURCE_NOT_EXISTS"
    VOUCHER_NOT_ISSUED = "VOUCHER_NOT_ISSUED"
    VOUCHER_USED = "VOUCHER_USED"
    VOUCHER_VOID = "VOUCHER_VOID"
    VOUCHER_EXPIRED = "VOUCHER_EXPIRED"
    BELOW_THRESHOLD = "BELOW_THRESHOLD"
    MERCHANT_NOT_APPROVED = "MERCHANT_NOT_APPROVED"
    CATEGORY_NOT_ACCEPTED = "CATEGORY_NOT_ACCEPTED"
    CHANNEL_NOT_ACCEPTED = "CHANNEL_NOT_ACCEPTED"
    ORDER_HAS_VOUCHER = "ORDER_HAS_VOUCHER"
    FUND_NOT_RECEIVED = "FUND_NOT_RECEIVED"
    REVERSAL_TOO_LATE = "REVERSAL_TOO_LATE"
    ALREADY_REVERSED = "ALREADY_REVERSED"
    ALREADY_REFUNDED = "ALREADY_REFUNDED"
    ALREADY_SETTLED = "ALREADY_SETTLED"
    REFUND_EXCEEDS_ORDER = "REFUND_EXCEEDS_ORDER"
    REQUEST_NO_REUSED = "REQUEST_NO_REUSED"
    TILL_LOCKED = "TILL_LOCKED"


class Contended(Exception):
    """Others were faster again and again; nothing was changed, and asking again is harmless."""


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, under which number of his own, for what.

    Attributes:
        caller: Reference of the caller; numbers are unique to him.
        out_request_no: The caller's number of this request.
        digest: SHA-256 of what is asked.
    """

    caller: str
    out_request_no: str
    digest: bytes

    @classmethod
    def of(cls, caller: str, out_request_no: str, content: Mapping[str, Any]) -> Request:
        """Return the request for ``content``, whatever the order of its members."""
        text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return cls(caller, out_request_no, hashlib.sha256(text.encode()).digest())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered.

    Attributes:
        refusal: Why it was refused; None if it was done.
        body: What the caller is told: the effect, or what belongs to the refusal.
        is_replay: Whether this was told before.
    """

    refusal: Refusal | None
    body: Mapping[str, Any]
    is_replay: bool = False


Attempt = Callable[[], Awaitable[Answer]]


async def answer_once(attempt: Attempt) -> Answer:
    """Return what ``attempt`` answers, looking again whenever another transaction was faster.

    Raises:
        Contended: Others were faster every time.
        asyncpg.PostgresError, OSError: The vault is in trouble; the outcome is unknown until the request is repeated.
    """
    for _ in range(ATTEMPTS_MAX):
        try:
            return await attempt()
        except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
            continue
    raise Contended


def earlier_answer(request: Request, row: asyncpg.Record) -> Answer | None:
    """Return what the request was answered before, by a row with ``body_digest``, ``verdict`` and ``answer``."""
    if row["body_digest"] is None:
        return None
    if row["body_digest"] != request.digest:
        return Answer(Refusal.REQUEST_NO_REUSED, {})
    refusal = None if row["verdict"] == DONE else Refusal(row["verdict"])
    return Answer(refusal, json.loads(row["answer"]), is_replay=True)


async def refuse(connection: asyncpg.Connection, request: Request, refusal: Refusal, **body: Any) -> Answer:
    """Store a refusal and return it.

    Raises:
        asyncpg.UniqueViolationError: The request has an answer already.
    """
    await connection.execute(
        _INSERT_REQUEST, request.caller, request.out_request_no, request.digest, refusal.value, as_text(body)
    )
    return Answer(refusal, body)


def as_text(body: Mapping[str, Any]) -> str:
    """Write an answer as it is stored."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
