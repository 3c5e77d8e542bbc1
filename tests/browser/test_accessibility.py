"""What axe finds on both pages, and the contrast of every mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.axe import ENHANCED, serious
from tests.browser.conftest import PHONE, WALL, SiteOf, Visit
from tests.support.campaigns import small_campaign


@pytest.fixture
def make_rehearsal(make_site: SiteOf, campaign_id: str) -> Callable[[], Any]:
    """Return a context manager of a site with a small campaign."""
    return lambda: make_site(small_campaign(campaign_id))


@pytest.mark.parametrize("size", [PHONE, WALL], ids=["phone", "wall"])
async def test_the_activity_page_has_no_serious_violation(
    make_rehearsal: Callable[[], Any], visit: Visit, size: tuple[int, int]
) -> None:
    """On each of its views, in both sizes of text; contrast is 4.5:1, and 7:1 in 大字版."""
    async with make_rehearsal() as site:
        api = await site.serve(rehearsal=True)
        page = await visit(str(api.base_url), size)
        await page.locator("#stocks button").first.click()
        await expect(page.locator("#stocks button").first).to_have_text("查看我的票券")
        for options in (None, ENHANCED):
            for view in ("claim", "mine", "merchants", "rules"):
                await page.locator(f'[data-view="{view}"]').click()
                assert await serious(page, options) == [], view
            await page.locator('[data-view="mine"]').click()
            await page.get_by_role("button", name="出示券码").click()
            assert await serious(page, options) == [], "the voucher's code"
            await page.locator("#close").click()
            if options is None:
                await page.locator("#size").click()


@pytest.mark.parametrize("size", [PHONE, WALL], ids=["phone", "wall"])
async def test_the_ops_page_has_no_serious_violation(
    make_rehearsal: Callable[[], Any], visit: Visit, size: tuple[int, int]
) -> None:
    """With its dialog closed and open."""
    async with make_rehearsal() as site:
        api = await site.serve(shutdown_grace_s=4)
        page = await visit(f"{api.base_url}/ops", size)
        assert await serious(page) == []
        await page.locator("#sign-in").click()
        assert await serious(page) == []
