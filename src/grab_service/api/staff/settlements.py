"""Settlements: freeze a period, look at its figures, fetch its files, agree and pay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import APIRouter, Request, Response

from grab_service.api.caller import RunningService
from grab_service.api.problems import Code, Problem
from grab_service.api.service import Service
from grab_service.api.staff.page import HEADERS, Form, form_of, go, show, subject_of
from grab_service.instants import from_datetime
from grab_service.periods import end_of
from grab_service.settlement_files import files_of
from grab_service.stores import StoreUnavailable, open_vault
from ledger import settlement
from ledger.seal import seal_now
from ledger.settlement import Settlement, SettlementRefused

router = APIRouter(include_in_schema=False)

_STATES = {"FROZEN": "已冻结，待复核", "APPROVED": "已复核，待付款", "PAID": "已付款"}
_NO_REASON = "请填写理由：一行文字，1 至 500 字。"
_NO_RIGHTS = "本进程的数据库角色不能结算：请用 grab settle，或设置 GRAB_STAFF_DATABASE_URL（grab_staff 的登录）。"
_TYPES = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
}


@router.get("/staff/settlements")
async def list_settlements(request: Request, service: RunningService) -> Response:
    """List the settlements of every campaign, and by when each is to be settled."""
    return await _list(request, service)


@router.post("/staff/settlements")
async def freeze(request: Request, service: RunningService) -> Response:
    """Freeze the period that ends with a day; somebody else must agree before it is paid."""
    form = await form_of(request)
    reason = form.reason
    if reason is None:
        return await _list(request, service, 422, _NO_REASON)
    try:
        until = end_of(form.texts.get("until", "").strip())
        async with _vault(service) as vault:
            await seal_now(vault)  # so that the heads of the journals cover what is settled
            campaign_id = form.texts.get("campaign", "")
            found = await settlement.freeze(vault, campaign_id, until, subject=subject_of(request), reason=reason)
    except (ValueError, SettlementRefused) as error:
        return await _list(request, service, 409, f"未冻结：{error}")
    return go(f"/staff/settlements/{found.settlement_id}")


@router.get("/staff/settlements/{settlement_id}")
async def show_settlement(request: Request, settlement_id: str, service: RunningService) -> Response:
    """Show what each merchant gets, and who has agreed."""
    return await _show(request, settlement_id, service)


@router.post("/staff/settlements/{settlement_id}")
async def approve(request: Request, settlement_id: str, service: RunningService) -> Response:
    """Agree to what somebody else has frozen, and pay it."""
    form = await form_of(request)
    reason = form.reason
    if reason is None:
        return await _show(request, settlement_id, service, 422, _NO_REASON)
    try:
        async with _vault(service) as vault:
            await settlement.approve(
                vault, settlement_id, subject=subject_of(request), reason=reason, accept_differences=_accepted(form)
            )
    except SettlementRefused as error:
        return await _show(request, settlement_id, service, 409, f"未付款：{error}")
    return go(f"/staff/settlements/{settlement_id}")


@router.get("/staff/settlements/{settlement_id}/files/{name}")
async def get_file(settlement_id: str, name: str, service: RunningService) -> Response:
    """Serve a file of a settlement: the very bytes that the command line writes."""
    try:
        async with _vault(service) as vault:
            contents = await settlement.contents(vault, settlement_id)
    except SettlementRefused as error:
        raise Problem(Code.RESOURCE_NOT_EXISTS) from error
    files = await asyncio.to_thread(files_of, *contents)
    if name not in files:
        raise Problem(Code.RESOURCE_NOT_EXISTS)
    headers = HEADERS | {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(files[name], media_type=_TYPES[name.rpartition(".")[2]], headers=headers)


@asynccontextmanager
async def _vault(service: Service) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection that may settle, and has more time than those of the API's pool."""
    url = service.settings.staff_database_url or service.settings.database_url
    try:
        async with open_vault(service.settings.model_copy(update={"database_url": url})) as vault:
            yield vault
    except StoreUnavailable as error:
        if isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError):
            raise Problem(Code.FORBIDDEN, _NO_RIGHTS) from error
        raise Problem(Code.SYSTEM_BUSY) from error


def _accepted(form: Form) -> str | None:
    return form.texts.get("accept_differences", "").strip() or None


async def _list(request: Request, service: Service, status: int = 200, trouble: str = "") -> Response:
    async with _vault(service) as vault:
        found = await settlement.settlements(vault)
        deadlines = await settlement.deadlines(vault)
    return show(
        request,
        "settlements.html",
        status,
        trouble=trouble,
        settlements=[_facts(each) for each in reversed(found)],
        deadlines=[
            {
                "campaign_id": each.campaign_id,
                "settle_by": from_datetime(each.settle_by)[:16].replace("T", " "),
                "left": "已逾期" if each.is_over else f"剩余 {each.days_left} 天",
                "owed_fen": each.owed_fen,
                "paid_fen": each.paid_fen,
            }
            for each in deadlines
        ],
    )


async def _show(
    request: Request, settlement_id: str, service: Service, status: int = 200, trouble: str = ""
) -> Response:
    try:
        async with _vault(service) as vault:
            found = await settlement.find(vault, settlement_id)
            lines = await settlement.lines(vault, found)
            compared = await settlement.latest_comparison(vault, found)
    except SettlementRefused as error:
        raise Problem(Code.RESOURCE_NOT_EXISTS) from error
    name = found.settlement_id
    return show(
        request,
        "settlement.html",
        status,
        trouble=trouble,
        settlement=_facts(found),
        total=found,
        lines=lines,
        compared=compared,
        is_paid=found.state == "PAID",
        is_own=found.requested_by == subject_of(request),
        files=[
            (f"{name}-summary.xlsx", "汇总表 XLSX"),
            (f"{name}-details.xlsx", "明细表 XLSX"),
            (f"{name}-summary.csv", "汇总表 CSV"),
            (f"{name}-details.csv", "明细表 CSV"),
            (f"{name}-manifest.json", "清单（SHA-256）"),
        ],
    )


def _facts(each: Settlement) -> Mapping[str, Any]:
    return {
        "settlement_id": each.settlement_id,
        "state": each.state,
        "state_name": _STATES[each.state],
        "begins_at": from_datetime(each.begins_at)[:16].replace("T", " ") if each.begins_at else "活动开始",
        "until": from_datetime(each.until)[:16].replace("T", " "),
        "frozen_at": from_datetime(each.frozen_at)[:16].replace("T", " "),
        "requested_by": each.requested_by,
        "reason": each.reason,
        "approved_by": each.approved_by or "",
        "merchants": each.merchants,
        "paid_fen": each.paid_fen,
        "carried_fen": each.carried_fen,
    }
