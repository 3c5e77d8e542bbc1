"""The activity page as citizens use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from ledger import pauses
from tests.api.conftest import Site
from tests.browser.conftest import WALL, SiteOf, Visit, keep_picture
from tests.support.campaigns import small_campaign
from tests.support.wait import wait_until


@dataclass(frozen=True, slots=True)
class Shown:
    """A running site and the address of its pages."""

    site: Site
    url: str


@pytest.fixture
async def shown(make_site: SiteOf, campaign_id: str) -> AsyncIterator[Shown]:
    """A rehearsal that is open; it has a name of ordinary length."""
    async with make_site(small_campaign(campaign_id, name="2023年綦江区政府消费券")) as site:
        api = await site.serve(rehearsal=True)
        yield Shown(site, str(api.base_url))


def card(page: Page, class_code: str = "general") -> Locator:
    """Return the card of a stock."""
    return page.locator(f'#stocks .card[data-stock$="{class_code}-1"]')


def button(page: Page, class_code: str = "general") -> Locator:
    """Return the one button of a stock."""
    return card(page, class_code).locator("button")


async def claim_all(site: Site, api_url: str, page: Page) -> None:
    """Let others take every voucher of the first stock."""
    for number in range(5):
        headers = site.bearer(f"other{number}")
        answer = await page.request.post(f"{api_url}/v1/stocks/{site.stock_id}/claims", headers=headers)
        assert answer.status == 201


async def test_the_countdown_opens_on_time(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """Whatever the phone's clock says, the button wakes within half a second after the opening, and wins."""
    opens_at = datetime.now(UTC) + timedelta(seconds=12)
    campaign = small_campaign(campaign_id, round_changes={"opens_at": opens_at.isoformat(timespec="milliseconds")})
    async with make_site(campaign) as site:
        api = await site.serve(rehearsal=True)
        page = await visit(str(api.base_url), script="{ const real = Date.now; Date.now = () => real() + 3600000; }")
        await expect(button(page)).to_be_disabled()
        await expect(button(page)).to_contain_text("即将开始 00:0")
        await page.wait_for_function(
            "() => !document.querySelector('#stocks button').disabled", timeout=20_000, polling=20
        )
        late_s = (datetime.now(UTC) - opens_at).total_seconds()
        assert -0.05 < late_s < 1.0  # 300 ms of spread, a tick of 200 ms, and a busy machine
        await button(page).click()
        await expect(button(page)).to_have_text("查看我的票券")


async def test_a_claim_shows_in_my_vouchers_with_its_code(shown: Shown, visit: Visit) -> None:
    """Tap, win, look at the voucher: its code and the QR code are those of the service."""
    page = await visit(shown.url)
    await button(page).click()
    await expect(button(page)).to_have_text("查看我的票券")
    await button(page).click()
    await expect(page.locator("#vouchers .card")).to_have_count(1)
    await page.get_by_role("button", name="出示券码").click()
    code = (await page.locator("#code").inner_text()).replace(" ", "")
    assert code in {shown.site.codes.code(shown.site.stock_id, number) for number in range(1, 6)}
    await expect(page.locator("#qr svg path")).to_have_count(1)
    await keep_picture(page, "activity-code-375")


async def test_a_voucher_is_still_there_after_a_reload(shown: Shown, visit: Visit) -> None:
    """The same user comes back to the page and sees what is his."""
    page = await visit(shown.url)
    await button(page).click()
    await expect(button(page)).to_have_text("查看我的票券")
    await page.reload()
    await expect(button(page)).to_have_text("查看我的票券")


async def test_a_stock_that_is_gone_says_so(shown: Shown, visit: Visit) -> None:
    """Others take the last voucher between two looks: the tap is answered with 已抢光, other stocks go on."""
    page = await visit(shown.url)
    await claim_all(shown.site, shown.url, page)
    if await button(page).is_enabled():
        await button(page).click()
    await expect(button(page)).to_have_text("已抢光")
    await expect(button(page)).to_be_disabled()
    await expect(button(page, "dining")).to_have_text("立即抢券")
    await expect(card(page)).to_contain_text("剩余 0%")


async def test_a_paused_stock_says_so(shown: Shown, visit: Visit) -> None:
    """Within a few seconds of the decision the button says 活动暂停."""
    page = await visit(shown.url)
    decided = await pauses.decide(shown.site.vault, shown.site.stock_id, is_paused=True, subject="li", reason="a test")
    assert decided is not None
    await expect(button(page)).to_have_text("活动暂停")


