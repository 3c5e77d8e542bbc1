"""Claims over HTTP, on the real gate, worker and vault."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from grab_service import instants
from grab_service.keys import ASKED
from tests.api.conftest import BEIJING, Site, SiteOf
from tests.support.campaigns import small_campaign
from tests.support.wait import wait_until

VOUCHER_MEMBERS = {
    "voucher_code",
    "stock_id",
    "campaign_id",
    "round_id",
    "class",
    "tier",
    "claim_no",
    "state",
    "claimed_at",
    "threshold_fen",
    "discount_fen",
    "available_until",
    "replayed",
}
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "message", "request_id", "server_time"}


async def claim(api: httpx.AsyncClient, site: Site, user: str, stock_id: str | None = None) -> httpx.Response:
    """Claim a voucher for a user."""
    return await api.post(f"/v1/stocks/{stock_id or site.stock_id}/claims", headers=site.bearer(user))


async def test_a_winner_gets_a_voucher_that_is_in_the_ledger(site: Site, api: httpx.AsyncClient) -> None:
    """201 carries the whole voucher, and at that moment its row is committed."""
    response = await claim(api, site, "u1")
    row = await site.vault.fetchrow("SELECT * FROM claims")
    assert response.status_code == 201
    voucher = response.json()
    assert voucher.keys() == VOUCHER_MEMBERS
    assert (voucher["claim_no"], voucher["state"], voucher["replayed"]) == (1, "ISSUED", False)
    assert voucher["voucher_code"] == site.codes.code(site.stock_id, 1)
    assert row is not None
    assert (row["claim_no"], row["user_ref"]) == (1, site.user_ref("u1"))
    assert instants.from_datetime(row["claimed_at"]) == voucher["claimed_at"]
    assert voucher["claimed_at"].endswith("+08:00")
    assert response.headers["cache-control"] == "no-store"


async def test_a_second_click_gets_the_same_voucher(site: Site, api: httpx.AsyncClient) -> None:
    """The repeat is 200 with replayed true and otherwise the same voucher."""
    first, second = await claim(api, site, "u1"), await claim(api, site, "u1")
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json() | {"replayed": True}
    # Also from a process that has not seen the first one, so that the gate must say it.
    third = await claim(await site.serve(), site, "u1")
    assert (third.status_code, third.json()) == (200, second.json())


async def test_exactly_the_stock_is_handed_out(site: Site, api: httpx.AsyncClient) -> None:
    """Forty users for five vouchers: five 201 with numbers 1 to 5, thirty-five SOLD_OUT."""
    responses = await asyncio.gather(*(claim(api, site, f"u{number}") for number in range(40)))
    assert Counter(response.status_code for response in responses) == {201: 5, 409: 35}
    assert {response.json()["code"] for response in responses if response.status_code == 409} == {"SOLD_OUT"}
    assert sorted(r.json()["claim_no"] for r in responses if r.status_code == 201) == [1, 2, 3, 4, 5]


async def test_two_hundred_parallel_claims_of_one_user_are_one_voucher(site: Site) -> None:
    """Over two API processes every answer is the same voucher."""
    apis = [await site.serve(user_rate_max=1000) for _ in range(2)]
    responses = await asyncio.gather(*(claim(apis[number % 2], site, "u1") for number in range(200)))
    assert {response.status_code for response in responses} <= {200, 201}
    assert len({(r.json()["claim_no"], r.json()["voucher_code"]) for r in responses}) == 1
    assert await site.vault.fetchval("SELECT count(*) FROM claims") == 1


async def test_a_user_who_asks_too_often_is_told_so_and_others_are_not(site: Site) -> None:
    """429 with Retry-After above the rate; the next user is served, and so is the hasty one a second later."""
    api = await site.serve(user_rate_max=3)
    hasty = [await claim(api, site, "u1") for _ in range(5)]
    told = {response.status_code: response for response in hasty}
    assert told.keys() == {201, 200, 429}
    assert (told[429].json()["code"], "retry-after" in told[429].headers) == ("FREQUENCY_LIMIT_EXCEED", True)
    user_ref = await site.vault.fetchval("SELECT user_ref FROM claims")
    assert (await claim(api, site, "u2")).status_code == 201

    async def is_told() -> bool:
        return bool(await site.client.hexists(ASKED, user_ref))

    await wait_until(is_told, "the gate is told of the hasty one, for all processes")

    async def is_served() -> bool:
        return bool((await claim(api, site, "u1")).status_code == 200)

    await wait_until(is_served, "the hasty one is served again")


async def test_once_sold_out_a_no_costs_the_gate_nothing(site: Site, api: httpx.AsyncClient) -> None:
    """Losers and winners are answered from memory; a recovery that frees a number is noticed."""
    await asyncio.gather(*(claim(api, site, f"u{number}") for number in range(10)))

    async def calls() -> int:
        return int((await site.client.info("commandstats"))["cmdstat_fcall"]["calls"])

    async def is_known() -> bool:
        before = await calls()
        assert (await claim(api, site, "x")).json()["code"] == "SOLD_OUT"
        return await calls() == before

    await site.stop_worker()
    await wait_until(is_known, "nobody asks the gate any more")
    assert {(await claim(api, site, f"u{number}")).status_code for number in range(10)} == {200, 409}

    await site.vault.execute("ALTER TABLE claims DISABLE TRIGGER ALL")
    await site.vault.execute("DELETE FROM claims WHERE claim_no = 5")
    await site.vault.execute("ALTER TABLE claims ENABLE ALWAYS TRIGGER claims_are_append_only")
    await site.client.delete(next(iter(site.campaign.stocks())).keys.claims)
    await site.recover()
    site.start_worker()

    async def has_won() -> bool:
        return bool((await claim(api, site, "x")).status_code in (200, 201))

    await wait_until(has_won, "the free number is handed out")


async def test_a_winner_keeps_the_voucher_after_sell_out_recovery_and_change_of_promise(
    site: Site, api: httpx.AsyncClient
) -> None:
    """Sell-out, a recovery and another GRAB_ACK do not change what a winner holds."""
    won = (await claim(api, site, "u0")).json()
    await asyncio.gather(*(claim(api, site, f"u{number}") for number in range(1, 10)))
    assert (await claim(api, site, "u99")).json()["code"] == "SOLD_OUT"
    assert (await claim(api, site, "u0")).json() == won | {"replayed": True}
    await site.recover()
    other = await site.serve(ack="stream")
    assert (await claim(other, site, "u0")).json() == won | {"replayed": True}


async def test_a_claim_before_the_opening_is_told_when_to_come_back(make_site: SiteOf, campaign_id: str) -> None:
    """NOT_STARTED has Retry-After and opens_at; every process judges by the gate's clock."""
    opens_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=600)
    campaign = small_campaign(campaign_id, round_changes={"opens_at": opens_at.isoformat()})
    async with make_site(campaign) as site:
        for api in (await site.serve(), await site.serve()):
            response = await claim(api, site, "u1")
            assert response.status_code == 409
            problem = response.json()
            assert problem["code"] == "NOT_STARTED"
            assert problem["opens_at"] == instants.from_datetime(opens_at)
            assert 400 <= int(response.headers["retry-after"]) <= 600
        rules = next(iter(campaign.stocks())).keys.rules
        gate_ms = int((await site.client.time())[0]) * 1000
        await site.client.hset(rules, "opens_ms", str(gate_ms - 1))

        async def has_won() -> bool:
            return bool((await claim(api, site, "u1")).status_code == 201)

        await wait_until(has_won, "the process has noticed that the opening was moved", 1)


