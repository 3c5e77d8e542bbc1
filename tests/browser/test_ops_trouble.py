"""The ops page in trouble: what is wrong has the right colour and the right words, on the wall and on a phone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from grab_service.keys import DIFFERENCE, WATCH
from tests.browser.conftest import PHONE, WALL, SiteOf, Visit, keep_picture
from tests.support.campaigns import small_campaign
from tests.support.own_gate import OwnGate

GREEN, AMBER = "rgb(126, 224, 138)", "rgb(255, 198, 92)"
WHITE, RED_GROUND = "rgb(255, 255, 255)", "rgb(179, 32, 26)"
TEXT = {"pass": "正常", "warn": "注意", "fail": "故障"}


@pytest.fixture
async def own_gate(tmp_path: Path) -> AsyncIterator[OwnGate]:
    """A gate that this test may stop."""
    gate = OwnGate(tmp_path / "vk")
    await gate.start()
    yield gate
    gate.kill()
    await gate.client.aclose()


async def has_colour(place: Locator, status: str) -> None:
    """The place has the status, and the colour that stands for it."""
    await expect(place).to_have_attribute("data-status", status)
    await expect(place).to_have_css("color", {"pass": GREEN, "warn": AMBER, "fail": WHITE}[status])
    if status == "fail":
        await expect(place).to_have_css("background-color", RED_GROUND)


async def part_is(page: Page, name: str, status: str) -> None:
    """The part's line says so in colour and words."""
    chip = page.locator("#parts li", has_text=name).locator(".chip")
    await has_colour(chip, status)
    await expect(chip).to_have_text(TEXT[status])


async def both(visit: Visit, url: str) -> tuple[Page, Page]:
    """Open the page on the wall and on a phone."""
    wall, phone = await asyncio.gather(visit(url, WALL), visit(url, PHONE))
    return wall, phone


async def test_a_dead_ledger_is_amber(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """Claims are made and nobody books them: lag, part and whole turn amber, and green once all is booked."""
    async with make_site(small_campaign(campaign_id)) as site:
        api = await site.serve(shutdown_grace_s=4, confirm_timeout_ms=100)
        pages = await both(visit, f"{api.base_url}/ops")
        for page in pages:
            await has_colour(page.locator("#lag"), "pass")
            await has_colour(page.locator("#overall"), "pass")
        await site.stop_worker()
        for user in range(3):
            held = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer(f"u{user}"))
            assert held.status_code == 202
        for page, width in zip(pages, (1920, 375), strict=True):
            await has_colour(page.locator("#lag"), "warn")
            await expect(page.locator("#lag-status")).to_have_text("积压")
            await part_is(page, "入账进程", "warn")
            await has_colour(page.locator("#overall"), "warn")
            await expect(page.locator("#overall")).to_have_text("注意")
            await expect(page.locator("#on-way")).to_have_text("在途 3")
            await keep_picture(page, f"ops-ledger-stopped-{width}")
        site.start_worker()
        for page in pages:
            await has_colour(page.locator("#lag"), "pass")
            await part_is(page, "入账进程", "pass")
            await has_colour(page.locator("#overall"), "pass")


async def test_a_dead_gate_is_red(make_site: SiteOf, campaign_id: str, visit: Visit, own_gate: OwnGate) -> None:
    """Valkey is stopped: the part and the whole turn red, and no old speed stands where nothing is known."""
    async with make_site(small_campaign(campaign_id), own_gate=own_gate) as site:
        api = await site.serve(shutdown_grace_s=4)
        pages = await both(visit, f"{api.base_url}/ops")
        await site.stop_worker()
        own_gate.kill()
        for page, width in zip(pages, (1920, 375), strict=True):
            await part_is(page, "闸口（Valkey）", "fail")
            await part_is(page, "券批次开放", "fail")
            await has_colour(page.locator("#overall"), "fail")
            await expect(page.locator("#overall")).to_have_text("故障")
            await expect(page.locator(f'[data-stock="{site.stock_id}"]')).to_contain_text("恢复中")
            for figure in ("#lag", "#gate-ms", "#rate"):
                await expect(page.locator(figure)).to_have_text("–")
            await expect(page.locator("#lag-status")).to_have_text("未知")
            await expect(page.locator("#difference-status")).to_have_text("无进程在核对")
            await keep_picture(page, f"ops-gate-stopped-{width}")


async def test_an_oversold_stock_is_red(make_site: SiteOf, campaign_id: str, visit: Visit) -> None:
    """The watch says that more was given out than there is: difference, invariants and the whole turn red."""
    async with make_site(small_campaign(campaign_id)) as site:
        api = await site.serve(shutdown_grace_s=4)
        pages = await both(visit, f"{api.base_url}/ops")
        for page in pages:
            await has_colour(page.locator("#difference"), "pass")
        await site.stop_worker()
        verdict = f"{site.stock_id}: 6 claims of 5"
        told = ["I-1", verdict, "I-2", "ok", f"{DIFFERENCE}oversold", "1", f"{DIFFERENCE}owners", "0"]
        await site.client.fcall("grab_tell", 1, WATCH, "60000", *told)
        for page, width in zip(pages, (1920, 375), strict=True):
            await has_colour(page.locator("#difference"), "fail")
            await expect(page.locator("#difference")).to_have_text("1")
            await expect(page.locator("#difference-status")).to_have_text("账实不符")
            await part_is(page, "不变量", "fail")
            await expect(page.locator("#parts")).to_contain_text(f"不成立：I-1 {verdict}")
            await has_colour(page.locator("#overall"), "fail")
            await keep_picture(page, f"ops-oversold-{width}")
        await site.client.delete(WATCH)
