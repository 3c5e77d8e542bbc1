"""The public routes: stock picture, campaign, time, health, documentation."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from grab_service.api import health
from grab_service.identity import Identity
from grab_service.tickets import Tickets
from tests.api.conftest import Site
from tests.support.wait import wait_until

STOCK_MEMBERS = {
    "stock_id",
    "campaign_id",
    "round_id",
    "class",
    "tier",
    "name",
    "threshold_fen",
    "discount_fen",
    "quantity",
    "claimed",
    "remaining",
    "booked",
    "state",
    "opens_at",
    "sold_out_at",
}


async def first_stock(api: httpx.AsyncClient) -> dict[str, Any]:
    """Return the first row of the stock picture."""
    row: dict[str, Any] = (await api.get("/v1/stock")).json()["stocks"][0]
    return row


async def test_the_stock_picture_follows_the_round(site: Site, api: httpx.AsyncClient) -> None:
    """Figures and state of a stock from open to sold out; booked counts rows in the ledger."""
    row = await first_stock(api)
    assert row.keys() == STOCK_MEMBERS
    assert (row["state"], row["quantity"], row["claimed"], row["remaining"], row["booked"]) == ("OPEN", 5, 0, 5, 0)
    path = f"/v1/stocks/{site.stock_id}/claims"
    await asyncio.gather(*(api.post(path, headers=site.bearer(f"u{number}")) for number in range(8)))

    async def is_sold_out() -> bool:
        row = await first_stock(api)
        return bool(row["state"] == "SOLD_OUT" and row["booked"] == 5)

    await wait_until(is_sold_out, "the picture says SOLD_OUT and all is booked")
    row = await first_stock(api)
    assert (row["claimed"], row["remaining"], row["booked"]) == (5, 0, 5)
    assert row["sold_out_at"] is not None


async def test_an_unchanged_picture_is_not_sent_again(site: Site, api: httpx.AsyncClient) -> None:
    """304 on If-None-Match, another body once a voucher went; caches may keep it for a second."""
    first = await api.get("/v1/stock")
    assert first.headers["cache-control"] == "public, max-age=1"
    condition = {"If-None-Match": first.headers["etag"]}
    again = await api.get("/v1/stock", headers=condition)
    assert (again.status_code, again.content) == (304, b"")
    await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u1"))

    async def has_changed() -> bool:
        return bool((await api.get("/v1/stock", headers=condition)).status_code == 200)

    await wait_until(has_changed, "the picture changes")


async def test_a_poll_asks_no_store(site: Site, api: httpx.AsyncClient) -> None:
    """A thousand polls add no call at the gate beyond the snapshot's own few a second."""
    await site.stop_worker()  # it reads there too
    calls_before = (await site.client.info("commandstats"))["cmdstat_fcall_ro"]["calls"]
    started = asyncio.get_running_loop().time()
    for _ in range(10):
        await asyncio.gather(*(api.get("/v1/stock") for _ in range(100)))
    elapsed_s = asyncio.get_running_loop().time() - started
    calls = (await site.client.info("commandstats"))["cmdstat_fcall_ro"]["calls"] - calls_before
    a_refresh = len(list(site.campaign.stocks()))
    assert calls <= (elapsed_s / (site.settings.snapshot_ms / 1000) + 2) * a_refresh


async def test_a_recovering_stock_is_shown_as_such(site: Site, api: httpx.AsyncClient) -> None:
    """RECOVERING in the picture, not ready, failing health; all well again after a recovery."""
    await site.client.fcall("grab_close", 1, next(iter(site.campaign.stocks())).keys.rules)

    async def is_recovering() -> bool:
        return bool((await first_stock(api))["state"] == "RECOVERING")

    await wait_until(is_recovering, "the picture says RECOVERING")
    assert (await api.get("/readyz")).status_code == 503
    found = await api.get("/healthz")
    assert (found.status_code, found.json()["status"]) == (503, "fail")
    assert found.json()["checks"]["stocks"]["recovering"] == [site.stock_id]
    await site.recover()

    async def is_well() -> bool:
        return bool((await api.get("/healthz")).json()["status"] == "pass")

    await wait_until(is_well, "health passes again")
    assert (await api.get("/readyz")).status_code == 200


