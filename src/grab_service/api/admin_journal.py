"""What staff asked for, approved and did, for those of them who only look, and for those who examine them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from grab_service import instants
from grab_service.api.caller import RunningService
from grab_service.api.documented import refusals
from grab_service.api.models import Instant, Shape
from grab_service.api.problems import Code, Problem
from grab_service.api.vault import VaultUnavailable
from ledger import admin
from ledger.admin import Step

router = APIRouter(tags=["operations"])

_STEPS_MAX = 1000


class AdminStep(Shape):
    """One step of what staff did; without a number where one person may act alone."""

    request_no: int | None
    step: Literal["REQUESTED", "APPROVED", "BEGUN", "DONE"]
    action: str
    target: str
    subject: str
    reason: str
    at: Instant
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AdminJournal(Shape):
    """Steps of what staff did, the latest first."""

    data: list[AdminStep]


@router.get(
    "/v1/admin/journal",
    operation_id="listAdminJournal",
    summary="管理日志",
    response_model=AdminJournal,
    responses=refusals(
        Code.SIGN_ERROR, Code.FORBIDDEN, Code.PARAM_ERROR, Code.FREQUENCY_LIMIT_EXCEED, Code.SYSTEM_BUSY
    ),
    openapi_extra={"security": [{"bearer": []}]},
)
async def list_journal(
    service: RunningService,
    limit: Annotated[int, Query(ge=1, le=_STEPS_MAX, description="how many steps, the latest first")] = 50,
) -> JSONResponse:
    """List who asked for, approved, began and did what, and why; the latest first.

    按时间倒序列出管理操作的申请、复核、执行及理由。
    """
    try:
        async with service.vault.connection() as connection:
            steps = await admin.journal(connection, limit)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger did not answer.") from error
    return JSONResponse({"data": [_told(step) for step in steps]}, headers={"Cache-Control": "no-store"})


def _told(step: Step) -> dict[str, object]:
    return {
        "request_no": step.request_no,
        "step": step.step,
        "action": step.action,
        "target": step.target,
        "subject": step.subject,
        "reason": step.reason,
        "at": instants.from_datetime(step.at),
        "before": None if step.before is None else json.loads(step.before),
        "after": None if step.after is None else json.loads(step.after),
    }
