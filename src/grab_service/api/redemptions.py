"""The tills' routes: use a voucher, look at it, reverse a payment, return goods."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from math import ceil
from typing import Any

import asyncpg
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from grab_service.api.caller import Caller, RunningService, incoming_of, service_of
from grab_service.api.documented import refusals
from grab_service.api.incoming import read_body
from grab_service.api.json_body import JsonRefused, read_json
from grab_service.api.models import (
    BodyInvalid,
    NewRedemption,
    NewRefund,
    NewReversal,
    Redemption,
    RedemptionFacts,
    Refund,
    Reversal,
    Shape,
    ShapeT,
    read_shape,
)
from grab_service.api.problems import Code, Problem
from grab_service.api.service import Service
from grab_service.api.vault import VaultUnavailable
from grab_service.identity import Identity
from grab_service.references import hash_of_code
from ledger import redemption, refund
from ledger.redeem import Order
from ledger.requests import Answer, Contended

router = APIRouter(tags=["redemptions"])

_NO_STORE = {"Cache-Control": "no-store"}
_ID = re.compile(r"[0-9A-Za-z]{1,64}", re.ASCII)
_NO_CODE = bytes(32)  # the hash of no voucher's code
_COMMON = (
    Code.SIGN_ERROR,
    Code.FORBIDDEN,
    Code.RESOURCE_NOT_EXISTS,
    Code.FREQUENCY_LIMIT_EXCEED,
    Code.SYSTEM_BUSY,
)
_CHANGING = (*_COMMON, Code.REQUEST_NO_REUSED, Code.TOO_LARGE, Code.PARAM_ERROR)


def _body_of(shape: type[Shape], *, is_required: bool = True) -> dict[str, Any]:
    """Return a body's entry in the OpenAPI document; it is read by hand, so that its length is bounded first."""
    content = {"application/json": {"schema": shape.model_json_schema()}}
    return {"requestBody": {"required": is_required, "content": content}}


@router.post(
    "/v1/redemptions",
    operation_id="redeemVoucher",
    summary="核销",
    status_code=201,
    response_model=Redemption,
    responses=refusals(
        *_CHANGING,
        Code.MERCHANT_NOT_APPROVED,
        Code.VOUCHER_NOT_ISSUED,
        Code.VOUCHER_USED,
        Code.VOUCHER_VOID,
        Code.VOUCHER_EXPIRED,
        Code.BELOW_THRESHOLD,
        Code.CATEGORY_NOT_ACCEPTED,
        Code.CHANNEL_NOT_ACCEPTED,
        Code.ORDER_HAS_VOUCHER,
        Code.FUND_NOT_RECEIVED,
        Code.TILL_LOCKED,
    ),
    openapi_extra=_body_of(NewRedemption),
)
async def redeem_voucher(caller: Caller, service: RunningService, request: Request) -> JSONResponse:
    """Use a voucher for a payment; the same request again gets the same answer, also when it was a refusal.

    使用消费券；同一请求单号重复提交返回同一结果。
    """
    asked = await _read(NewRedemption, request)
    if not caller.acts_for(asked.merchant_no):
        raise Problem(Code.FORBIDDEN, "You do not act for this merchant.")
    till = f"{caller.user_ref} {asked.merchant_no}"
    wait_s = service.misses.wait_s(till, time.monotonic())
    if wait_s:
        raise Problem(Code.FREQUENCY_LIMIT_EXCEED, "Too many unknown voucher codes.", retry_after_s=ceil(wait_s))
    order = Order(
        code_hash=hash_of_code(asked.voucher_code) or _NO_CODE,
        merchant_no=asked.merchant_no,
        order_no=asked.order_no,
        order_amount_fen=asked.order_amount_fen,
        channel=asked.channel,
    )
    numbered = order.request(caller.user_ref, asked.out_request_no)
    try:
        return await _told(201, service.till.redeem(numbered, order))
    except Problem as problem:
        if problem.code is Code.RESOURCE_NOT_EXISTS:
            service.misses.count(till)
        raise


