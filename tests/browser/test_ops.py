"""The ops page as the command room uses it."""

from __future__ import annotations

import asyncio
import time

from playwright.async_api import expect

from grab_service.rehearsal import RehearsalKeys
from tests.api.conftest import Site
from tests.browser.conftest import PHONE, WALL, SiteOf, Visit, keep_picture
from tests.support.campaigns import small_campaign

QUANTITY = 400


def staff_token(site: Site, scope: str) -> str:
    """Return a token for a member of staff."""
    assert site.settings.jwks_file is not None
    sign = RehearsalKeys(site.settings.jwks_file.parent).signer(
        issuer=site.settings.jwt_issuer, audience=site.settings.jwt_audience, now_s=int(time.time())
    )
    return sign("staff", "500110", scope)


async def test_the_page_is_live_during_a_storm(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """While users storm a stock, the streamed figures rise to its end and the invariants hold."""
    async with make_site(small_campaign(campaign_id, QUANTITY)) as site:
        api = await site.serve(shutdown_grace_s=4)
        wall, phone = await visit(f"{api.base_url}/ops", WALL), await visit(f"{api.base_url}/ops", PHONE)
        await expect(wall.locator("#source")).to_have_text("实时推送")
        path = f"/v1/stocks/{site.stock_id}/claims"
        some = asyncio.Semaphore(40)

        async def claim(user: int) -> int:
            async with some:
                answer = await api.post(path, headers=site.bearer(f"u{user}"))
            return int(answer.status_code)

        answers = await asyncio.gather(*(claim(user) for user in range(QUANTITY + 100)))
        assert answers.count(201) == QUANTITY
        for page in (wall, phone):
            await expect(page.locator("#claimed")).to_have_text(str(QUANTITY))
            await expect(page.locator("#booked")).to_have_text(str(QUANTITY))
            row = page.locator(f'[data-stock="{site.stock_id}"]')
            await expect(row).to_contain_text("已抢光")
            await expect(row).to_contain_text(f"{QUANTITY} / {QUANTITY} · 100%")
            await expect(page.locator("#parts")).to_contain_text("全部成立")
            await expect(page.locator("#overall")).to_have_text("一切正常")
            for peak in ("#peak", "#requests-peak"):
                assert "峰值 0" not in await page.locator(peak).inner_text()
            await expect(page.locator("#success")).to_have_text("100%")
            await expect(page.locator("#p99")).not_to_have_text("–")
            await expect(page.locator("#difference")).to_have_text("0")
            await expect(page.locator("#difference-status")).to_have_text("账实相符")
            await expect(page.locator("#stale")).to_be_hidden()
        await keep_picture(wall, "ops-storm-1920")
        await keep_picture(phone, "ops-storm-375")


async def test_old_figures_are_marked(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """The service cannot be reached: within seconds a banner says that the figures are old, and goes again."""
    async with make_site(small_campaign(campaign_id)) as site:
        api = await site.serve(shutdown_grace_s=4)
        page = await visit(f"{api.base_url}/ops", WALL)
        await page.context.set_offline(True)
        await page.evaluate("1")
        await page.route("**/v1/**", lambda route: route.abort())
        await expect(page.locator("#stale")).to_contain_text("数据已过时")
        await keep_picture(page, "ops-stale-1920")
        await page.unroute("**/v1/**")
        await page.context.set_offline(False)
        await expect(page.locator("#stale")).to_be_hidden()


async def test_without_a_stream_the_page_polls(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """A proxy that lets no stream through: the figures come by polling."""
    async with make_site(small_campaign(campaign_id)) as site:
        api = await site.serve(shutdown_grace_s=4)
        page = await visit(f"{api.base_url}/ops", WALL, script="window.EventSource = class { addEventListener() {} };")
        await expect(page.locator("#source")).to_contain_text("轮询")
        await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u1"))
        await expect(page.locator("#claimed")).to_have_text("1")
        await expect(page.locator("#overall")).to_have_text("一切正常")


async def test_staff_pause_and_resume_with_a_reason(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """Signed in, staff pause a stock for a reason; claims are refused until they resume it."""
    async with make_site(small_campaign(campaign_id)) as site:
        api = await site.serve(shutdown_grace_s=4)
        page = await visit(f"{api.base_url}/ops", WALL)
        row = page.locator(f'[data-stock="{site.stock_id}"]')
        await expect(row.locator("button")).to_be_hidden()
        await page.get_by_role("button", name="工作人员登录").click()
        await page.locator("#answer").fill(staff_token(site, "admin:round"))
        await page.locator("#confirm").click()
        await row.get_by_role("button").click()
        await page.locator("#answer").fill("门店系统故障")
        await keep_picture(page, "ops-pause-1920")
        await page.locator("#confirm").click()
        await expect(row).to_contain_text("已暂停")
        refused = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u1"))
        assert refused.json()["code"] == "PAUSED"
        await row.get_by_role("button").click()
        await page.locator("#answer").fill("故障已排除")
        await page.locator("#confirm").click()
        await expect(row).to_contain_text("发放中")


async def test_a_token_without_the_scope_pauses_nothing(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """The dialog says why, and the stock goes on."""
    async with make_site(small_campaign(campaign_id)) as site:
        api = await site.serve(shutdown_grace_s=4)
        page = await visit(f"{api.base_url}/ops#token={staff_token(site, 'admin:settle')}", WALL)
        row = page.locator(f'[data-stock="{site.stock_id}"]')
        await row.get_by_role("button").click()
        await page.locator("#answer").fill("x")
        await page.locator("#confirm").click()
        await expect(page.locator("#ask-trouble")).to_contain_text("无权进行此操作")
        await expect(row).to_contain_text("发放中")