async def test_a_violated_invariant_shows_in_health_and_metrics(site: Site, api: httpx.AsyncClient) -> None:
    """A number vanishes from the gate: the stock is closed, and health and metrics say which invariant it was."""

    async def tells(line: str) -> bool:
        return line in (await api.get("/metrics")).text.splitlines()

    await wait_until(lambda: tells('grab_invariant_holds{invariant="I-14n"} 1.0'), "the watch has told")
    await site.client.lpop(f"grab:{{{site.stock_id}}}:free")
    await wait_until(lambda: tells('grab_invariant_holds{invariant="I-14n"} 0.0'), "the metric has fallen")
    await wait_until(lambda: tells('ledger_reconcile_difference{kind="numbers"} 1.0'), "by how many is told")
    found = await api.get("/healthz")
    assert found.status_code == 503
    assert site.stock_id in found.json()["checks"]["invariants"]["violated"]["I-14n"]
    await wait_until(lambda: tells(f'grab_stock_open{{stock="{site.stock_id}"}} 0.0'), "the stock is closed")
    await site.recover()
    await wait_until(lambda: tells('grab_invariant_holds{invariant="I-14n"} 1.0'), "all is well again")
    assert await tells('ledger_reconcile_difference{kind="numbers"} 0.0')


async def test_a_dead_ledger_shows_in_health_and_metrics(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody books one claim: the API itself tells how long it waits, and health warns until it is booked."""
    monkeypatch.setattr(health, "_LAG_WARNS_ABOVE_S", 0.3)
    api = await site.serve(confirm_timeout_ms=100)

    async def ledger() -> dict[str, Any]:
        return dict((await api.get("/healthz")).json()["checks"]["ledger"])

    async def has(status: str) -> bool:
        return bool((await ledger())["status"] == status)

    async def told_lag_s() -> float:
        lines = (await api.get("/metrics")).text.splitlines()
        [lag] = [line.split()[1] for line in lines if line.startswith("grab_ledger_lag_seconds ")]
        return float(lag)

    await wait_until(lambda: has("pass"), "the ledger is well")
    await site.stop_worker()
    held = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u"))
    assert held.status_code == 202
    await wait_until(lambda: has("warn"), "health warns")
    seen = await ledger()
    assert (seen["claims_on_their_way"], seen["lag_s"] > 0.3) == (1, True)
    assert await told_lag_s() > 0.3
    site.start_worker()
    await wait_until(lambda: has("pass"), "the claim is booked")

    async def nothing_lags() -> bool:
        return await told_lag_s() == 0

    await wait_until(nothing_lags, "nothing waits any more")


async def test_the_campaign_is_public(site: Site, api: httpx.AsyncClient) -> None:
    """Rules, rounds and stocks of a campaign; an unknown one is not found."""
    body = (await api.get(f"/v1/campaigns/{site.campaign.campaign_id}")).json()
    assert body["document"] == site.campaign.document()
    assert [stock["stock_id"] for stock in body["stocks"]] == [stock.stock_id for stock in site.campaign.stocks()]
    assert (await api.get("/v1/campaigns/other")).json()["code"] == "RESOURCE_NOT_EXISTS"


async def test_time_and_liveness_need_nothing(api: httpx.AsyncClient) -> None:
    """The clock has the offset of the scheme; a live process says ok."""
    assert (await api.get("/v1/time")).json()["server_time"].endswith("+08:00")
    assert (await api.get("/livez")).text == "ok\n"


async def test_a_ticket_is_given_for_a_token_and_claims_with_it(site: Site, api: httpx.AsyncClient) -> None:
    """The ticket's claim belongs to the user of the token."""
    response = await api.post("/v1/tickets", headers=site.jwt("u1"))
    assert response.status_code == 200
    headers = {"Authorization": f"Bearer {response.json()['ticket']}"}
    claimed = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=headers)
    repeated = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u1"))
    assert (claimed.status_code, repeated.status_code) == (201, 200)


