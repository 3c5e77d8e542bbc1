"""The pages of staff: who may see and do what, what a forged form gets, and that the vault decides the same as ever."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from grab_service.settlement_files import files_of
from ledger import comparison, merchants, settlement
from ledger.comparison import Comparison, Difference, Key, Verdict
from tests.api.conftest import Site
from tests.api.test_merchants import submit as submit_online
from tests.api.test_redemptions import Shop
from tests.support.lists import COLUMNS, csv_of, row, workbook_of
from tests.support.merchants import number
from tests.support.staff_pages import BOTH, Desk, staff_token
from tests.support.till import SHOP, add_merchant, receive_fund

Open = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def api(site: Site, tmp_path: Path) -> httpx.AsyncClient:
    """A client of an API that keeps photos."""
    return await site.serve(photo_dir=tmp_path / "photos")


@pytest.fixture
async def desk_of(site: Site, api: httpx.AsyncClient) -> AsyncIterator[Open]:
    """Return a function that signs somebody in."""
    async with AsyncExitStack() as stack:

        async def open_(name: str, scope: str = BOTH) -> Desk:
            desk = Desk(str(api.base_url), staff_token(site.settings, name, scope))
            stack.push_async_callback(desk.client.aclose)
            assert (await desk.sign_in()).status_code == 303
            return desk

        yield open_


async def _used(site: Site, api: httpx.AsyncClient) -> None:
    """Let a user use a voucher at an approved shop."""
    await receive_fund(site.vault, site.campaign.campaign_id)
    await add_merchant(site.vault, SHOP)
    claim = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("a"))
    await Shop(site, api, claim.json()["voucher_code"]).redeemed()


async def test_the_token_goes_into_a_cookie_that_only_these_pages_get(site: Site, api: httpx.AsyncClient) -> None:
    """No script reads it, no other site sends it; elsewhere it opens nothing, and signing out ends it."""
    desk = Desk(str(api.base_url), staff_token(site.settings, "li"))
    assert (await desk.get("/staff/merchants")).status_code == 401
    answer = await desk.sign_in()
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/staff"))
    page = await desk.get("/staff/merchants")
    assert page.status_code == 200
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    headers = {"Cookie": f"grab_staff={desk.client.cookies['grab_staff']}"}
    pause = f"/v1/admin/stocks/{site.stock_id}/pause"
    elsewhere = await api.post(pause, headers=headers, json={"reason": "x"})
    assert elsewhere.status_code == 401
    assert (await desk.send("/staff/session/end", {})).status_code == 303
    assert (await desk.get("/staff/merchants")).status_code == 401
    await desk.client.aclose()


async def test_outside_a_rehearsal_the_cookie_travels_over_tls_alone(site: Site) -> None:
    """Secure is said where a deployment is."""
    api = await site.serve(probe="/livez", rehearsal=False)
    assert (await api.get("/staff")).status_code == 404  # staff has a port of its own there
    served = await site.serve(rehearsal=True)
    served.headers["Origin"] = str(served.base_url).rstrip("/")
    wrong = await served.post("/staff/session", data={"token": "no.such.token"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    user = await served.post("/staff/session", data={"token": staff_token(site.settings, "u1", "claim")})
    assert (user.status_code, "set-cookie" in user.headers) == (403, False)


async def test_each_page_asks_for_its_scope(desk_of: Open) -> None:
    """Who decides on merchants sees no settlement, and the other way round."""
    for scope, allowed, forbidden in (
        ("admin:merchants", "/staff/merchants", "/staff/settlements"),
        ("admin:settle", "/staff/settlements", "/staff/merchants"),
    ):
        desk = await desk_of("li", scope)
        assert (await desk.get(allowed)).status_code == 200
        assert (await desk.get(forbidden)).status_code == 403
        assert (await desk.send(forbidden, {"reason": "x"})).status_code in (403, 405)


@pytest.mark.parametrize("change", [{"csrf": ""}, {"csrf": "0" * 64}, {"origin": "http://evil.test"}, {"origin": ""}])
async def test_a_form_of_another_site_or_session_is_refused(site: Site, desk_of: Open, change: dict[str, str]) -> None:
    """With the cookie, but without the session's field or from elsewhere: nothing happens."""
    await add_merchant(site.vault, SHOP)
    desk = await desk_of("li")
    headers = {"Origin": change["origin"]} if "origin" in change else desk.origin
    form = {"csrf": change.get("csrf", await desk.csrf("/staff")), "verdict": "SUSPEND", "reason": "x"}
    answer = await desk.client.post(f"/staff/merchants/{SHOP}", data=form, headers=headers)
    assert answer.status_code == 403
    found = await merchants.find(site.vault, SHOP)
    assert found is not None
    assert found.state == "APPROVED"


async def test_a_merchant_is_looked_at_and_decided_on_with_a_reason(
    site: Site, api: httpx.AsyncClient, desk_of: Open
) -> None:
    """The photo is shown; without a reason nothing happens; the journal names who has decided."""
    submitted = await submit_online(
        api, {"Authorization": f"Bearer {staff_token(site.settings, 'o', 'merchant:register')}"}
    )
    assert submitted.status_code == 201, submitted.text
    path = f"/staff/merchants/{number(1)}"
    desk = await desk_of("li")
    assert number(1) in (await desk.get("/staff/merchants")).text
    assert (await desk.get(f"{path}/photo")).headers["content-type"] == "image/jpeg"
    assert (await desk.send(path, {"verdict": "APPROVE", "reason": " "})).status_code == 422
    assert (await desk.send(path, {"verdict": "APPROVE", "reason": "门头照片属实"})).status_code == 303
    page = (await desk.get(path)).text
    assert all(text in page for text in ("已通过", "门头照片属实", ">li<"))
    again = await desk.send(path, {"verdict": "APPROVE", "reason": "再次"})
    assert (again.status_code, "未作更改" in again.text) == (409, True)
    assert (await desk.send(path, {"verdict": "SUSPEND", "reason": "整改"})).status_code == 303
    assert (await desk.get("/staff/merchants/898340149999999")).status_code == 404


