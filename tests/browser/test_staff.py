"""The pages of staff in a real browser, on a phone and on a wall: usable, nothing cut off, nothing that axe minds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from ledger import settlement
from tests.api.test_merchants import GOOD, front
from tests.api.test_redemptions import Shop
from tests.browser.axe import serious
from tests.browser.conftest import PHONE, WALL, SiteOf, keep_picture
from tests.support.campaigns import small_campaign
from tests.support.lists import csv_of, row
from tests.support.staff_pages import staff_token
from tests.support.till import OTHER_SHOP, SHOP, add_merchant, receive_fund


async def look(page: Page, name: str) -> None:
    """Keep a picture of a page, on which axe finds nothing serious."""
    await keep_picture(page, f"staff-{name}")
    assert await serious(page) == [], name


@pytest.mark.parametrize("size", [PHONE, WALL], ids=["phone", "wall"])
async def test_staff_reviews_imports_and_settles(
    make_site: SiteOf, campaign_id: str, browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    """Sign in, approve a merchant with its photo, see bad rows, look at a frozen period and pay it."""
    async with make_site(small_campaign(campaign_id)) as site:
        api = await site.serve(photo_dir=tmp_path / "photos")
        await receive_fund(site.vault, campaign_id)
        for merchant_no in (SHOP, OTHER_SHOP):
            await add_merchant(site.vault, merchant_no)
        owner = {"Authorization": f"Bearer {staff_token(site.settings, 'owner', 'merchant:register')}"}
        assert (await api.post("/v1/merchants", headers=owner, data=GOOD, files=front())).status_code == 201
        claim = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("a"))
        await Shop(site, api, claim.json()["voucher_code"]).redeemed()
        until = datetime.now(UTC) + timedelta(milliseconds=1)
        frozen = await settlement.freeze(site.vault, campaign_id, until, subject="li", reason="到期结算", at=until)
        bad_list = tmp_path / "list.csv"
        bad_list.write_text(csv_of(row(2, town="外地镇"), row(3, category="烟酒", name="一个名字特别长的商户" * 3)))

        context = await browser.new_context(viewport={"width": size[0], "height": size[1]}, locale="zh-CN")
        page = await context.new_page()
        page.set_default_timeout(15_000)
        shape = "phone" if size is PHONE else "wall"
        await page.goto(f"{api.base_url}/staff")
        await look(page, f"sign-in-{shape}")
        await page.get_by_label("工作人员令牌").fill(staff_token(site.settings, "wang"))
        await page.get_by_role("button", name="登录").click()
        await page.get_by_role("link", name="商户审核").first.click()
        await look(page, f"merchants-{shape}")
        await page.get_by_role("link", name=GOOD["merchant_no"]).click()
        await expect(page.locator(".photo")).to_have_js_property("complete", value=True)
        assert await page.locator(".photo").evaluate("photo => photo.naturalWidth") > 0
        await look(page, f"merchant-{shape}")
        await page.get_by_label("理由").fill("门头照片属实")
        await page.get_by_role("button", name="通过").click()
        await page.get_by_text("已通过").first.wait_for()
        await page.get_by_role("link", name="批量导入").click()
        await page.get_by_label("清单文件").set_input_files(bad_list)
        await page.get_by_label("理由").fill("银行清单")
        await page.get_by_role("button", name="导入").click()
        await page.get_by_text("未导入任何商户").wait_for()
        await look(page, f"import-{shape}")
        await page.get_by_role("link", name="结算", exact=True).click()
        await look(page, f"settlements-{shape}")
        await page.get_by_role("link", name=frozen.settlement_id).click()
        await look(page, f"settlement-{shape}")
        async with page.expect_download() as downloading:
            await page.get_by_role("link", name="汇总表 XLSX").click()
        assert (await downloading.value).suggested_filename == f"{frozen.settlement_id}-summary.xlsx"
        await page.get_by_label("复核意见").fill("与银行清单一致")
        await page.get_by_role("button", name="复核并付款").click()
        await page.get_by_text("已付款").wait_for()
        assert (await settlement.find(site.vault, frozen.settlement_id)).approved_by == "wang"
        await context.close()
