"""A store goes away in the middle of a rush: bounded answers, no false yes, nothing lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.api.conftest import Site, SiteOf
from tests.support.campaigns import small_campaign
from tests.support.own_gate import OwnGate
from tests.support.own_vault import OwnVault
from tests.support.wait import wait_until

_BOUNDED_S = 10.0  # the timeouts are below a second; the rest is for a machine that is busy


@pytest.fixture
async def own_gate(tmp_path: Path) -> AsyncIterator[OwnGate]:
    """A gate that this test may stop."""
    gate = OwnGate(tmp_path / "vk")
    await gate.start()
    yield gate
    gate.go_on()
    gate.kill()
    await gate.client.aclose()


@pytest.fixture
async def own_vault(tmp_path: Path) -> AsyncIterator[OwnVault]:
    """A vault that this test may stop."""
    vault = OwnVault(tmp_path / "pg")
    await vault.start()
    await vault.migrate()
    yield vault
    vault.stop()


async def claim(api: httpx.AsyncClient, site: Site, user: str) -> httpx.Response:
    """Claim a voucher of the first stock."""
    return await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer(user))


async def claim_until_final(api: httpx.AsyncClient, site: Site, user: str) -> httpx.Response:
    """Claim as the app does: again while the answer is that it is on its way."""
    answers: list[httpx.Response] = []

    async def is_final() -> bool:
        answers.append(await claim(api, site, user))
        return answers[-1].status_code != 202

    await wait_until(is_final, f"{user} has a final answer", within_s=30)
    return answers[-1]


async def test_without_a_vault_nobody_is_told_yes_and_afterwards_everybody_is(
    make_site: SiteOf, campaign_id: str, own_vault: OwnVault
) -> None:
    """PostgreSQL dies in the rush: 202 in bounded time, and every PENDING becomes its voucher."""
    async with make_site(small_campaign(campaign_id, quantity=50), own_vault=own_vault) as site:
        api = await site.serve(confirm_timeout_ms=500)
        before = [await claim(api, site, f"before-{number}") for number in range(10)]
        assert {response.status_code for response in before} == {201}
        own_vault.stop()

        started_s = asyncio.get_running_loop().time()
        during = await asyncio.gather(*(claim(api, site, f"during-{number}") for number in range(60)))
        assert asyncio.get_running_loop().time() - started_s < _BOUNDED_S
        assert Counter(response.status_code for response in during) == {202: 40, 409: 20}
        listed = await api.get("/v1/me/vouchers", headers=site.bearer("during-0"))
        assert (listed.status_code, listed.json()["code"]) == (503, "SYSTEM_BUSY")

        await own_vault.start()
        pending = {f"during-{number}" for number, response in enumerate(during) if response.status_code == 202}

        async def all_have_their_voucher() -> bool:
            answers = [await claim(api, site, user) for user in sorted(pending)]
            assert {answer.status_code for answer in answers} <= {200, 202}
            return all(answer.status_code == 200 for answer in answers)

        await wait_until(all_have_their_voucher, "every pending claim becomes its voucher", within_s=30)
        connection = await asyncpg.connect(own_vault.server.url)
        assert await connection.fetchval("SELECT count(*) FROM claims") == 50
        await connection.close()


async def test_a_process_that_has_not_read_the_catalogue_does_not_deny_a_stock(
    make_site: SiteOf, campaign_id: str, own_vault: OwnVault
) -> None:
    """Started while PostgreSQL is away, it answers busy, not unknown; it serves as soon as it can read."""
    async with make_site(small_campaign(campaign_id), own_vault=own_vault) as site:
        own_vault.stop()
        api = await site.serve(probe="/livez")
        answers = [
            await claim(api, site, "a"),
            await api.get(f"/v1/stocks/{site.stock_id}/claims/me", headers=site.bearer("a")),
            await api.get(f"/v1/campaigns/{campaign_id}"),
        ]
        assert [answer.json()["code"] for answer in answers] == ["SYSTEM_BUSY"] * 3
        await own_vault.start()

        async def is_served() -> bool:
            return bool((await claim(api, site, "a")).status_code in (200, 201))

        await wait_until(is_served, "the claim is served")


async def test_without_a_gate_everybody_is_told_busy_and_nothing_is_lost(
    make_site: SiteOf, campaign_id: str, own_gate: OwnGate
) -> None:
    """Valkey hangs: 503 with Retry-After in bounded time; when it answers again the winners have their vouchers."""
    async with make_site(small_campaign(campaign_id), own_gate=own_gate) as site:
        api = await site.serve(gate_timeout_ms=300, confirm_timeout_ms=10_000)
        won = (await claim(api, site, "a")).json()
        own_gate.hang()
        started_s = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(claim(api, site, f"u{number}") for number in range(30)))
        assert asyncio.get_running_loop().time() - started_s < _BOUNDED_S
        assert {answer.status_code for answer in answers} == {503}
        assert all(1 <= int(answer.headers["retry-after"]) <= 3 for answer in answers)
        assert (await api.get("/livez")).status_code == 200

        async def is_not_ready() -> bool:
            return bool((await api.get("/readyz")).status_code == 503)

        await wait_until(is_not_ready, "the process is not ready")
        own_gate.go_on()

        async def is_back() -> bool:
            return bool((await claim(api, site, "a")).status_code == 200)

        await wait_until(is_back, "the winner has his voucher again")
        assert (await claim(api, site, "a")).json() == won | {"replayed": True}
        final = [await claim_until_final(api, site, f"u{number}") for number in range(30)]
        codes = Counter(answer.status_code for answer in final)
        assert codes[200] + codes[201] == 4
        assert codes[409] == 26


async def test_a_gate_that_crashes_and_is_recovered_sells_on(
    make_site: SiteOf, campaign_id: str, own_gate: OwnGate
) -> None:
    """SIGKILL of Valkey: 503 until the recovery, then the same vouchers and the rest of the stock."""
    async with make_site(small_campaign(campaign_id), own_gate=own_gate) as site:
        api = await site.serve(confirm_timeout_ms=10_000)
        won = (await claim(api, site, "a")).json()
        own_gate.kill()
        assert (await claim(api, site, "b")).status_code == 503
        await own_gate.start()
        assert (await claim(api, site, "b")).status_code == 503
        await site.recover()

        async def is_back() -> bool:
            return bool((await claim(api, site, "a")).status_code == 200)

        await wait_until(is_back, "the winner has his voucher again")
        assert (await claim(api, site, "a")).json() == won | {"replayed": True}
        assert (await claim(api, site, "b")).status_code == 201
