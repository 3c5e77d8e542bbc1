"""The user's routes off the hot path: tickets, my claim, my vouchers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from grab_service import instants
from grab_service.api.caller import Caller, IncomingFacts, RunningService, ref_of
from grab_service.api.claims import unknown
from grab_service.api.counter import Counter
from grab_service.api.documented import refusals
from grab_service.api.incoming import Incoming, read_body, refuse_content
from grab_service.api.json_body import JsonRefused, read_json
from grab_service.api.models import (
    BodyInvalid,
    NewTicket,
    PendingClaim,
    PresenceChallenge,
    PresenceProof,
    Ticket,
    Voucher,
    VoucherList,
    read_shape,
)
from grab_service.api.problems import Code, Problem
from grab_service.api.service import Service
from grab_service.api.vault import VaultUnavailable
from grab_service.gate import Answer, GateUnavailable, Letter
from grab_service.identity import Distrust
from grab_service.presence import Challenge, Presence
from ledger.catalogue import ClaimRow

router = APIRouter(tags=["vouchers"])

_NO_STORE = {"Cache-Control": "no-store"}
_USER_REFUSALS = (Code.SIGN_ERROR, Code.FORBIDDEN, Code.FREQUENCY_LIMIT_EXCEED, Code.SYSTEM_BUSY)


@router.post(
    "/v1/challenges",
    operation_id="createChallenge",
    summary="人机验证",
    response_model=PresenceChallenge,
    responses=refusals(*_USER_REFUSALS, Code.TOO_LARGE, Code.PARAM_ERROR),
)
async def create_challenge(
    caller: Caller, incoming: IncomingFacts, service: RunningService, request: Request
) -> JSONResponse:
    """Give the challenge that the caller solves for a ticket.

    What is asked for is a number `answer` for which the SHA-256 of the challenge, followed by the number in decimal
    digits, begins with `bits` zeros. A challenge is good for a minute, for this user, once.

    换取凭证前的人机验证：求一个数，使“挑战串+该数”的 SHA-256 以 `bits` 个零比特开头。一分钟内有效，仅限本人、仅用一次。
    """
    wrong = await refuse_content(incoming, request.receive, service.settings.body_bytes_max)
    if wrong is not None:
        raise Problem(*wrong)
    kind, now_s = "work", time.time()
    if service.presence is None:
        kind, challenge = "none", Challenge("", 0, int(now_s))
    else:
        challenge = service.presence.challenge(caller.user_ref, now_s)
    body = {
        "kind": kind,
        "challenge": challenge.text,
        "bits": challenge.bits,
        "expires_at": instants.from_ms(challenge.expires_at_s * 1000),
    }
    return JSONResponse(body, headers=_NO_STORE)


@router.post(
    "/v1/tickets",
    operation_id="issueTicket",
    summary="换取抢券凭证",
    response_model=Ticket,
    responses=refusals(*_USER_REFUSALS, Code.PRESENCE_REQUIRED, Code.TOO_LARGE, Code.PARAM_ERROR),
    openapi_extra={
        "requestBody": {"required": False, "content": {"application/json": {"schema": NewTicket.model_json_schema()}}}
    },
)
async def issue_ticket(
    caller: Caller, incoming: IncomingFacts, service: RunningService, request: Request
) -> JSONResponse:
    """Exchange a JWT for a ticket, so that the costly signature check is done before the opening.

    A ticket never outlives its JWT, and gives no further ticket.

    用 JWT 换取短凭证；开抢前调用，开抢时不再验签。凭证不晚于 JWT 失效，且不可再换新凭证。
    """
    if caller.is_by_ticket:
        raise Problem(Code.SIGN_ERROR, Distrust.TICKET.value)
    asked = await _asked(incoming, request, service.settings.body_bytes_max)
    if service.presence is not None:
        _see_presence(service.presence, asked.presence, caller.user_ref)
    for user_ref in (caller.user_ref, *caller.other_refs):
        service.whence.note(incoming.block(), user_ref)
    expires_at_s = min(int(caller.expires_at_s), int(time.time()) + service.settings.ticket_ttl_s)
    ticket = service.tickets.issue(caller.user_ref, caller.region, expires_at_s, caller.other_refs)
    body = {"ticket": ticket, "expires_at": instants.from_ms(expires_at_s * 1000)}
    return JSONResponse(body, headers=_NO_STORE)


async def _asked(incoming: Incoming, request: Request, body_bytes_max: int) -> NewTicket:
    body = await read_body(incoming, request.receive, body_bytes_max)
    if isinstance(body, tuple):
        raise Problem(*body)
    try:
        return read_shape(NewTicket, read_json(body))
    except JsonRefused as error:
        raise Problem(Code.PARAM_ERROR, str(error)) from error
    except BodyInvalid as error:
        raise Problem(Code.PARAM_ERROR, errors=error.errors) from error


def _see_presence(presence: Presence, proof: PresenceProof | None, user_ref: str) -> None:
    if proof is None:
        raise Problem(Code.PRESENCE_REQUIRED, "Solve a challenge first: POST /v1/challenges.")
    fault = presence.fault(proof.challenge, proof.answer, user_ref, time.time())
    if fault is not None:
        raise Problem(Code.PRESENCE_REQUIRED, fault)


@router.get(
    "/v1/stocks/{stock_id}/claims/me",
    operation_id="getMyClaim",
    summary="查询我的领取结果",
    response_model=Voucher | PendingClaim,
    responses=refusals(*_USER_REFUSALS, Code.RESOURCE_NOT_EXISTS),
)
async def get_my_claim(stock_id: str, caller: Caller, service: RunningService) -> JSONResponse:
    """Return the caller's voucher of one stock, or PENDING while the ledger has not confirmed it.

    查询本人在该券批次的领取结果；入账前为 PENDING。
    """
    counter = service.counters.get(stock_id)
    if counter is None:
        raise Problem(unknown(service.counters))
    user_ref = ref_of(caller, counter)
    try:
        answer = await service.gate.look(counter.stock, user_ref)
    except GateUnavailable:
        answer = None
    if answer is None or answer.letter not in (Letter.HELD, Letter.ABSENT):
        row = await _ledger_claim(service, stock_id, user_ref)
        if row is None:
            raise Problem(Code.SYSTEM_BUSY, "The gate cannot be asked; the ledger does not know of a claim.")
        return JSONResponse(_recorded(counter, row), headers=_NO_STORE)
    if answer.holding is None:
        raise Problem(Code.RESOURCE_NOT_EXISTS, "You hold no voucher of this stock.")
    if not _is_confirmed(counter, answer):
        return JSONResponse({"state": "PENDING", "stock_id": stock_id}, headers=_NO_STORE)
    voucher = counter.voucher(answer.holding.claim_no, answer.holding.stream_id.ms, replayed=True)
    return JSONResponse(voucher, headers=_NO_STORE)


@router.get(
    "/v1/me/vouchers",
    operation_id="listMyVouchers",
    summary="我的票券",
    response_model=VoucherList,
    responses=refusals(*_USER_REFUSALS, Code.PARAM_ERROR),
)
async def list_my_vouchers(
    caller: Caller,
    service: RunningService,
    state: Annotated[
        Literal["ISSUED", "USED", "EXPIRED", "VOID", "PENDING"] | None, Query(description="only vouchers in this state")
    ] = None,
) -> JSONResponse:
    """List the caller's vouchers; a claim is shown from the moment it was answered.

    查询本人全部票券；领取成功后立即可见。
    """
    if not service.counters.is_whole:
        raise Problem(Code.SYSTEM_BUSY, "Not every campaign is served here: the list would not be whole.")
    counters = list(service.counters.values())
    asked = [(counter.stock, ref_of(caller, counter)) for counter in counters]
    rows = {row.stock_id: row for row in await _ledger_claims(service, (caller.user_ref, *caller.other_refs))}
    try:
        answers = await service.gate.look_at_all(asked)
    except GateUnavailable as error:
        if service.settings.ack != "ledger":
            raise Problem(Code.SYSTEM_BUSY, "The gate did not answer.") from error
        answers = []  # every confirmed claim is in the ledger
    vouchers = [
        _recorded(service.counters[row.stock_id], row) for row in rows.values() if row.stock_id in service.counters
    ]
    for counter, answer in zip(counters, answers, strict=False):
        if answer.holding is None or counter.stock.stock_id in rows:
            continue
        if _is_confirmed(counter, answer):
            vouchers.append(counter.voucher(answer.holding.claim_no, answer.holding.stream_id.ms, replayed=True))
        else:
            vouchers.append(counter.pending(answer.holding.stream_id.ms))
    wanted = [voucher for voucher in vouchers if state is None or voucher["state"] == state]
    return JSONResponse({"data": sorted(wanted, key=lambda voucher: voucher["claimed_at"])}, headers=_NO_STORE)


def _is_confirmed(counter: Counter, answer: Answer) -> bool:
    assert answer.holding is not None  # noqa: S101  the callers have looked
    return counter.confirmations.is_committed(answer.holding, answer.epoch)


def _recorded(counter: Counter, row: ClaimRow) -> dict[str, Any]:
    return counter.voucher(row.claim_no, instants.to_ms(row.claimed_at), replayed=True, state=row.state)


async def _ledger_claim(service: Service, stock_id: str, user_ref: str) -> ClaimRow | None:
    try:
        return await service.vault.claim_of_user(stock_id, user_ref)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "Neither the gate nor the ledger answered.") from error


async def _ledger_claims(service: Service, user_refs: Sequence[str]) -> list[ClaimRow]:
    try:
        return await service.vault.claims_of_user(user_refs)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger did not answer.") from error
