"""More claims than a process can serve: turned away at once, fairly between stocks, and soon over."""

from __future__ import annotations

import asyncio
import time

import httpx

from tests.api.conftest import Site
from tests.support.wait import wait_until

_PLACES = 4


async def _claim(api: httpx.AsyncClient, site: Site, stock_id: str, user: str) -> httpx.Response:
    return await api.post(f"/v1/stocks/{stock_id}/claims", headers=site.bearer(user))


async def _under_way(api: httpx.AsyncClient) -> int:
    text = (await api.get("/metrics")).text
    return int(float(text.partition("\ngrab_inflight_requests ")[2].partition("\n")[0]))


async def test_a_stock_that_everyone_wants_does_not_keep_the_others_out(site: Site) -> None:
    """With every place taken by winners of one stock its next claim is 503, another stock's waits for its answer."""
    first, second = (stock.stock_id for stock in site.campaign.stocks())
    api = await site.serve(inflight_max=_PLACES, confirm_timeout_ms=30_000)
    await site.stop_worker()
    waiting = [asyncio.create_task(_claim(api, site, first, f"u{number}")) for number in range(_PLACES)]

    async def all_wait() -> bool:
        return await _under_way(api) == _PLACES

    await wait_until(all_wait, "every place is taken")
    refused = await _claim(api, site, first, "late")
    assert (refused.status_code, refused.json()["code"]) == (503, "SYSTEM_BUSY")
    assert refused.headers["retry-after"] in ("1", "2", "3")
    assert refused.json()["request_id"] == refused.headers["request-id"]
    assert refused.json()["server_time"].endswith("+08:00")
    other = asyncio.create_task(_claim(api, site, second, "u0"))

    async def one_more_waits() -> bool:
        return await _under_way(api) == _PLACES + 1

    await wait_until(one_more_waits, "the other stock's claim waits")
    site.start_worker()
    assert {answer.status_code for answer in await asyncio.gather(*waiting, other)} == {201}


async def test_after_a_flood_everyone_is_served_again_at_once(site: Site) -> None:
    """Many times more than there are places: each is told a yes or busy, and then all places are free."""
    stock_id = site.stock_id
    api = await site.serve(inflight_max=_PLACES, user_rate_max=1000)
    answers = await asyncio.gather(*(_claim(api, site, stock_id, f"u{number % 5}") for number in range(100)))
    assert {answer.status_code for answer in answers} <= {200, 201, 503}
    over_s = time.monotonic()
    again = await asyncio.gather(*(_claim(api, site, stock_id, f"u{number}") for number in range(_PLACES)))
    assert {answer.status_code for answer in again} <= {200, 201}
    assert time.monotonic() - over_s < 10  # of which a machine that does nothing else needs a few milliseconds

    async def none_is_under_way() -> bool:
        return await _under_way(api) == 0

    await wait_until(none_is_under_way, "every place is free")
