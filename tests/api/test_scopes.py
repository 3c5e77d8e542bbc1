"""The table of scopes against the running service: every route with every scope and with none."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import httpx
import pytest
from fastapi import FastAPI

from grab_service.api import scopes
from grab_service.api.app import create_app
from grab_service.api.front import Front
from grab_service.api.scopes import CLAIM_ROUTE, EVERYWHERE, TABLE, RoutesUnguarded, Surface, surface_of
from grab_service.rehearsal import RehearsalKeys
from tests.api.conftest import Site

EVERY_SCOPE = ["claim", "claim:read", "merchant:redeem", "merchant:register", "merchant:refund"]
EVERY_SCOPE += ["admin:read", "admin:round", "admin:fund", "admin:settle", "admin:merchants", "admin:review"]
EVERY_SCOPE += ["admin:clients", "audit:read"]
# A page refuses forms of other sites with the same status, for another reason.
_OTHER_REASON = "This form was not sent by a page of this site."

_METHODS = {"get", "post", "put", "patch", "delete"}


def _application(site: Site) -> FastAPI:
    front = create_app(site.settings)
    assert isinstance(front, Front)
    assert isinstance(front._app, FastAPI)
    return front._app


def _bearer(site: Site, scope: str) -> dict[str, str]:
    assert site.settings.jwks_file is not None
    sign = RehearsalKeys(site.settings.jwks_file.parent).signer(
        issuer=site.settings.jwt_issuer, audience=site.settings.jwt_audience, now_s=int(time.time())
    )
    return {"Authorization": f"Bearer {sign('u1', '500110', scope)}"}


async def _ask(api: httpx.AsyncClient, route: str, headers: Mapping[str, str]) -> httpx.Response:
    method, _, path = route.partition(" ")
    path = re.sub(r"\{\w+(:path)?\}", "unknown", path)
    async with api.stream(method, path, headers=headers) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):  # which would go on for long
            await answer.aread()
        return answer


async def _documented(api: httpx.AsyncClient) -> list[str]:
    document = (await api.get("/openapi.json")).json()
    return [
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
        if method in _METHODS
    ]


def _is_refused(answer: httpx.Response) -> bool:
    return answer.status_code == 403 and _OTHER_REASON not in answer.text


async def test_every_route_asks_for_the_scope_of_the_table(site: Site, api: httpx.AsyncClient) -> None:
    """With a scope of the table a route goes on to its own checks; with any other, or none, 403, with no token 401."""
    assert set().union(*TABLE.values()) <= set(EVERY_SCOPE)
    allowed: dict[str, set[str]] = {}
    for route in TABLE:
        allowed[route] = set()
        anonymous = await _ask(api, route, {})
        if anonymous.status_code != 401:
            assert anonymous.status_code != 405, route
            continue
        answers = {scope: await _ask(api, route, _bearer(site, scope)) for scope in EVERY_SCOPE}
        assert all(answer.status_code not in (401, 405) for answer in answers.values()), route
        allowed[route] = {scope for scope, answer in answers.items() if not _is_refused(answer)}
        assert _is_refused(await _ask(api, route, _bearer(site, ""))), route
    assert allowed == {route: set(scopes) for route, scopes in TABLE.items()}


async def test_every_documented_route_is_in_the_table(api: httpx.AsyncClient) -> None:
    """What the OpenAPI document shows is what the table has."""
    documented = await _documented(api)
    assert CLAIM_ROUTE in documented
    assert set(documented) <= TABLE.keys()


async def test_the_scope_is_asked_for_before_the_request_is_looked_at(site: Site, api: httpx.AsyncClient) -> None:
    """Who may not ask learns nothing of what a route takes."""
    path = "/v1/me/vouchers?state=GONE"
    assert (await api.get(path)).status_code == 401
    assert (await api.get(path, headers=_bearer(site, "merchant:redeem"))).status_code == 403
    assert (await api.get(path, headers=_bearer(site, "claim"))).status_code == 422


async def test_the_table_and_the_routes_are_the_same(site: Site) -> None:
    """No route is without an entry, and no entry without a route."""
    assert scopes.names_of(_application(site).routes) == TABLE.keys()


@pytest.mark.parametrize("forgotten", ["POST /v1/redemptions", "GET /docs"])
async def test_a_route_without_an_entry_is_not_served(site: Site, forgotten: str) -> None:
    """The application refuses to start."""
    table = {route: allowed for route, allowed in TABLE.items() if route != forgotten}
    with pytest.raises(RoutesUnguarded, match=forgotten):
        scopes.check(_application(site).routes, table)


async def test_a_route_that_nothing_guards_is_not_served(site: Site) -> None:
    """What is mounted beside the router would be open to everybody."""
    app = _application(site)
    app.mount("/more", FastAPI())
    with pytest.raises(RoutesUnguarded, match="/more"):
        scopes.check(app.routes)


@pytest.mark.parametrize("surface", [Surface.PUBLIC, Surface.ADMIN], ids=lambda surface: surface.name)
async def test_each_route_is_served_on_its_surface_alone(site: Site, surface: Surface) -> None:
    """On the other port it is not found, whoever asks; what is of both is found on both."""
    api = await site.serve(surface=surface, rehearsal=False, docs=True)
    everything = "claim merchant:redeem merchant:refund merchant:register admin:round admin:read"
    for route in sorted(TABLE):
        if "/v1/ops/events" in route or "/pages/" in route:  # never ends, and parts by version
            continue
        answer = await _ask(api, route, _bearer(site, everything))
        is_missing = answer.status_code == 404 and (answer.request.method == "HEAD" or "errors" not in answer.json())
        path = route.partition(" ")[2]
        if not surface_of(path) & surface:
            assert is_missing, route
        elif "{" not in path and route != "POST /rehearsal/token":
            assert answer.status_code != 404, route
    assert ((await api.get("/openapi.json")).status_code == 200) == (surface is Surface.ADMIN)


async def test_what_is_for_staff_and_monitoring_is_not_public() -> None:
    """The paths that the public port must not have, by name."""
    of_admin = {route for route in TABLE if surface_of(route.partition(" ")[2]) is Surface.ADMIN}
    assert of_admin >= {
        "POST /v1/admin/stocks/{stock_id}/pause",
        "POST /v1/admin/stocks/{stock_id}/resume",
        "GET /metrics",
        "GET /v1/ops/events",
        "GET /ops",
        "HEAD /ops",
        "GET /docs",
    }
    assert {surface_of(path) for path in ("/livez", "/readyz", "/healthz", "/v1/stock")} == {EVERYWHERE}
    assert surface_of(CLAIM_ROUTE.partition(" ")[2]) is Surface.PUBLIC


async def test_health_tells_the_public_no_insides(site: Site) -> None:
    """The state of each part, without stocks, figures or causes."""
    public = (await (await site.serve(rehearsal=False)).get("/healthz")).json()
    staff = (await (await site.serve(surface=Surface.ADMIN, rehearsal=False)).get("/healthz")).json()
    assert public["checks"].keys() == staff["checks"].keys()
    assert all(check.keys() == {"status"} for check in public["checks"].values())
    assert "recovering" in staff["checks"]["stocks"]
