"""Each state of the activity page, with its picture: on a phone and on a wide screen, in both sizes of text.

The pages and the campaign are the service's own; what it would answer in a state is put in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, Route, expect

from grab_service.campaign import Campaign, read_campaign
from tests.browser.axe import ENHANCED, pale_buttons, serious
from tests.browser.conftest import PHONE, WALL, SiteOf, Visit, keep_picture
from tests.support.merchants import approve, new_merchant

CAMPAIGN = Path(__file__).parents[2] / "campaigns" / "qijiang-2023.toml"
SHARE = 20  # of the real quantities, one in so many
HOLD = object()  # an answer that does not come

Json = dict[str, Any]
# A user's patience, shortened: what the page waits for between two tries passes at once.
IMPATIENT = "{ const real = setTimeout; window.setTimeout = (f, ms) => real(f, ms < 5000 ? Math.min(ms, 20) : ms); }"


def real_campaign(campaign_id: str) -> Campaign:
    """Return the real campaign, opened an hour ago, with few vouchers, a hotline and an announcement."""
    campaign = read_campaign(CAMPAIGN)
    begun = datetime.now(UTC).replace(microsecond=0, second=0) - timedelta(hours=1)
    document = campaign.shifted(begun - campaign.rounds[0].opens_at).document()
    for round_ in document["rounds"]:
        round_["budget_fen"] //= SHARE
        round_["quantities"] = {name: quantity // SHARE for name, quantity in round_["quantities"].items()}
    said = {"hotline": "12345", "notice": "请提前在云闪付完成实名认证；活动页面不收取任何费用。"}
    return Campaign.from_document(document | said | {"campaign_id": campaign_id})


def problem(status: int, code: str, **headers: str) -> Json:
    """Return a refusal."""
    return {"status": status, "headers": headers, "json": {"code": code}}


@dataclass(frozen=True, slots=True)
class State:
    """One state.

    Attributes:
        name: Of its picture.
        says: What its first stock's button, or the page, says.
        kind: What the first stock's card is marked with.
        stock: What is otherwise in the picture of the stocks.
        opens_in_s: When the first round opens; None if it is open.
        claim: How a claim is answered; None if nobody taps.
        held: Whether the user has a voucher of the first stock.
        is_known: Whether somebody is signed in.
        script: What runs before the page.
    """

    name: str
    says: str
    kind: str
    stock: Json = field(default_factory=dict)
    opens_in_s: int | None = None
    claim: Any = None
    held: bool = False
    is_known: bool = True
    script: str = ""


SOLD_OUT = {"state": "SOLD_OUT", "remaining": 0}
STATES = (
    State("scheduled", "开抢", "scheduled", {"state": "SCHEDULED"}, opens_in_s=7_951),
    State("soon", "即将开始 00:", "soon", {"state": "SCHEDULED"}, opens_in_s=55),
    State("open", "立即抢券", "open", {"remaining": 93}),
    State("claiming", "抢券中…", "claiming", claim=HOLD),
    State("pending", "处理中…", "pending", claim={"status": 202, "json": {"state": "PENDING"}}),
    State("won", "查看我的票券", "won", claim=True),
    State("already", "查看我的票券", "won", held=True),
    State("sold-out", "已抢光", "sold", SOLD_OUT),
    State("paused", "活动暂停", "paused", {"state": "PAUSED"}),
    State("ended", "活动已结束", "ended", {"state": "ENDED"}),
    State("denied", "不符合领取条件", "denied", claim=problem(403, "NOT_ELIGIBLE")),
    State("limit", "已达领取上限", "limit", claim=problem(409, "LIMIT_REACHED")),
    State("recovering", "系统恢复中", "recovering", {"state": "RECOVERING"}),
    State("busy", "人数较多，请稍候", "busy", claim=problem(503, "SYSTEM_BUSY", **{"Retry-After": "30"})),
    State("failed", "暂未成功，点击重试", "failed", claim={"status": 202, "json": {}}, script=IMPATIENT),
    State("offline", "网络不给力，点击重试", "lost", claim="abort", script=IMPATIENT),
    State("sign-in", "请从 App 进入", "signin", claim=problem(401, "SIGN_ERROR"), is_known=False),
)


def voucher(stock: Json, state: str = "ISSUED", days: int = 7) -> Json:
    """Return a voucher of a stock as the service tells it."""
    until = datetime.now(UTC) + timedelta(days=days)
    names = ("stock_id", "campaign_id", "round_id", "class", "tier", "threshold_fen", "discount_fen")
    said = {"voucher_code": "D5MTG13PCPCYN96N4", "claim_no": 7, "state": state, "replayed": False}
    return {name: stock[name] for name in names} | said | {"available_until": until.isoformat(timespec="seconds")}


class Stage:
    """Answers in the place of a service that is in a state.

    Args:
        stocks: What ``/v1/stock`` tells.
        campaign: What ``/v1/campaigns/{id}`` tells.
    """

    def __init__(self, stocks: Json, campaign: Json) -> None:
        self._stocks = stocks
        self._campaign = campaign
        self.rows: list[Json] = stocks["stocks"]
        self.vouchers: list[Json] = []

    async def set(self, page: Page, state: State) -> None:
        """Bring a page into a state."""
        await page.unroute_all()
        opens_at = datetime.now(UTC) + timedelta(seconds=state.opens_in_s or -3600)
        changed = state.stock | ({} if state.opens_in_s is None else {"opens_at": opens_at.isoformat()})
        stocks = [row | (changed if row["round_id"] == "r1" else {}) for row in self.rows]
        self.vouchers = [voucher(self.rows[0])] if state.held else []
        await self._put(page, "**/v1/stock", lambda: {"json": self._stocks | {"stocks": stocks}})
        await self._put(page, "**/v1/campaigns/*", lambda: {"json": self._campaign})
        await self._put(page, "**/v1/me/vouchers", lambda: {"json": {"data": self.vouchers}})
        if not state.is_known:
            await page.evaluate("sessionStorage.clear()")
            await self._put(page, "**/rehearsal/token", lambda: problem(404, "RESOURCE_NOT_EXISTS"))
        answer = {"status": 201, "json": voucher(self.rows[0])} if state.claim is True else state.claim
        await page.route("**/claims", lambda route: _answer(route, answer))
        await page.add_init_script(state.script)

    @staticmethod
    async def _put(page: Page, path: str, answer: Callable[[], Json]) -> None:
        await page.route(path, lambda route: route.fulfill(**answer()))


async def _answer(route: Route, answer: Any) -> None:
    if answer is HOLD:
        return  # neither fulfilled nor sent on: the page waits
    if answer == "abort":
        await route.abort("connectionreset")
    else:
        await route.fulfill(**answer)


async def stage_of(api: httpx.AsyncClient, campaign_id: str) -> Stage:
    """Return the stage of a running service."""
    stocks, campaign = await api.get("/v1/stock"), await api.get(f"/v1/campaigns/{campaign_id}")
    return Stage(stocks.json(), campaign.json())


async def judge(page: Page, name: str, width: int) -> None:
    """Take the picture in both sizes of text: the large one has contrast of 7:1; on a phone axe finds nothing serious.

    Colours and roles are the same on a wide screen.
    """
    is_phone = width == PHONE[0]
    await keep_picture(page, f"activity-{name}-{width}")
    found = await pale_buttons(page, 4.5) + (await serious(page) if is_phone else [])
    assert found == [], name
    await page.locator("#size").click()
    await keep_picture(page, f"activity-{name}-large-{width}")
    found = await pale_buttons(page, 7) + (await serious(page) + await serious(page, ENHANCED) if is_phone else [])
    assert found == [], f"{name}, large"
    await page.locator("#size").click()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", [PHONE, WALL], ids=["phone", "wall"])
async def test_every_state_is_shown_whole_and_can_be_used_by_everybody(
    make_site: SiteOf, campaign_id: str, visit: Visit, size: tuple[int, int]
) -> None:
    """The button says how it stands; nothing is cut off, axe finds nothing serious."""
    async with make_site(real_campaign(campaign_id)) as site:
        api = await site.serve(rehearsal=True)
        stage = await stage_of(api, campaign_id)
        page = await visit(str(api.base_url), size)
        for state in STATES:
            await stage.set(page, state)
            await page.goto(str(api.base_url))
            await page.wait_for_selector("html[data-ready]")
            await page.locator("#rounds button").first.click()  # when it is over, the page begins with the next round
            card = page.locator("#stocks .card").first
            if state.claim is not None:
                await card.locator("button").click()
            await expect(card, state.name).to_have_attribute("data-kind", state.kind)
            await expect(card.locator("button"), state.name).to_contain_text(state.says)
            if state.kind == "won":
                await expect(card.locator(".note")).to_contain_text("已领取" if state.held else "抢券成功")
            await judge(page, state.name, size[0])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("size", [PHONE, WALL], ids=["phone", "wall"])
async def test_vouchers_stand_in_the_order_in_which_they_lapse(
    make_site: SiteOf, campaign_id: str, visit: Visit, size: tuple[int, int]
) -> None:
    """Those that can be used show a code, those that are used or lapsed show none."""
    async with make_site(real_campaign(campaign_id)) as site:
        api = await site.serve(rehearsal=True)
        stage = await stage_of(api, campaign_id)
        page = await visit(str(api.base_url), size)
        await stage.set(page, STATES[2])
        first, second, third, fourth, *_ = stage.rows
        stage.vouchers = [
            voucher(first, days=9),
            voucher(second, days=2),
            voucher(third, "USED"),
            voucher(fourth, "EXPIRED", days=-1),
        ]
        await page.reload()
        await page.locator('[data-view="mine"]').click()
        cards = page.locator("#vouchers .card")
        await expect(cards).to_have_count(2)
        shown = [await cards.nth(place).get_attribute("data-voucher") for place in range(2)]
        assert shown == [second["stock_id"], first["stock_id"]]
        await expect(cards.first).to_contain_text("2天后过期")
        await judge(page, "vouchers", size[0])
        for tab, text, stock in (("已使用", "已使用", third), ("已过期", "已过期", fourth)):
            await page.locator("#filters").get_by_role("button", name=tab).click()
            await expect(cards).to_have_count(1)
            await expect(cards).to_have_attribute("data-voucher", stock["stock_id"])
            await expect(cards).to_contain_text(text)
            await expect(cards.locator("button")).to_have_count(0)
            assert "D5MT" not in await page.content()
            await judge(page, f"vouchers-{'used' if tab == '已使用' else 'expired'}", size[0])
        stage.vouchers = []
        await page.reload()
        await page.locator('[data-view="mine"]').click()
        await expect(page.locator("#no-vouchers")).to_have_text("这里还没有票券")
        await judge(page, "vouchers-none", size[0])


@pytest.mark.timeout(120)
async def test_merchants_are_found_by_name_and_town(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """Approved ones, twenty at a time, with the classes of vouchers that they take; in English too."""
    async with make_site(real_campaign(campaign_id)) as site:
        api = await site.serve(rehearsal=True)
        shops = [
            new_merchant(n, name=f"綦江百货第{n}店", town="古南街道" if n % 2 else "石角镇", category="百货")
            for n in range(1, 25)
        ]
        hotpot = new_merchant(
            90, name="老灶火锅（通惠店）", town="通惠街道", address="通惠大道88号", category="火锅消费周"
        )
        await approve(site.vault, *shops, hotpot)
        page = await visit(str(api.base_url))
        await page.locator('[data-view="merchants"]').click()
        found = page.locator("#shops li")
        await expect(found).to_have_count(20)
        await keep_picture(page, "activity-merchants-375")
        await page.get_by_role("button", name="查看更多").click()
        await expect(found).to_have_count(25)
        await expect(page.locator("#more")).to_be_hidden()
        await page.locator("#town").select_option("石角镇")
        await page.get_by_role("button", name="搜索").click()
        await expect(found).to_have_count(12)
        await page.locator("#town").select_option("")
        await page.locator("#q").fill("火锅")
        await page.get_by_role("button", name="搜索").click()
        await expect(found).to_have_count(1)
        await expect(found.locator(".tag")).to_have_text("餐饮券")
        await keep_picture(page, "activity-merchants-found-375")
        await page.get_by_role("button", name="English").click()
        await expect(found.locator(".tag")).to_have_text("Dining voucher")
        await expect(found).to_contain_text("Hotpot Week")
        assert await serious(page) == []
        await page.locator("#size").click()
        await keep_picture(page, "activity-merchants-english-large-375")
        await page.locator("#q").fill("不存在")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator("#no-shops")).to_have_text("No shop was found")


async def test_english_names_rounds_and_categories(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """The rules are the campaign's, in English as far as it can be; the hotline can be tapped."""
    async with make_site(real_campaign(campaign_id)) as site:
        api = await site.serve(rehearsal=True)
        page = await visit(str(api.base_url))
        await expect(page.locator("#hotline a")).to_have_attribute("href", "tel:12345")
        await expect(page.locator("#board")).to_contain_text("公告：请提前")
        await page.get_by_role("button", name="English").click()
        await expect(page.locator("#rounds button").first).to_contain_text("Round 1")
        await keep_picture(page, "activity-english-375")
        await page.locator('[data-view="rules"]').click()
        await expect(page.locator("#rule-list")).to_contain_text("Dining voucher: Hotpot Week, Beidu fish")
        await keep_picture(page, "activity-rules-english-375")
        await page.get_by_role("button", name="中文").click()
        await expect(page.locator("#rule-list")).to_contain_text("餐饮券：火锅消费周、北渡鱼")
        await keep_picture(page, "activity-rules-375")
