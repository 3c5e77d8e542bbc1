"""Which scope each route asks for: deny by default, one table.

A route that does not stand here is not served: the application refuses to start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Flag, auto

from fastapi.routing import APIRoute, APIRouter
from starlette.routing import BaseRoute

from grab_service.identity import REDEEM_SCOPE, REFUND_SCOPE, TILL_SCOPES
from grab_service.tickets import CLAIM_SCOPE, USER_SCOPES

REGISTER_SCOPE = "merchant:register"
CLAIM_ROUTE = "POST /v1/stocks/{stock_id}/claims"

_EVERYBODY: frozenset[str] = frozenset()
_USERS = frozenset({CLAIM_SCOPE})
_OWNERS = USER_SCOPES
_TILLS = frozenset({REDEEM_SCOPE})
_RETURNS = frozenset({REFUND_SCOPE})
_ROUND_OFFICERS = frozenset({"admin:round"})
_MERCHANT_OFFICERS = frozenset({"admin:merchants"})
_CASHIERS = frozenset({"admin:settle"})
# Who looks and changes nothing: of the office itself, and of those who examine it.
_READERS = frozenset({"admin:read", "audit:read"})

# Any one of the scopes is enough; none means that everybody may ask, also without a token.
TABLE: Mapping[str, frozenset[str]] = {
    CLAIM_ROUTE: _USERS,
    "POST /v1/challenges": _USERS,
    "POST /v1/tickets": _USERS,
    "GET /v1/stocks/{stock_id}/claims/me": _OWNERS,
    "GET /v1/stocks/{stock_id}/claims/me/proof": _OWNERS,
    "GET /v1/me/vouchers": _OWNERS,
    "POST /v1/merchants": frozenset({REGISTER_SCOPE, REDEEM_SCOPE}),
    "POST /v1/redemptions": _TILLS,
    "GET /v1/redemptions/{redemption_id}": TILL_SCOPES,
    # No return of goods: whoever takes a payment undoes it when it fails.
    "POST /v1/redemptions/{redemption_id}/reversal": _TILLS,
    "POST /v1/refunds": _RETURNS,
    "GET /v1/admin/journal": _READERS,
    "POST /v1/admin/stocks/{stock_id}/pause": _ROUND_OFFICERS,
    "POST /v1/admin/stocks/{stock_id}/resume": _ROUND_OFFICERS,
    "GET /v1/merchants": _EVERYBODY,
    "GET /v1/campaigns/{campaign_id}": _EVERYBODY,
    "GET /v1/stock": _EVERYBODY,
    "GET /v1/time": _EVERYBODY,
    "GET /v1/audit/head": _EVERYBODY,
    "GET /livez": _EVERYBODY,
    "GET /readyz": _EVERYBODY,
    "GET /healthz": _EVERYBODY,
    "GET /metrics": _EVERYBODY,
    "GET /v1/ops/events": _EVERYBODY,
    "GET /": _EVERYBODY,
    "HEAD /": _EVERYBODY,
    "GET /ops": _EVERYBODY,
    "HEAD /ops": _EVERYBODY,
    "GET /pages/{version}/{name:path}": _EVERYBODY,
    "HEAD /pages/{version}/{name:path}": _EVERYBODY,
    "POST /rehearsal/token": _EVERYBODY,
    "GET /staff": _EVERYBODY,
    "GET /staff/style.css": _EVERYBODY,
    "POST /staff/session": _EVERYBODY,
    "POST /staff/session/end": _EVERYBODY,
    "GET /staff/merchants": _MERCHANT_OFFICERS | _READERS,
    "GET /staff/merchants/import": _MERCHANT_OFFICERS,
    "POST /staff/merchants/import": _MERCHANT_OFFICERS,
    "GET /staff/merchants/{merchant_no}": _MERCHANT_OFFICERS | _READERS,
    "POST /staff/merchants/{merchant_no}": _MERCHANT_OFFICERS,
    "GET /staff/merchants/{merchant_no}/photo": _MERCHANT_OFFICERS | _READERS,
    "GET /staff/settlements": _CASHIERS | _READERS,
    "POST /staff/settlements": _CASHIERS,
    "GET /staff/settlements/{settlement_id}": _CASHIERS | _READERS,
    "POST /staff/settlements/{settlement_id}": _CASHIERS,
    "GET /staff/settlements/{settlement_id}/files/{name}": _CASHIERS | _READERS,
    "GET /docs": _EVERYBODY,
    "GET /docs/swagger-ui.css": _EVERYBODY,
    "GET /docs/swagger-ui-bundle.js": _EVERYBODY,
    "GET /docs/start.js": _EVERYBODY,
}


class Surface(Flag):
    """Where a route is served: for everybody, or for staff and monitoring on a port of their own."""

    PUBLIC = auto()
    ADMIN = auto()


EVERYWHERE = Surface.PUBLIC | Surface.ADMIN  # one port for both, in a rehearsal

# How the paths of staff and monitoring begin, and those of both; every other one is public.
_OF_ADMIN = ("/v1/admin/", "/v1/ops/", "/ops", "/staff", "/metrics", "/docs", "/openapi.json")
_OF_BOTH = ("/livez", "/readyz", "/healthz", "/pages/", "/v1/stock")
_NOT_OF_BOTH = ("/v1/stocks/",)

# Not of the router's own kind, so no dependency guards it; it says what /docs shows.
_UNGUARDED = frozenset({"/openapi.json"})


class RoutesUnguarded(Exception):
    """A route is not in the table; the message names each."""


def surface_of(path: str) -> Surface:
    """Return where a path is served, be it a route's or a request's."""
    if path.startswith(_OF_ADMIN):
        return Surface.ADMIN
    return EVERYWHERE if path.startswith(_OF_BOTH) and not path.startswith(_NOT_OF_BOTH) else Surface.PUBLIC


def suffices(route: str, scopes: frozenset[str]) -> bool:
    """Whether a caller with these scopes may ask a route that is not for everybody."""
    return not TABLE[route].isdisjoint(scopes)


def is_for_everybody(route: str) -> bool:
    """Whether a route asks nobody who he is."""
    return not TABLE[route]


def check(routes: Iterable[BaseRoute], table: Mapping[str, frozenset[str]] = TABLE) -> None:
    """See that the table has an entry for each route.

    Raises:
        RoutesUnguarded: It has not.
    """
    unknown = sorted(names_of(routes) - table.keys())
    if unknown:
        raise RoutesUnguarded(f"without an entry in the table of scopes: {', '.join(unknown)}")


def names_of(routes: Iterable[BaseRoute]) -> frozenset[str]:
    """Return the routes as the table names them; one that no dependency can guard has a question mark."""
    names: set[str] = set()
    for route in routes:
        path = getattr(route, "path", type(route).__name__)
        included = getattr(route, "original_router", None)
        if isinstance(included, APIRouter) and not included.prefix:
            names |= names_of(included.routes)
        elif isinstance(route, APIRoute):
            names |= {f"{method} {path}" for method in route.methods or ()}
        elif path not in _UNGUARDED:
            names.add(f"? {path}")
    return frozenset(names)
