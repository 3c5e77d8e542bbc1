"""Proof of presence over HTTP: a challenge, work, a ticket; and no way around it."""

from __future__ import annotations

import httpx
import pytest

from grab_service.presence import solve
from tests.api.conftest import Site


@pytest.fixture
async def guarded(site: Site) -> httpx.AsyncClient:
    """An API that asks for work before it gives a ticket."""
    return await site.serve(presence="work", presence_bits=6)


async def proof(api: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, dict[str, str]]:
    """Ask for a challenge, solve it, and return the body that shows it."""
    answer = await api.post("/v1/challenges", headers=headers)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["kind"], told["bits"]) == ("work", 6)
    return {"presence": {"challenge": told["challenge"], "answer": solve(told["challenge"], told["bits"])}}


async def test_work_gives_a_ticket_and_the_ticket_claims(site: Site, guarded: httpx.AsyncClient) -> None:
    """The way that everybody goes; the same work is good for one ticket."""
    shown = await proof(guarded, site.jwt("a"))
    given = await guarded.post("/v1/tickets", json=shown, headers=site.jwt("a"))
    assert given.status_code == 200, given.text
    ticket = {"Authorization": f"Bearer {given.json()['ticket']}"}
    assert (await guarded.post(f"/v1/stocks/{site.stock_id}/claims", headers=ticket)).status_code == 201
    again = await guarded.post("/v1/tickets", json=shown, headers=site.jwt("a"))
    assert (again.status_code, again.json()["code"]) == (403, "PRESENCE_REQUIRED")
    assert "answered already" in again.json()["detail"]


async def test_without_work_there_is_no_ticket(site: Site, guarded: httpx.AsyncClient) -> None:
    """Neither for nothing nor for another user's work."""
    nothing = await guarded.post("/v1/tickets", headers=site.jwt("a"))
    assert (nothing.status_code, nothing.json()["code"]) == (403, "PRESENCE_REQUIRED")
    assert "/v1/challenges" in nothing.json()["detail"]
    others = await guarded.post("/v1/tickets", json=await proof(guarded, site.jwt("b")), headers=site.jwt("a"))
    assert (others.status_code, others.json()["code"]) == (403, "PRESENCE_REQUIRED")


async def test_the_apps_token_alone_claims_nothing(site: Site, guarded: httpx.AsyncClient) -> None:
    """Else nobody would work; reading one's own vouchers needs no proof."""
    answer = await guarded.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.jwt("a"))
    assert (answer.status_code, answer.json()["code"]) == (403, "PRESENCE_REQUIRED")
    assert "ticket" in answer.json()["detail"]
    assert (await guarded.get("/v1/me/vouchers", headers=site.jwt("a"))).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"presence": "work"},
        {"presence": {"challenge": "p1"}},
        {"presence": {"challenge": "p1", "answer": 1}},
        {"presence": {"challenge": "p1", "answer": "1e3"}},
        {"presence": {"challenge": "p" * 201, "answer": "1"}},
        {"presence": {"challenge": "p1", "answer": "1", "user": "b"}},
        {"user": "b"},
    ],
)
async def test_what_is_no_proof_is_told_so(site: Site, guarded: httpx.AsyncClient, body: object) -> None:
    """A malformed body is an error of the caller's, whatever the token."""
    answer = await guarded.post("/v1/tickets", json=body, headers=site.jwt("a"))
    assert (answer.status_code, answer.json()["code"]) == (422, "PARAM_ERROR")


async def test_where_nothing_is_asked_for_the_challenge_says_so(site: Site, api: httpx.AsyncClient) -> None:
    """A client can ask the same way everywhere."""
    told = (await api.post("/v1/challenges", headers=site.jwt("a"))).json()
    assert (told["kind"], told["challenge"], told["bits"]) == ("none", "", 0)
    assert (await api.post("/v1/tickets", headers=site.jwt("a"))).status_code == 200
