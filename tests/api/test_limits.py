"""Limits over HTTP: by user, by client and by block of addresses, with what to wait for."""

from __future__ import annotations

import httpx

from grab_service.addresses import hash_of_block
from grab_service.limits import BURST_S
from tests.api.conftest import Site
from tests.api.test_redemptions import cashier
from tests.support.wait import wait_until

FROM_FLOODER = {"X-Forwarded-For": "203.0.113.9"}
FROM_HOME = {"X-Forwarded-For": "198.51.100.7"}


async def _until_limited(api: httpx.AsyncClient, path: str, headers: dict[str, str]) -> httpx.Response:
    """Ask until it was too often; more often than the burst allows, it never takes."""
    answer = await api.get(path, headers=headers)
    for _ in range(int(BURST_S) * 20):
        if answer.status_code == 429:
            break
        answer = await api.get(path, headers=headers)
    return answer


def _is_told(answer: httpx.Response) -> bool:
    return (
        answer.status_code == 429
        and answer.json()["code"] == "FREQUENCY_LIMIT_EXCEED"
        and int(answer.headers["Retry-After"]) >= 1
    )


async def test_a_user_who_asks_too_often_waits_and_nobody_else(site: Site) -> None:
    """One user's polling is bounded; another one, and his claims, go on."""
    api = await site.serve(user_requests_max=1)
    assert _is_told(await _until_limited(api, "/v1/me/vouchers", site.bearer("often")))
    assert (await api.get("/v1/me/vouchers", headers=site.bearer("other"))).status_code == 200
    claim = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("often"))
    assert claim.status_code == 201


async def test_a_till_has_a_limit_of_its_own(site: Site) -> None:
    """Tills ask more often than users, and each is bounded by itself."""
    api = await site.serve(client_requests_max=1)
    path = "/v1/redemptions/none"
    assert _is_told(await _until_limited(api, path, cashier(site.settings, "till-1")))
    assert (await api.get(path, headers=cashier(site.settings, "till-2"))).status_code == 404


async def test_a_block_of_addresses_has_a_limit_whoever_asks(site: Site) -> None:
    """Before any token is looked at; from elsewhere everything is as it was."""
    api = await site.serve(block_requests_max=1)
    assert _is_told(await _until_limited(api, "/v1/me/vouchers", FROM_FLOODER))
    neighbour = {"X-Forwarded-For": "203.0.113.77"} | site.bearer("a")
    assert (await api.get("/v1/me/vouchers", headers=neighbour)).status_code == 429
    assert (await api.get("/v1/me/vouchers", headers=FROM_HOME | site.bearer("a"))).status_code == 200


async def test_a_flood_of_forged_tokens_keeps_nobody_else_out(site: Site) -> None:
    """The block that floods gets 503 without a check; a newcomer from elsewhere is checked and claims."""
    api = await site.serve(verify_rate_block_max=3)
    forged = site.jwt("a")["Authorization"][:-4] + "AAAA"
    path = f"/v1/stocks/{site.stock_id}/claims"

    async def is_turned_away() -> bool:
        answers = [await api.post(path, headers=FROM_FLOODER | {"Authorization": forged}) for _ in range(4)]
        return answers[-1].status_code == 503

    await wait_until(is_turned_away, "the block's ration is spent")
    assert (await api.post(path, headers=FROM_HOME | site.jwt("newcomer"))).status_code == 201


async def test_who_takes_a_ticket_from_where_is_noted_as_hashes(site: Site) -> None:
    """Block and user, for the signals; nothing is kept of requests from the operator's own machines."""
    api = await site.serve()
    for headers in (FROM_HOME, {"X-Forwarded-For": "10.0.0.1"}):
        assert (await api.post("/v1/tickets", headers=headers | site.jwt("a"))).status_code == 200

    async def notes() -> list[tuple[bytes, str]]:
        rows = await site.vault.fetch("SELECT address_hash, user_ref FROM address_uses")
        return [(row["address_hash"], row["user_ref"]) for row in rows]

    async def is_noted() -> bool:
        return bool(await notes())

    await wait_until(is_noted, "the use of the address is in the vault")
    assert await notes() == [(hash_of_block(site.keys.pepper, "198.51.100.0/24"), site.user_ref("a"))]
