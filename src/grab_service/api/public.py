"""The public routes: campaigns, the server's time, health."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from grab_service import instants
from grab_service.api.caller import RunningService
from grab_service.api.documented import refusals
from grab_service.api.models import CampaignFacts, Health, ServerTime
from grab_service.api.problems import Code, Problem
from grab_service.api.service import Service
from grab_service.snapshot import StockState, state_of
from grab_service.stock import Stock

router = APIRouter()

_HEALTH_TYPE = "application/health+json"
_LAG_WARNS_ABOVE = 2000  # claims on their way to the ledger; a rush has some hundreds


@router.get(
    "/v1/campaigns/{campaign_id}",
    tags=["public"],
    operation_id="getCampaign",
    summary="活动详情",
    response_model=CampaignFacts,
    responses=refusals(Code.RESOURCE_NOT_EXISTS),
)
async def get_campaign(campaign_id: str, service: RunningService) -> JSONResponse:
    """Return a campaign's rules, rounds and stocks.

    查询活动规则、场次与券批次。
    """
    campaign = service.campaigns.get(campaign_id)
    if campaign is None:
        raise Problem(Code.RESOURCE_NOT_EXISTS)
    body = {
        "campaign_id": campaign_id,
        "document": campaign.document(),
        "stocks": [_stock_facts(stock) for stock in campaign.stocks()],
    }
    return JSONResponse(body, headers={"Cache-Control": "public, max-age=5"})


@router.get("/v1/time", tags=["public"], operation_id="getTime", summary="服务器时间", response_model=ServerTime)
async def get_time() -> JSONResponse:
    """Return this server's clock, for a countdown that does not trust the phone's.

    返回服务器时间，供客户端倒计时校准。
    """
    return JSONResponse({"server_time": instants.from_ms(time.time_ns() // 1_000_000)}, headers=_NO_STORE)


@router.get("/livez", tags=["health"], operation_id="getLiveness", summary="存活检查")
async def get_liveness() -> Response:
    """Answer as long as the process runs; asks no store.

    进程存活即返回 200。
    """
    return Response("ok\n", media_type="text/plain")


@router.get(
    "/readyz",
    tags=["health"],
    operation_id="getReadiness",
    summary="就绪检查",
    responses={503: {"description": "not ready"}},
)
async def get_readiness(service: RunningService) -> Response:
    """Answer 200 when claims can be served.

    可以受理领取请求时返回 200，否则 503。
    """
    return Response("ready\n" if service.is_ready else "not ready\n", 200 if service.is_ready else 503)


@router.get(
    "/healthz",
    tags=["health"],
    operation_id="getHealth",
    summary="健康详情",
    response_model=Health,
    responses={503: {"description": "a part that claims need is failing", "model": Health}},
)
async def get_health(service: RunningService) -> JSONResponse:
    """Return the state of each part.

    返回各组成部分的状态。
    """
    checks = _checks(service)
    found = {check["status"] for check in checks.values()}
    status = next((level for level in ("fail", "warn") if level in found), "pass")
    body = {"status": status, "checks": checks}
    return JSONResponse(body, 503 if status == "fail" else 200, headers=_NO_STORE, media_type=_HEALTH_TYPE)


_NO_STORE = {"Cache-Control": "no-store"}


def _checks(service: Service) -> dict[str, dict[str, Any]]:
    figures = [counts for _, counts in service.snapshot.figures if counts is not None]
    gate_answers = service.snapshot.gate_answers
    recovering = [
        stock.stock_id for stock, counts in service.snapshot.figures if state_of(counts) is StockState.RECOVERING
    ]
    on_their_way = sum(max(0, counts.held - counts.booked) for counts in figures)
    return {
        "gate": {"status": "pass" if gate_answers else "fail"},
        "library": {"status": "pass" if service.library_is_ours else "fail"},
        "stocks": {"status": "fail" if recovering or not figures else "pass", "recovering": recovering},
        "ledger_database": {"status": "pass" if service.vault_answers else "warn"},
        "ledger": {
            "status": "warn" if on_their_way > _LAG_WARNS_ABOVE or not gate_answers else "pass",
            "claims_on_their_way": on_their_way,
        },
    }


def _stock_facts(stock: Stock) -> dict[str, Any]:
    return {
        "stock_id": stock.stock_id,
        "round_id": stock.round_id,
        "class": stock.class_code,
        "tier": stock.tier,
        "name": stock.name,
        "threshold_fen": stock.threshold_fen,
        "discount_fen": stock.discount_fen,
        "quantity": stock.quantity,
        "opens_at": instants.from_datetime(stock.opens_at),
        "closes_at": instants.from_datetime(stock.closes_at),
        "available_until": instants.from_datetime(stock.available_until),
    }
