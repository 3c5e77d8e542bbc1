"""What integrators read: the hot routes' entries in the OpenAPI document, and the page that shows it."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from grab_service import resources
from grab_service.api.documented import RETRY_AFTER, refusals
from grab_service.api.models import PendingClaim, StockPicture, Voucher
from grab_service.api.problems import Code, Problem

hot_routes = APIRouter()
router = APIRouter(include_in_schema=False)

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
_SERVED_IN_FRONT = "This route is served before the router."


@hot_routes.post(
    "/v1/stocks/{stock_id}/claims",
    tags=["claims"],
    operation_id="claimVoucher",
    summary="抢券",
    status_code=201,
    response_model=Voucher,
    responses={
        200: {"model": Voucher, "description": "the same voucher again, `replayed` is true · 重复领取返回同一张券"},
        202: {
            "model": PendingClaim,
            "description": "reserved; ask again for the final answer · 处理中，请再次查询",
            "headers": RETRY_AFTER,
        },
        **refusals(
            Code.PARAM_ERROR,
            Code.TOO_LARGE,
            Code.SIGN_ERROR,
            Code.FORBIDDEN,
            Code.PRESENCE_REQUIRED,
            Code.NOT_ELIGIBLE,
            Code.RESOURCE_NOT_EXISTS,
            Code.NOT_STARTED,
            Code.SOLD_OUT,
            Code.PAUSED,
            Code.ENDED,
            Code.LIMIT_REACHED,
            Code.FREQUENCY_LIMIT_EXCEED,
            Code.SYSTEM_BUSY,
        ),
    },
    openapi_extra={"security": [{"bearer": []}]},
)
async def claim_voucher(stock_id: str) -> Voucher:
    """Claim one voucher of a stock for the user of the token.

    Safe to repeat: a user who has won gets the same voucher again, also after the stock is gone. The
    request has no body. 请求可安全重试：已领取的用户始终得到同一张券。
    """
    raise Problem(Code.SYSTEM_ERROR, f"{_SERVED_IN_FRONT} {stock_id}")


@hot_routes.get(
    "/v1/stock",
    tags=["public"],
    operation_id="getStock",
    summary="库存快照",
    response_model=StockPicture,
    responses={304: {"description": "unchanged since the `ETag` in `If-None-Match`"}},
)
async def get_stock() -> StockPicture:
    """Return every stock's figures and state, at most some hundred milliseconds old.

    返回全部券批次的库存与状态，可高频轮询。
    """
    raise Problem(Code.SYSTEM_ERROR, _SERVED_IN_FRONT)


@router.get("/docs")
async def show_docs() -> Response:
    """Show the OpenAPI document; everything the page loads comes from here."""
    return _file("docs.html", "text/html")


@router.get("/docs/swagger-ui.css")
async def get_docs_style() -> Response:
    """Serve the page's style sheet."""
    return _file("vendor/swagger-ui/swagger-ui.css", "text/css")


@router.get("/docs/swagger-ui-bundle.js")
async def get_docs_script() -> Response:
    """Serve the page's script."""
    return _file("vendor/swagger-ui/swagger-ui-bundle.js", "text/javascript")


@router.get("/docs/start.js")
async def get_docs_start() -> Response:
    """Serve what starts the page's script."""
    return _file("docs.js", "text/javascript")


def _file(name: str, content_type: str) -> Response:
    return FileResponse(resources.page(name), media_type=content_type, headers=_HEADERS)