@router.get(
    "/v1/redemptions/{redemption_id}",
    operation_id="getRedemption",
    summary="查询核销",
    response_model=RedemptionFacts,
    responses=refusals(*_COMMON),
)
async def get_redemption(redemption_id: str, caller: Caller, service: RunningService) -> JSONResponse:
    """Return a redemption of a merchant that the caller acts for, and what became of it.

    查询一笔核销及其冲正、退款情况。
    """
    return JSONResponse(await _own(service, caller, redemption_id), headers=_NO_STORE)


@router.post(
    "/v1/redemptions/{redemption_id}/reversal",
    operation_id="reverseRedemption",
    summary="冲正",
    response_model=Reversal,
    responses=refusals(
        *_CHANGING, Code.REVERSAL_TOO_LATE, Code.ALREADY_REVERSED, Code.ALREADY_REFUNDED, Code.ALREADY_SETTLED
    ),
    openapi_extra=_body_of(NewReversal, is_required=False),
)
async def reverse_redemption(
    redemption_id: str, caller: Caller, service: RunningService, request: Request
) -> JSONResponse:
    """Undo a redemption whose payment never completed; the voucher can be used again while it is valid.

    支付未完成时撤销核销；券在有效期内可再次使用。
    """
    asked = await _read(NewReversal, request)
    await _own(service, caller, redemption_id)
    number = asked.out_request_no or f"reversal-{redemption_id}"
    numbered = redemption.reversal_request(caller.user_ref, number, redemption_id)
    within = timedelta(seconds=service.settings.reversal_window_s)
    return await _answer(service, 200, lambda vault: redemption.reverse(vault, numbered, redemption_id, within=within))


@router.post(
    "/v1/refunds",
    operation_id="refundOrder",
    summary="退款",
    status_code=201,
    response_model=Refund,
    responses=refusals(*_CHANGING, Code.ALREADY_REVERSED, Code.REFUND_EXCEEDS_ORDER),
    openapi_extra=_body_of(NewRefund),
)
async def refund_order(caller: Caller, service: RunningService, request: Request) -> JSONResponse:
    """Return goods: the discount's share goes back to the fund pool, the voucher stays used.

    退货时按比例将优惠金额退回资金池；券不退还。
    """
    asked = await _read(NewRefund, request)
    await _own(service, caller, asked.redemption_id)
    numbered = refund.refund_request(
        caller.user_ref, asked.out_request_no, asked.redemption_id, asked.refund_amount_fen
    )
    return await _answer(
        service, 201, lambda vault: refund.refund(vault, numbered, asked.redemption_id, asked.refund_amount_fen)
    )


async def _read(shape: type[ShapeT], request: Request) -> ShapeT:
    body_bytes_max = service_of(request).settings.body_bytes_max
    body = await read_body(incoming_of(request), request.receive, body_bytes_max)
    if isinstance(body, tuple):
        raise Problem(*body)
    try:
        return read_shape(shape, read_json(body))
    except JsonRefused as error:
        raise Problem(Code.PARAM_ERROR, str(error)) from error
    except BodyInvalid as error:
        raise Problem(Code.PARAM_ERROR, errors=error.errors) from error


async def _own(service: Service, caller: Identity, redemption_id: str) -> dict[str, Any]:
    """Return a redemption; that of another merchant does not exist for the caller."""
    found = None
    try:
        if _ID.fullmatch(redemption_id):
            async with service.vault.connection() as vault:
                found = await redemption.find(vault, redemption_id)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger did not answer.") from error
    if found is None or not caller.acts_for(found["merchant_no"]):
        raise Problem(Code.RESOURCE_NOT_EXISTS, "There is no such redemption.")
    return found


async def _answer(
    service: Service, status: int, ask: Callable[[asyncpg.Connection], Awaitable[Answer]]
) -> JSONResponse:
    async def answer() -> Answer:
        async with service.vault.connection() as vault:
            return await ask(vault)

    return await _told(status, answer())


async def _told(status: int, answering: Awaitable[Answer]) -> JSONResponse:
    try:
        answer = await answering
    except (VaultUnavailable, Contended) as error:
        raise Problem(Code.SYSTEM_BUSY, "Ask again with the same out_request_no: it has one effect.") from error
    if answer.refusal is not None:
        raise Problem(Code[answer.refusal.name], replayed=answer.is_replay)
    return JSONResponse({**answer.body, "replayed": answer.is_replay}, status, headers=_NO_STORE)
