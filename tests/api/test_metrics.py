"""What Prometheus is told, over one process and over several."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import BEIJING, Site
from tests.support.wait import wait_until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(client: httpx.AsyncClient) -> Samples:
    """Return what ``/metrics`` tells by name and labels."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return one sample."""
    return samples[name, frozenset(labels.items())]


async def test_claims_are_counted_by_stock_and_outcome(site: Site) -> None:
    """Each ending under its own name; a stock that nobody knows is no label."""
    client = await site.serve()
    path = f"/v1/stocks/{site.stock_id}/claims"
    for headers in (
        site.bearer("u"),
        site.bearer("u"),
        site.bearer("v", region=BEIJING),
        {"Authorization": "Bearer x"},
    ):
        await client.post(path, headers=headers)
    await client.post("/v1/stocks/no-such/claims", headers=site.bearer("u"))
    samples = await scrape(client)
    for outcome, count in {"ok": 1, "replay": 1, "not_eligible": 1, "unauthenticated": 1, "sold_out": 0}.items():
        assert value(samples, "grab_claims_total", stock=site.stock_id, outcome=outcome) == count, outcome
    assert value(samples, "grab_claims_total", stock="unknown", outcome="not_found") == 1
    assert not [labels for _, labels in samples if ("stock", "no-such") in labels]


async def test_durations_are_told_by_route_and_class_of_status(site: Site) -> None:
    """The template of the path is the label, never the path; what matches no route is 'other'."""
    client = await site.serve()
    for path in ("/v1/stock", "/v1/campaigns/nothing", "/no/such/page", "/livez"):
        await client.get(path)
    await client.put("/livez")
    await client.post(f"/v1/stocks/{site.stock_id}/claims")
    samples = await scrape(client)

    def counted(route: str, method: str, status_class: str) -> float:
        name = "http_request_duration_seconds_count"
        return value(samples, name, route=route, method=method, status_class=status_class)

    assert counted("/v1/stocks/{stock_id}/claims", "POST", "4xx") == 1
    assert counted("/v1/stock", "GET", "2xx") == 1
    assert counted("/v1/campaigns/{campaign_id}", "GET", "4xx") == 1
    assert counted("/livez", "GET", "2xx") == 1
    assert counted("other", "other", "4xx") == 2
    livez = {key: number for key, number in samples.items() if ("route", "/livez") in key[1]}
    buckets = [number for (name, _), number in livez.items() if name.endswith("_bucket")]
    assert len(buckets) > 10
    assert max(buckets) == 1


async def test_a_stream_of_events_is_no_slow_request(site: Site) -> None:
    """It lasted for a second because somebody looked on: no histogram knows of it."""
    client = await site.serve(shutdown_grace_s=2)
    async with client.stream("GET", "/v1/ops/events") as answer:
        assert answer.status_code == 200
        assert b"event: picture" in await answer.aread()
    assert not [labels for _, labels in await scrape(client) if ("route", "/v1/ops/events") in labels]


async def test_calls_of_the_gate_and_busy_connections_are_told(site: Site) -> None:
    """One claim is one call that carries a batch; nobody uses a connection afterwards."""
    client = await site.serve()
    assert value(await scrape(client), "grab_script_duration_seconds_count") == 0
    assert (await client.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u"))).status_code == 201
    samples = await scrape(client)
    assert value(samples, "grab_script_duration_seconds_count") == 1
    assert 0 < value(samples, "grab_script_duration_seconds_sum") < 2
    assert value(samples, "grab_script_duration_seconds_bucket", le="+Inf") == 1
    for name, most in (("redis_pool_in_use", 32), ("pg_pool_in_use", 8)):
        assert 0 <= value(samples, name) <= most


async def test_two_processes_tell_the_sum_of_both(site: Site, tmp_path: Path) -> None:
    """Whichever of them is asked, before and after one of them has gone."""
    clients = [await site.serve(counts_dir=tmp_path) for _ in range(2)]
    path = f"/v1/stocks/{site.stock_id}/claims"
    await asyncio.gather(*(client.post(path) for client in clients for _ in range(10)))
    for client in clients:
        samples = await scrape(client)
        assert value(samples, "grab_claims_total", stock=site.stock_id, outcome="unauthenticated") == 20
        assert value(samples, "grab_api_processes") == 2


async def test_state_of_parts_and_process_is_told(site: Site) -> None:
    """Stores, version, clocks and resources."""
    client = await site.serve()
    samples = await scrape(client)
    assert [value(samples, name) for name in ("redis_up", "pg_up", "grab_ready")] == [1, 1, 1]
    assert abs(value(samples, "grab_gate_clock_offset_seconds")) < 0.5
    assert value(samples, "grab_stock_selling", stock=site.stock_id) == 1
    assert [labels for name, labels in samples if name == "grab_build_info"]

    async def is_measured() -> bool:
        return value(await scrape(client), "grab_resident_memory_bytes") > 1_000_000

    await wait_until(is_measured, "the process has measured itself")
    assert value(await scrape(client), "grab_event_loop_lag_seconds_count") >= 1


async def test_a_claim_that_is_shed_is_counted_with_its_reason(site: Site) -> None:
    """The gate is closed for the stock."""
    client = await site.serve()
    await site.client.fcall("grab_close", 1, next(iter(site.campaign.stocks())).keys.rules)
    answer = await client.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u"))
    assert answer.status_code == 503
    samples = await scrape(client)
    assert value(samples, "grab_shed_total", reason="recovering") == 1
    assert value(samples, "grab_claims_total", stock=site.stock_id, outcome="busy") == 1