async def test_a_paused_stock_hands_out_nothing_and_keeps_what_is_held(site: Site, api: httpx.AsyncClient) -> None:
    """PAUSED to newcomers, the voucher to its winner."""
    await claim(api, site, "u1")
    await site.vault.execute("UPDATE stocks SET paused = true")
    await site.client.hset(next(iter(site.campaign.stocks())).keys.rules, "paused", "1")
    assert (await claim(api, site, "u2")).json()["code"] == "PAUSED"
    assert (await claim(api, site, "u1")).status_code == 200


async def test_after_the_end_nothing_is_handed_out(make_site: SiteOf, campaign_id: str) -> None:
    """ENDED from closes_at on."""
    closes_at = datetime.now(UTC) - timedelta(seconds=1)
    async with make_site(small_campaign(campaign_id, round_changes={"closes_at": closes_at.isoformat()})) as site:
        assert (await claim(await site.serve(), site, "u1")).json()["code"] == "ENDED"


async def test_a_cap_per_round_is_told_as_such(make_site: SiteOf, campaign_id: str) -> None:
    """LIMIT_REACHED on the second stock of the round, with per_user_per_round = 1, and the ledger agrees."""
    async with make_site(small_campaign(campaign_id, per_user_per_round=1)) as site:
        api = await site.serve()
        general, dining = (stock.stock_id for stock in site.campaign.stocks())
        assert (await claim(api, site, "u1", general)).status_code == 201
        assert (await claim(api, site, "u1", dining)).json()["code"] == "LIMIT_REACHED"
        assert (await claim(api, site, "u2", dining)).status_code == 201


