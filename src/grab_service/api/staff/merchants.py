"""Merchants: list them, look at one, decide with a reason, import a bank's list."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from grab_service import photos
from grab_service.api.caller import RunningService
from grab_service.api.problems import Code, Problem
from grab_service.api.service import Service
from grab_service.api.staff.page import HEADERS, form_of, go, show, subject_of
from grab_service.api.vault import VaultUnavailable
from grab_service.instants import from_datetime
from grab_service.merchant_import import Outcome, Wish, import_rows
from grab_service.merchant_list import COLUMNS, ListUnreadable, read_content
from grab_service.stores import StoreUnavailable, open_vault
from ledger import merchants
from ledger.merchants import Merchant, Search, State, Verdict

router = APIRouter(include_in_schema=False)

_STATES = {
    State.SUBMITTED: "待审核",
    State.APPROVED: "已通过",
    State.REJECTED: "已拒绝",
    State.SUSPENDED: "已停用",
}
_VERDICTS = {
    Verdict.APPROVE: "通过",
    Verdict.REJECT: "拒绝",
    Verdict.SUSPEND: "停用",
    Verdict.RESUME: "恢复",
}
_WAYS = {"payment_code": "付款码", "scan": "扫商户码"}
_NO_REASON = "请填写理由：一行文字，1 至 500 字。"
_PAGE = 50
_FAULTS_SHOWN_MAX = 1_000


@router.get("/staff/merchants")
async def list_merchants(
    *,
    request: Request,
    service: RunningService,
    state: Annotated[str, Query(max_length=16)] = "SUBMITTED",
    q: Annotated[str, Query(max_length=100)] = "",
    cursor: Annotated[str, Query(pattern="^([0-9]{15})?$")] = "",
) -> Response:
    """List merchants of a state, or of all."""
    chosen = State(state) if state in State.__members__ else None
    text = q.strip().replace("\x00", "") or None
    try:
        page = await service.vault.search_merchants(Search(state=chosen, text=text, after=cursor, limit=_PAGE))
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY) from error
    return show(
        request,
        "merchants.html",
        merchants=[_facts(each) for each in page.merchants],
        next_after=page.next_after,
        states=[(each.value, name) for each, name in _STATES.items()],
        state=chosen.value if chosen else "",
        q=text or "",
    )


@router.get("/staff/merchants/import")
async def show_import(request: Request) -> Response:
    """Ask for a bank's list."""
    return show(request, "import.html", columns=COLUMNS, outcome=None)


@router.post("/staff/merchants/import")
async def import_list(request: Request, service: RunningService) -> Response:
    """Store a bank's list and show every bad row; all or nothing, unless good rows are to be stored alone."""
    form = await form_of(request, is_upload=True)
    reason = form.reason
    if form.file is None or reason is None:
        trouble = _NO_REASON if reason is None else "请选择文件。"
        return show(request, "import.html", 422, columns=COLUMNS, outcome=None, trouble=trouble)
    try:
        rows = await asyncio.to_thread(read_content, form.file)
    except ListUnreadable as error:
        return show(request, "import.html", 422, columns=COLUMNS, outcome=None, trouble=f"文件无法读取：{error}")
    wish = Wish(actor=subject_of(request), reason=reason, is_partial="partial" in form.texts, approves=False)
    try:
        async with open_vault(service.settings) as vault:
            outcome = await import_rows(vault, rows, wish)
    except StoreUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY) from error
    return show(
        request,
        "import.html",
        _status_of(outcome),
        columns=COLUMNS,
        outcome=outcome,
        bad=len({fault.line for fault in outcome.faults}),
        faults=outcome.faults[:_FAULTS_SHOWN_MAX],
    )


def _status_of(outcome: Outcome) -> int:
    return 422 if outcome.faults and not outcome.imported else 200


@router.get("/staff/merchants/{merchant_no}")
async def show_merchant(request: Request, merchant_no: str, service: RunningService) -> Response:
    """Show a merchant, its shop front and every decision on it."""
    return await _show(request, merchant_no, service)


@router.post("/staff/merchants/{merchant_no}")
async def decide(request: Request, merchant_no: str, service: RunningService) -> Response:
    """Decide on a merchant, with a reason that stays."""
    form = await form_of(request)
    reason, name = form.reason, form.texts.get("verdict", "")
    if reason is None or name not in Verdict.__members__:
        return await _show(request, merchant_no, service, 422, _NO_REASON)
    try:
        async with service.vault.connection() as connection:
            refusals = await merchants.decide(
                connection, [merchant_no], Verdict[name], actor=subject_of(request), reason=reason
            )
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY) from error
    if refusals:
        return await _show(request, merchant_no, service, 409, f"未作更改：该商户 {refusals[merchant_no]}")
    return go(f"/staff/merchants/{merchant_no}")


@router.get("/staff/merchants/{merchant_no}/photo")
async def get_photo(merchant_no: str, service: RunningService) -> Response:
    """Serve the photo of a shop front."""
    merchant = await _find(service, merchant_no)
    directory = service.settings.photo_dir
    if merchant.photo is None or directory is None:
        raise Problem(Code.RESOURCE_NOT_EXISTS)
    path = photos.path_of(directory, merchant.photo.sha256, merchant.photo.content_type)
    if not await asyncio.to_thread(path.is_file):
        raise Problem(Code.RESOURCE_NOT_EXISTS)
    return FileResponse(path, media_type=merchant.photo.content_type, headers=HEADERS)


async def _show(request: Request, merchant_no: str, service: Service, status: int = 200, trouble: str = "") -> Response:
    merchant = await _find(service, merchant_no)
    try:
        async with service.vault.connection() as connection:
            decisions = await merchants.journal(connection, merchant_no)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY) from error
    return show(
        request,
        "merchant.html",
        status,
        trouble=trouble,
        merchant=_facts(merchant),
        has_photo=merchant.photo is not None and service.settings.photo_dir is not None,
        verdicts=[(each.name, name) for each, name in _VERDICTS.items() if each.begins is merchant.state],
        decisions=[
            (_STATES[each.to_state], from_datetime(each.at)[:19], each.actor, each.reason) for each in decisions
        ],
    )


async def _find(service: Service, merchant_no: str) -> Merchant:
    if not (merchant_no.isascii() and merchant_no.isdigit()):
        raise Problem(Code.RESOURCE_NOT_EXISTS)
    try:
        async with service.vault.connection() as connection:
            merchant = await merchants.find(connection, merchant_no)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY) from error
    if merchant is None:
        raise Problem(Code.RESOURCE_NOT_EXISTS)
    return merchant


def _facts(merchant: Merchant) -> dict[str, str]:
    return {
        "merchant_no": merchant.merchant_no,
        "name": merchant.name,
        "address": merchant.address,
        "town": merchant.town,
        "category": merchant.category,
        "ways": "、".join(_WAYS[way] for way in merchant.accepts),
        "state": merchant.state.value,
        "state_name": _STATES[merchant.state],
        "submitted_by": merchant.submitted_by,
        "submitted_at": from_datetime(merchant.submitted_at)[:19].replace("T", " "),
    }
