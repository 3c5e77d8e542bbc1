"""Pausing and resuming a stock over HTTP, by staff with a reason."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx
import pytest

from grab_service.rehearsal import RehearsalKeys
from ledger import admin
from ledger.admin import Action
from tests.api.conftest import Site
from tests.support.agreement import agreed
from tests.support.wait import wait_until

Events = list[tuple[str, dict[str, Any]]]


async def events(client: httpx.AsyncClient, heard: str) -> Events:
    """Return the events of one stream until it ends by itself."""
    text = (await client.get("/v1/ops/events", headers={"Last-Event-ID": heard})).text
    return [
        (name, json.loads(data))
        for name, data in re.findall(r"^id: \d+\nevent: (\w+)\ndata: (.*)$", text, re.MULTILINE)
    ]


REASON = {"reason": "门店系统故障"}


def staff(site: Site, scope: str = "admin:round") -> dict[str, str]:
    """Return the header of a member of staff."""
    assert site.settings.jwks_file is not None
    sign = RehearsalKeys(site.settings.jwks_file.parent).signer(
        issuer=site.settings.jwt_issuer, audience=site.settings.jwt_audience, now_s=int(time.time())
    )
    return {"Authorization": f"Bearer {sign('staff', '500110', scope)}"}


async def test_a_paused_stock_stays_paused_through_a_recovery(site: Site, api: httpx.AsyncClient) -> None:
    """The gate refuses at once, the vault keeps the decision, and a resumed stock is handed out again."""
    claims = f"/v1/stocks/{site.stock_id}/claims"
    paused = await api.post(f"/v1/admin/stocks/{site.stock_id}/pause", headers=staff(site), json=REASON)
    assert (paused.status_code, paused.json()) == (
        200,
        {"stock_id": site.stock_id, "paused": True, "paused_until": None, **REASON},
    )
    assert (await api.post(claims, headers=site.bearer("u1"))).json()["code"] == "PAUSED"
    await site.recover()
    assert (await api.post(claims, headers=site.bearer("u2"))).status_code in (409, 503)
    resumed = await api.post(f"/v1/admin/stocks/{site.stock_id}/resume", headers=staff(site), json=REASON)
    assert resumed.json()["paused"] is False


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": " "},
        {"reason": 1},
        {"reason": "x" * 201},
        {"reason": "x", "more": 1},
        {"reason": "x", "request_no": True},
        ["x"],
    ],
    ids=str,
)
async def test_a_pause_without_a_proper_reason_is_refused(site: Site, api: httpx.AsyncClient, body: Any) -> None:
    """422, and nothing is paused."""
    answer = await api.post(f"/v1/admin/stocks/{site.stock_id}/pause", headers=staff(site), json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "PARAM_ERROR")
    assert (await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u1"))).status_code == 201


async def test_the_journal_is_read_by_who_may_only_look(site: Site, api: httpx.AsyncClient) -> None:
    """Readers and examiners see who did what and why, the latest first; who may act need not be told all."""
    stock = f"/v1/admin/stocks/{site.stock_id}"
    assert (await api.post(f"{stock}/pause", headers=staff(site), json=REASON)).status_code == 200
    await api.post(f"{stock}/resume", headers=staff(site), json=REASON)
    for scope in ("admin:read", "audit:read"):
        answer = await api.get("/v1/admin/journal?limit=2", headers=staff(site, scope))
        assert answer.status_code == 200
        last, first = answer.json()["data"]
        assert (last["action"], first["action"]) == ("resume", "pause")
        assert (first["step"], first["target"], first["subject"]) == ("DONE", site.stock_id, "staff")
        assert (first["reason"], first["after"]["paused"]) == (REASON["reason"], True)
    assert (await api.get("/v1/admin/journal", headers=staff(site))).status_code == 403
    assert (await api.get("/v1/admin/journal?limit=0", headers=staff(site, "admin:read"))).status_code == 422


async def test_only_staff_of_the_round_may_pause(site: Site, api: httpx.AsyncClient) -> None:
    """No token 401, a user's ticket or another office 403, an unknown stock 404."""
    path = f"/v1/admin/stocks/{site.stock_id}/pause"
    assert (await api.post(path, json=REASON)).status_code == 401
    assert (await api.post(path, json=REASON, headers=site.bearer("u1"))).status_code == 403
    assert (await api.post(path, json=REASON, headers=staff(site, "admin:settle"))).status_code == 403
    unknown = await api.post("/v1/admin/stocks/none/pause", json=REASON, headers=staff(site))
    assert unknown.status_code == 404


async def test_the_stream_tells_rates_and_differences_and_nothing_twice(site: Site) -> None:
    """A screen that comes back says up to when it has heard; the curves go on from there."""
    client = await site.serve(shutdown_grace_s=4)
    for _ in range(20):
        await client.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u"))

    async def is_told() -> bool:
        told = await events(client, "")
        assert [name for name, _ in told][:2] == ["history", "picture"]
        history, picture = told[0][1], told[-1][1]
        return bool(
            any(beat["requests_per_s"] > 5 for beat in history["beats"])
            and picture["used"] == 0
            and picture["beat"]["p99_ms"] > 0
            and set(picture["health"]["checks"]["invariants"]["differences"].values()) == {0}
        )

    await wait_until(is_told, "what was answered is told, and that nothing differs")
    last_ms = (await events(client, ""))[0][1]["points"][-1]["at_ms"]
    history = (await events(client, str(last_ms)))[0][1]
    assert all(each["at_ms"] > last_ms for each in history["points"] + history["beats"])
    assert (await events(client, "999999999999999"))[0][1] == {"points": [], "beats": []}


async def test_where_two_must_agree_one_pauses_for_a_minute(site: Site, api: httpx.AsyncClient) -> None:
    """By HTTP as by command: alone until the minute is over, longer and resumed only by what somebody else approved."""
    await admin.let_two_agree(site.vault, subject="li")
    path = f"/v1/admin/stocks/{site.stock_id}"
    alone = await api.post(f"{path}/pause", headers=staff(site), json=REASON)
    assert alone.status_code == 200
    assert alone.json()["paused_until"] is not None
    assert (await api.post(f"{path}/resume", headers=staff(site), json=REASON)).status_code == 200
    again = await api.post(f"{path}/pause", headers=staff(site), json=REASON)
    assert (again.status_code, "within the last hour" in again.json()["detail"]) == (403, True)
    number = await agreed(site.vault, Action.PAUSE, site.stock_id)
    both = await api.post(f"{path}/pause", headers=staff(site), json=REASON | {"request_no": number})
    assert (both.status_code, both.json()["paused_until"]) == (200, None)
    for body in (REASON, REASON | {"request_no": number}):
        assert (await api.post(f"{path}/resume", headers=staff(site), json=body)).status_code == 403
    number = await agreed(site.vault, Action.RESUME, site.stock_id)
    resumed = await api.post(f"{path}/resume", headers=staff(site), json=REASON | {"request_no": number})
    assert resumed.status_code == 200
    deeds = await site.vault.fetch("SELECT subject, reason FROM admin_deeds WHERE action IN ('pause', 'resume')")
    assert {tuple(row) for row in deeds} == {("staff", REASON["reason"])}
    assert len(deeds) == 4