async def test_only_residents_may_claim(site: Site, api: httpx.AsyncClient) -> None:
    """A user of another region is NOT_ELIGIBLE, by the region in the token."""
    path = f"/v1/stocks/{site.stock_id}/claims"
    for region in (BEIJING, ""):
        response = await api.post(path, headers=site.bearer("u1", region=region))
        assert (response.status_code, response.json()["code"]) == (403, "NOT_ELIGIBLE")
    assert await site.client.exists(next(iter(site.campaign.stocks())).keys.holders) == 0


async def test_messages_are_chinese_unless_english_is_asked_for(site: Site, api: httpx.AsyncClient) -> None:
    """The same problem in both languages, with every member of the contract."""
    path = "/v1/stocks/no-such-stock/claims"
    chinese = await api.post(path, headers=site.bearer("u1"))
    english = await api.post(path, headers=site.bearer("u1") | {"Accept-Language": "en"})
    assert chinese.status_code == english.status_code == 404
    assert chinese.headers["content-type"] == "application/problem+json"
    assert chinese.json().keys() >= PROBLEM_MEMBERS
    assert chinese.json()["message"] == "活动或券不存在"
    assert english.json()["message"].isascii()


async def test_with_the_worker_away_a_winner_is_told_to_ask_again(site: Site) -> None:
    """202 within the confirmation timeout; after the worker is back the same question gives the voucher."""
    await site.stop_worker()
    quick = await site.serve(confirm_timeout_ms=300)
    started = asyncio.get_running_loop().time()
    response = await claim(quick, site, "u1")
    assert (response.status_code, response.json()["state"]) == (202, "PENDING")
    assert response.headers["retry-after"] in ("1", "2")
    assert asyncio.get_running_loop().time() - started < 2
    headers = site.bearer("u1")
    mine = await quick.get(f"/v1/stocks/{site.stock_id}/claims/me", headers=headers)
    assert (mine.status_code, mine.json()["state"]) == (200, "PENDING")
    listed = (await quick.get("/v1/me/vouchers", headers=headers)).json()["data"]
    assert [voucher["state"] for voucher in listed] == ["PENDING"]

    site.start_worker()

    async def is_booked() -> bool:
        return (await claim(quick, site, "u1")).status_code == 200

    await wait_until(is_booked, "the pending claim becomes the voucher")
    mine = await quick.get(f"/v1/stocks/{site.stock_id}/claims/me", headers=headers)
    assert mine.json()["claim_no"] == 1