async def test_who_may_only_look_sees_the_figures_and_no_form(
    site: Site, api: httpx.AsyncClient, desk_of: Open
) -> None:
    """Merchants and settlements are shown to a reader and to an examiner, with nothing to send but the way out."""
    await _used(site, api)
    until = (datetime.now(UTC) + timedelta(milliseconds=1)).isoformat()
    facts = {"campaign": site.campaign.campaign_id, "until": until, "reason": "到期结算"}
    frozen = await (await desk_of("li")).send("/staff/settlements", facts)
    for scope in ("admin:read", "audit:read"):
        reader = await desk_of("zhao", scope)
        pages = [frozen.headers["location"], "/staff/settlements", f"/staff/merchants/{SHOP}"]
        for path in pages:
            page = await reader.get(path)
            assert page.status_code == 200
            assert re.findall(r'action="(.*?)"', page.text) == ["/staff/session/end"]
        assert "30.00" in (await reader.get(pages[0])).text
        assert (await reader.send(pages[0], {"reason": "无误"})).status_code == 403
        assert "/staff/merchants/import" not in (await reader.get("/staff")).text


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
async def test_a_list_is_imported_or_its_bad_rows_are_shown(site: Site, desk_of: Open, kind: str) -> None:
    """All or nothing, unless the good rows are wanted alone; every bad row with its line and reason."""
    rows = [row(1), row(2, town="<b>外地</b>"), row(3)]
    content = csv_of(*rows).encode() if kind == "csv" else workbook_of([COLUMNS, *rows])
    files = {"file": (f"list.{kind}", content, "application/octet-stream")}
    desk = await desk_of("li")
    path = "/staff/merchants/import"
    refused = await desk.send(path, {"reason": "银行清单"}, files=files)
    assert refused.status_code == 422
    assert "未导入任何商户" in refused.text
    assert "<td>3</td><td>town</td>" in refused.text
    assert await site.vault.fetchval("SELECT count(*) FROM merchants") == 0
    done = await desk.send(path, {"reason": "银行清单", "partial": "1"}, files=files)
    assert (done.status_code, "已导入 2 家商户" in done.text) == (200, True)
    assert await site.vault.fetchval("SELECT count(*) FROM merchants WHERE submitted_by = 'li'") == 2
    broken = await desk.send(path, {"reason": "银行清单"}, files={"file": ("list.csv", b"a,b\n1,2\n", "text/csv")})
    assert (broken.status_code, "文件无法读取" in broken.text) == (422, True)


async def test_one_freezes_and_another_pays_and_the_files_are_those_of_the_command(
    site: Site, api: httpx.AsyncClient, desk_of: Open
) -> None:
    """Nobody pays what he has frozen; the bytes are the command line's."""
    await _used(site, api)
    li, wang = await desk_of("li"), await desk_of("wang")
    until = (datetime.now(UTC) + timedelta(milliseconds=1)).isoformat()
    facts = {"campaign": site.campaign.campaign_id, "until": until, "reason": "到期结算"}
    early = await li.send("/staff/settlements", facts | {"until": "2199-01-01"})
    assert (early.status_code, "not over yet" in early.text) == (409, True)
    frozen = await li.send("/staff/settlements", facts)
    name = f"{site.campaign.campaign_id}-s1"
    path = f"/staff/settlements/{name}"
    assert (frozen.status_code, frozen.headers["location"]) == (303, path)
    alone = await li.send(path, {"reason": "无误"})
    assert (alone.status_code, "somebody else must approve" in alone.text) == (409, True)
    assert (await wang.send(path, {"reason": "无误"})).status_code == 303
    page = (await wang.get(path)).text
    assert "已付款" in page
    assert "30.00" in page
    files = await asyncio.to_thread(files_of, *await settlement.contents(site.vault, name))
    for file, content in files.items():
        assert (await wang.get(f"{path}/files/{file}")).content == content
    assert (await wang.get(f"{path}/files/other.csv")).status_code == 404
    paid = await settlement.find(site.vault, name)
    assert (paid.requested_by, paid.approved_by, paid.paid_fen) == ("li", "wang", 3_000)


async def test_differences_are_accepted_with_a_reason_or_not_at_all(
    site: Site, api: httpx.AsyncClient, desk_of: Open
) -> None:
    """The page says how many there are, and asks why they are accepted."""
    await _used(site, api)
    at = datetime.now(UTC)
    campaign_id = site.campaign.campaign_id
    frozen = await settlement.freeze(site.vault, campaign_id, at, subject="li", reason="due")
    missing = Comparison(0, [Difference(Key(SHOP, "o", "REDEEM"), Verdict.ONLY_THEIRS, None, 3_000)])
    await comparison.record(site.vault, frozen, missing, subject="li", list_digest=bytes(32))
    wang = await desk_of("wang")
    path = f"/staff/settlements/{frozen.settlement_id}"
    assert "有 1 处差异" in (await wang.get(path)).text
    assert (await wang.send(path, {"reason": "无误"})).status_code == 409
    assert (await wang.send(path, {"reason": "无误", "accept_differences": "对方重复"})).status_code == 303
    assert "对方重复" in (await wang.get(path)).text
