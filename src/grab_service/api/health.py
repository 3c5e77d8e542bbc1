"""The routes that say how the service is: probes, health and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from grab_service.api import metrics
from grab_service.api.caller import RunningService
from grab_service.api.models import Health
from grab_service.api.service import Service
from grab_service.gate import OK
from grab_service.snapshot import StockState, state_of

router = APIRouter()

_HEALTH_TYPE = "application/health+json"
_NO_STORE = {"Cache-Control": "no-store"}
_ON_THEIR_WAY_WARN_ABOVE = 2000  # claims; a rush has some hundreds
_LAG_WARNS_ABOVE_S = 5.0  # winners have been told PENDING for some seconds then


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
    """Return the state of each part; on the public port without stocks, figures and causes.

    返回各组成部分的状态；公开端口不含批次、数字与原因。
    """
    body = report(service)
    if not service.shows_insides:
        body["checks"] = {name: {"status": check["status"]} for name, check in body["checks"].items()}
    return JSONResponse(body, 503 if body["status"] == "fail" else 200, headers=_NO_STORE, media_type=_HEALTH_TYPE)


def report(service: Service) -> dict[str, Any]:
    """Return the state of each part, and of all together the worst."""
    checks = _checks(service)
    found = {check["status"] for check in checks.values()}
    status = next((level for level in ("fail", "warn") if level in found), "pass")
    return {"status": status, "checks": checks}


def _checks(service: Service) -> dict[str, dict[str, Any]]:
    figures = [counts for _, counts in service.snapshot.figures if counts is not None]
    gate_answers = service.snapshot.gate_answers
    recovering = [
        stock.stock_id
        for stock, counts in service.snapshot.figures
        if not gate_answers or state_of(counts) is StockState.RECOVERING
    ]
    stocks = "fail" if recovering or not figures else "pass" if service.counters.is_whole else "warn"
    return {
        "gate": {"status": "pass" if gate_answers else "fail"},
        "library": {"status": "pass" if service.library_is_ours else "fail"},
        "stocks": {"status": stocks, "recovering": recovering, "not_served": sorted(service.not_served)},
        "ledger_database": {"status": "pass" if service.vault_answers else "warn"},
        "ledger": _ledger(sum(max(0, counts.held - counts.booked) for counts in figures), service.ledger_lag_s),
        "invariants": _invariants(service.verdicts) | {"differences": service.differences},
    }


def _ledger(on_their_way: int, lag_s: float | None) -> dict[str, Any]:
    is_well = lag_s is not None and lag_s <= _LAG_WARNS_ABOVE_S and on_their_way <= _ON_THEIR_WAY_WARN_ABOVE
    return {"status": "pass" if is_well else "warn", "claims_on_their_way": on_their_way, "lag_s": lag_s}


def _invariants(verdicts: Mapping[str, str]) -> dict[str, Any]:
    violated = {invariant: verdict for invariant, verdict in verdicts.items() if verdict != OK}
    if not verdicts:
        return {"status": "warn", "watched": False, "violated": {}}
    return {"status": "fail" if violated else "pass", "watched": True, "violated": violated}


@router.get(
    "/metrics",
    tags=["health"],
    operation_id="getMetrics",
    summary="监控指标",
    response_class=PlainTextResponse,
)
def get_metrics(service: RunningService) -> Response:
    """Return the metrics of stocks, stores, invariants and claims over all processes, as Prometheus reads them.

    返回 Prometheus 格式的指标。
    """
    return Response(metrics.exposition(service), media_type=metrics.CONTENT_TYPE)