async def test_with_ack_stream_a_winner_does_not_wait_for_the_ledger(site: Site) -> None:
    """201 after the gate's fsync alone, also while no worker runs, and the voucher is listed at once."""
    await site.stop_worker()
    api = await site.serve(ack="stream")
    response = await claim(api, site, "u1")
    assert response.status_code == 201
    listed = (await api.get("/v1/me/vouchers", headers=site.bearer("u1"))).json()["data"]
    assert listed == [response.json() | {"replayed": True}]


async def test_a_closed_gate_is_busy_and_loses_nothing(site: Site, api: httpx.AsyncClient) -> None:
    """503 with Retry-After while the stock is closed; after a recovery the winner has his voucher."""
    won = (await claim(api, site, "u1")).json()
    await site.client.fcall("grab_close", 1, next(iter(site.campaign.stocks())).keys.rules)

    async def is_busy() -> bool:
        return bool((await claim(api, site, "u1")).status_code == 503)

    await wait_until(is_busy, "what the process remembered of the winner has lapsed", 1)
    for user in ("u1", "u2"):
        response = await claim(api, site, user)
        assert (response.status_code, response.json()["code"]) == (503, "SYSTEM_BUSY")
        assert 1 <= int(response.headers["retry-after"]) <= 3
    mine = await api.get(f"/v1/stocks/{site.stock_id}/claims/me", headers=site.bearer("u1"))
    assert mine.json()["voucher_code"] == won["voucher_code"]
    await site.recover()
    assert (await claim(api, site, "u1")).json() == won | {"replayed": True}
    assert (await claim(api, site, "u2")).status_code == 201


async def test_my_vouchers_lists_what_i_hold_and_nothing_else(site: Site, api: httpx.AsyncClient) -> None:
    """The list shows each claim from the moment it was answered; a filter by state is kept."""
    stocks = [stock.stock_id for stock in site.campaign.stocks()]
    mine: list[dict[str, Any]] = [(await claim(api, site, "u1", stock_id)).json() for stock_id in stocks]
    await claim(api, site, "u2")
    listed = (await api.get("/v1/me/vouchers", headers=site.bearer("u1"))).json()["data"]
    assert [voucher["voucher_code"] for voucher in listed] == [voucher["voucher_code"] for voucher in mine]
    issued = await api.get("/v1/me/vouchers?state=ISSUED", headers=site.bearer("u1"))
    assert len(issued.json()["data"]) == 2
    assert (await api.get("/v1/me/vouchers?state=USED", headers=site.bearer("u1"))).json() == {"data": []}
    assert (await api.get("/v1/me/vouchers", headers=site.bearer("u3"))).json() == {"data": []}


async def test_my_claim_of_a_stock_i_hold_nothing_of_is_not_found(site: Site, api: httpx.AsyncClient) -> None:
    """404, and looking wins nothing."""
    response = await api.get(f"/v1/stocks/{site.stock_id}/claims/me", headers=site.bearer("u1"))
    assert (response.status_code, response.json()["code"]) == (404, "RESOURCE_NOT_EXISTS")
    assert await site.vault.fetchval("SELECT count(*) FROM claims") == 0


async def test_a_gate_that_is_behind_the_vault_is_not_believed(site: Site, api: httpx.AsyncClient) -> None:
    """An old primary that still answers, with an epoch that is over, confirms nothing and hands out nothing."""
    assert (await claim(api, site, "a")).status_code == 201
    await site.stop_worker()
    await site.vault.execute("UPDATE rounds SET epoch = epoch + 1")

    async def is_busy() -> bool:
        return (await claim(api, site, "a")).status_code == 503

    await wait_until(is_busy, "the process knows the vault's epoch", within_s=5)
    assert (await claim(api, site, "b")).json()["code"] == "SYSTEM_BUSY"
    # Nor is its no.
    await site.client.hset(next(iter(site.campaign.stocks())).keys.rules, "paused", "1")
    assert (await claim(api, site, "c")).json()["code"] == "SYSTEM_BUSY"