async def test_a_ticket_gives_no_further_ticket(site: Site, api: httpx.AsyncClient) -> None:
    """Whoever comes with a ticket is told to bring the app's token: no chain of tickets outlives it."""
    first = await api.post("/v1/tickets", headers=site.jwt("u1"))
    again = await api.post("/v1/tickets", headers={"Authorization": f"Bearer {first.json()['ticket']}"})
    assert (again.status_code, again.json()["code"]) == (401, "SIGN_ERROR")
    assert "JWT" in again.json()["detail"]


async def test_a_ticket_does_not_outlive_its_token(site: Site, api: httpx.AsyncClient) -> None:
    """A token that ends before the ticket's own time ends it; another ticket lasts its own time."""
    now_s = time.time()
    for expires_in_s, lasts_s in ((120, 120), (7200, site.settings.ticket_ttl_s)):
        response = await api.post("/v1/tickets", headers=site.jwt("u1", expires_in_s=expires_in_s))
        ends_s = datetime.fromisoformat(response.json()["expires_at"]).timestamp()
        assert now_s + lasts_s - 2 <= ends_s <= time.time() + lasts_s


async def test_the_key_of_tickets_is_changed_while_the_service_runs(site: Site, tmp_path: Path) -> None:
    """The next key is believed first, then signs, then stands alone: tickets end with the key that they name."""
    key, other = tmp_path / "ticket.key", tmp_path / "other.key"
    old, new = b"0123456789" * 4, b"9876543210" * 4
    key.write_bytes(old)
    api = await site.serve(ticket_key_file=key, ticket_key_other_file=other, user_requests_max=1_000_000)
    ends_s = int(time.time()) + 600

    async def is_believed(secret: bytes) -> bool:
        ticket = Tickets(secret).issue(site.user_ref("u1"), "500110", ends_s)
        response = await api.get("/v1/me/vouchers", headers={"Authorization": f"Bearer {ticket}"})
        return response.status_code == 200

    assert (await is_believed(old), await is_believed(new)) == (True, False)
    other.write_bytes(new)
    await wait_until(lambda: is_believed(new), "the next key is believed")
    key.write_bytes(new)
    other.write_bytes(old)

    async def is_signed_anew() -> bool:
        ticket = (await api.post("/v1/tickets", headers=site.jwt("u1"))).json()["ticket"]
        return isinstance(Tickets(new).check(ticket.encode(), 0), Identity)

    await wait_until(is_signed_anew, "tickets are signed with the next key")
    assert await is_believed(old)
    other.unlink()

    async def is_over() -> bool:
        return not await is_believed(old)

    await wait_until(is_over, "the old key is believed no more")
    await wait_until(lambda: is_believed(new), "the new key is believed")


async def test_every_refusal_of_a_claim_is_documented_with_an_example(api: httpx.AsyncClient) -> None:
    """The OpenAPI document names each operation and shows each refusal."""
    document = (await api.get("/openapi.json")).json()
    operations = {
        operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()
    }
    assert {"claimVoucher", "getStock", "getMyClaim", "listMyVouchers", "issueTicket"} <= operations.keys()
    examples: set[str] = set()
    for response in operations["claimVoucher"]["responses"].values():
        examples |= response.get("content", {}).get("application/problem+json", {}).get("examples", {}).keys()
    assert {"NOT_STARTED", "SOLD_OUT", "PAUSED", "ENDED", "LIMIT_REACHED", "NOT_ELIGIBLE", "SIGN_ERROR"} <= examples
    assert all(operation["tags"] for operation in operations.values())


async def test_the_documentation_loads_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    """The page and what it names are served here."""
    page = await api.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text
    for path in ("/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"):
        assert path in page.text
        assert (await api.get(path)).status_code == 200
