"""The public routes: campaigns and the server's time."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from grab_service import instants
from grab_service.api.caller import RunningService
from grab_service.api.claims import unknown
from grab_service.api.documented import refusals
from grab_service.api.models import CampaignFacts, ServerTime
from grab_service.api.problems import Code, Problem
from grab_service.stock import Stock

router = APIRouter()


@router.get(
    "/v1/campaigns/{campaign_id}",
    tags=["public"],
    operation_id="getCampaign",
    summary="活动详情",
    response_model=CampaignFacts,
    responses=refusals(Code.RESOURCE_NOT_EXISTS, Code.SYSTEM_BUSY),
)
async def get_campaign(campaign_id: str, service: RunningService) -> JSONResponse:
    """Return a campaign's rules, rounds and stocks.

    查询活动规则、场次与券批次。
    """
    campaign = service.campaigns.get(campaign_id)
    if campaign is None:
        raise Problem(unknown(service.counters))
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


_NO_STORE = {"Cache-Control": "no-store"}


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
