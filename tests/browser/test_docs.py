"""The page that describes the API, under its policy."""

from __future__ import annotations

from playwright.async_api import Browser, expect

from tests.browser.conftest import WALL, SiteOf
from tests.support.campaigns import small_campaign


async def test_the_api_is_shown_and_nothing_breaks_the_policy(
    make_site: SiteOf, campaign_id: str, browser: Browser
) -> None:
    """Its operations are listed and one unfolds; the browser refuses no script, style, picture or call of it."""
    complaints: list[str] = []
    async with make_site(small_campaign(campaign_id)) as site:
        api = await site.serve(rehearsal=True)
        context = await browser.new_context(viewport={"width": WALL[0], "height": WALL[1]})
        page = await context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"{api.base_url}/docs")
        claim = page.locator("#operations-claims-claimVoucher")
        await expect(claim).to_be_visible()
        await claim.locator("button").first.click()
        await expect(claim.locator(".responses-table").first).to_be_visible()
        await context.close()
    assert complaints == []
