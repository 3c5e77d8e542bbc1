"""The headers that keep browsers and caches in bounds, on every answer of every route."""

from __future__ import annotations

import re

import httpx
import pytest

from grab_service.api.scopes import CLAIM_ROUTE, TABLE, Surface
from tests.api.conftest import Site
from tests.api.test_scopes import _ask, _bearer

# What caches may keep, because it is nobody's own; all else is not to be stored.
_CACHED = {
    "GET /v1/stock": "public, max-age=1",
    "GET /v1/campaigns/{campaign_id}": "public, max-age=5",
    "GET /v1/merchants": "public, max-age=5",
    "GET /v1/audit/head": "public, max-age=2",
    "GET /staff/style.css": "private, max-age=300",
}
_CHECKED_ANEW = re.compile(r"(GET|HEAD) (/|/ops|/docs.*|/pages/.*)$")
# Constant bytes in front of the router; JSON that is not to be sniffed is no page in any browser.
_IN_FRONT = {CLAIM_ROUTE, "GET /v1/stock"}
_EVERYTHING = "claim merchant:redeem merchant:register admin:round admin:merchants admin:settle admin:read audit:read"


def _check(answer: httpx.Response, caching: str, *, is_in_front: bool = False) -> None:
    headers, route = answer.headers, f"{answer.request.method} {answer.request.url.path} {answer.status_code}"
    assert headers.get_list("x-content-type-options") == ["nosniff"], route
    assert headers.get("server", "") == "", route
    assert "x-powered-by" not in headers, route
    assert headers.get_list("cache-control") == [caching], route
    policy = headers.get("content-security-policy", "")
    assert is_in_front or "default-src 'none'" in policy, route
    assert is_in_front or "frame-ancestors 'none'" in policy, route
    assert "unsafe" not in policy, route
    if headers.get("content-type", "").startswith("text/html"):
        assert headers["referrer-policy"] in {"no-referrer", "same-origin"}, route


async def test_every_route_sends_them(site: Site, api: httpx.AsyncClient) -> None:
    """Answers, refusals and pages: nothing is sniffed or framed, nobody's own is stored, no server named."""
    everything = _bearer(site, _EVERYTHING)
    for route in TABLE:
        named = route.replace("{campaign_id}", site.campaign.campaign_id)
        for headers in ({}, everything):
            answer = await _ask(api, named, headers)
            caching = "no-store"
            if answer.status_code == 200:
                caching = "no-cache" if _CHECKED_ANEW.match(route) else _CACHED.get(route, caching)
            _check(answer, caching, is_in_front=route in _IN_FRONT)


@pytest.mark.parametrize("request_line", ["GET /none", "PUT /v1/time", "POST /v1/stocks/none/claims", "OPTIONS /"])
async def test_what_no_route_answers_carries_them_too(api: httpx.AsyncClient, request_line: str) -> None:
    """An unknown path, a wrong method, an unknown stock; and no other site is allowed to read."""
    method, _, path = request_line.partition(" ")
    answer = await api.request(method, path, headers={"Origin": "https://elsewhere.example"})
    assert 400 <= answer.status_code < 500
    _check(answer, "no-store", is_in_front=True)
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_claim_and_its_voucher_are_nobody_elses(site: Site, api: httpx.AsyncClient) -> None:
    """What a winner is told is never stored."""
    path = f"/v1/stocks/{site.stock_id}/claims"
    for answer in (
        await api.post(path, headers=site.bearer("u1")),
        await api.get(f"{path}/me", headers=site.bearer("u1")),
        await api.get("/v1/me/vouchers", headers=site.bearer("u1")),
    ):
        assert answer.is_success
        _check(answer, "no-store", is_in_front=True)


@pytest.mark.parametrize("is_asked_for", [False, True])
async def test_the_api_is_described_in_production_only_if_asked_for(site: Site, *, is_asked_for: bool) -> None:
    """Page and document are on the admin port when the setting says so, and else nowhere."""
    admin = await site.serve(surface=Surface.ADMIN, rehearsal=False, docs=is_asked_for)
    for path in ("/docs", "/docs/start.js", "/openapi.json"):
        assert (await admin.get(path)).status_code == (200 if is_asked_for else 404)