async def test_an_ended_round_says_so(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """After closing nothing can be tapped."""
    ended = (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds")
    async with make_site(small_campaign(campaign_id, round_changes={"closes_at": ended})) as site:
        api = await site.serve(rehearsal=True)
        page = await visit(str(api.base_url))
        await expect(button(page)).to_have_text("活动已结束")


async def test_a_lost_answer_is_asked_for_again(shown: Shown, visit: Visit) -> None:
    """The claim is made but its answer is lost: the page asks again by itself and shows the voucher."""
    page = await visit(shown.url)
    asked: list[int] = []

    async def lose_the_first(route: Route) -> None:
        answer = await route.fetch()
        asked.append(answer.status)
        if len(asked) == 1:
            await route.abort("connectionreset")
        else:
            await route.fulfill(response=answer)

    await page.route("**/claims", lose_the_first)
    await button(page).click()
    await expect(button(page)).to_have_text("查看我的票券")
    assert asked == [201, 200]


async def test_a_busy_service_is_asked_again_when_it_says(shown: Shown, visit: Visit) -> None:
    """503 with Retry-After: the button counts down, then claims without another tap."""
    page = await visit(shown.url)
    asked: list[str] = []

    async def be_busy_once(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            await route.fulfill(status=503, headers={"Retry-After": "2"}, json={"code": "SYSTEM_BUSY"})
        else:
            await route.continue_()

    await page.route("**/claims", be_busy_once)
    await button(page).click()
    await expect(button(page)).to_have_text("人数较多，请稍候")
    await expect(card(page)).to_contain_text("秒后自动重试")
    await expect(button(page)).to_have_text("查看我的票券")


async def test_a_pending_claim_is_asked_for_until_it_is_known(shown: Shown, visit: Visit) -> None:
    """202: the button says 处理中, and the voucher comes without another tap."""
    page = await visit(shown.url)
    asked: list[str] = []

    async def be_pending_thrice(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) <= 3:
            await route.fulfill(status=202, json={"state": "PENDING", "stock_id": shown.site.stock_id})
        else:
            await route.continue_()

    await page.route("**/claims", be_pending_thrice)
    await button(page).click()
    await expect(button(page)).to_have_text("处理中…")
    await expect(button(page)).to_have_text("查看我的票券")


async def test_without_a_connection_the_user_is_told_what_to_do(shown: Shown, visit: Visit) -> None:
    """After several lost answers the button asks for a tap, and the note says that a voucher may be there."""
    page = await visit(shown.url)
    await page.route("**/claims", lambda route: route.abort("connectionreset"))
    await button(page).click()
    await expect(button(page)).to_have_text("网络不给力，点击重试")
    await expect(card(page)).to_contain_text("可能已抢到")
    await page.unroute("**/claims")
    await button(page).click()
    await expect(button(page)).to_have_text("查看我的票券")


async def test_the_app_passes_the_token(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """Outside a rehearsal nobody is made up; a token in the fragment signs in and leaves the address bar."""
    async with make_site(small_campaign(campaign_id)) as site:
        api = await site.serve(rehearsal=False)
        page = await visit(str(api.base_url))
        await expect(page.locator("#notice")).to_have_text("请从 App 进入")
        token = site.bearer("u1")["Authorization"].removeprefix("Bearer ")
        page = await visit(f"{api.base_url}/#token={token}")
        await button(page).click()
        await expect(button(page)).to_have_text("查看我的票券")
        assert "#" not in page.url


async def test_elder_mode_has_large_text_and_targets(shown: Shown, visit: Visit) -> None:
    """In 大字版 text has 18 px or more and every button 60 px; the choice stays."""
    page = await visit(shown.url)
    await page.get_by_role("button", name="大字版").click()
    sizes: dict[str, Any] = await page.evaluate(
        """() => {
          const visible = [...document.querySelectorAll("body *")].filter((each) => each.checkVisibility());
          const hasText = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
          const texts = visible.filter(hasText);
          const read = texts.filter((each) => !each.closest(".hidden"));
          return {
            text: Math.min(...read.map((each) => parseFloat(getComputedStyle(each).fontSize))),
            target: Math.min(...visible.filter((each) => each.tagName === "BUTTON").map((each) => each.offsetHeight)),
          };
        }"""
    )
    assert sizes["text"] >= 18
    assert sizes["target"] >= 60
    await page.reload()
    await expect(page.get_by_role("button", name="大字版")).to_have_attribute("aria-pressed", "true")


async def test_the_page_speaks_english(shown: Shown, visit: Visit) -> None:
    """One tap changes every text; a wide window shows it as well."""
    page = await visit(shown.url, WALL)
    await page.get_by_role("button", name="English").click()
    await expect(button(page)).to_have_text("Claim now")
    assert await page.locator("html").get_attribute("lang") == "en"
    await keep_picture(page, "activity-english-1920")


async def test_rules_and_merchants_are_shown(shown: Shown, visit: Visit) -> None:
    """Rules come from the campaign; a search that finds nothing says so."""
    page = await visit(shown.url)
    await page.get_by_role("button", name="规则").click()
    await expect(page.locator("#rule-list")).to_contain_text("每人每场每种券限领 1 张")
    await page.get_by_role("button", name="商户").click()
    await expect(page.locator("#no-shops")).to_have_text("没有找到符合条件的商户")


async def test_the_service_is_asked_rarely_long_before_the_opening(
    make_site: SiteOf, campaign_id: str, visit: Visit
) -> None:
    """An hour before, a page that waits does not poll."""
    later = datetime.now(UTC) + timedelta(hours=1)
    async with make_site(small_campaign(campaign_id, round_changes={"opens_at": later.isoformat()})) as site:
        api = await site.serve(rehearsal=True)
        page = await visit(str(api.base_url))
        polls: list[str] = []
        page.on("request", lambda request: polls.append(request.url))
        ticks: set[str] = set()

        async def five_seconds_are_over() -> bool:
            ticks.add(await page.locator("#server-time").inner_text())
            return len(ticks) > 5

        await wait_until(five_seconds_are_over, "five seconds are over")
        assert [url for url in polls if url.endswith("/v1/stock")] == []


async def test_the_page_works_for_its_ticket(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """Where a proof of presence is asked for the page solves it by itself, and the claim goes through."""
    async with make_site(small_campaign(campaign_id)) as site:
        api = await site.serve(rehearsal=True, presence="work", presence_bits=10)
        page = await visit(str(api.base_url))
        await button(page).click()

        async def user_has_a_voucher() -> bool:
            return bool(await site.vault.fetchval("SELECT count(*) FROM claims"))

        await wait_until(user_has_a_voucher, "the user has a voucher")
