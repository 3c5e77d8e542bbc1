"""A real browser before a real service; skipped where there is no Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.api.conftest import SiteOf, make_site

__all__ = ["SiteOf", "make_site"]

CHROMIUM = os.environ.get("GRAB_CHROMIUM_BIN") or shutil.which("chromium") or shutil.which("google-chrome")
PICTURES = Path(__file__).parents[2] / "artefacts" / "screenshots"
PHONE, WALL = (375, 760), (1920, 1080)

expect.set_options(timeout=15_000)  # the machine may be busy

# What is wider than the window, or than a place that hides what does not fit and that nobody can scroll.
_CUT_OFF = """() => [...document.querySelectorAll("html, body *")]
  .filter((each) => each.checkVisibility() && !each.closest(".hidden") && each.scrollWidth > each.clientWidth + 1)
  .filter((each) => each.tagName === "HTML" || getComputedStyle(each).overflowX !== "visible" && each.clientWidth)
  .filter((each) => getComputedStyle(each).overflowX !== "auto" || each.tabIndex < 0)
  .map((each) => each.outerHTML.slice(0, 200))"""

Visit = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder, with the reason, where no browser is installed."""
    if CHROMIUM is None:
        skip = pytest.mark.skip(reason="no Chromium is installed; GRAB_CHROMIUM_BIN names one")
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(skip)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser without a window."""
    async with async_playwright() as playwright:
        # Tests run as root in containers, where Chromium has no sandbox.
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        await running.close()


@pytest.fixture
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """Return a function that opens a page and waits until it is ready; a script's error fails the test."""
    errors: list[str] = []
    async with AsyncExitStack() as stack:

        async def open_page(url: str, size: tuple[int, int] = PHONE, script: str = "") -> Page:
            context = await browser.new_context(viewport={"width": size[0], "height": size[1]}, locale="zh-CN")
            stack.push_async_callback(context.close)
            await context.add_init_script(script)
            page = await context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.set_default_timeout(15_000)
            await page.goto(url)
            await page.wait_for_selector("html[data-ready]")
            return page

        yield open_page
    assert errors == []


async def keep_picture(page: Page, name: str) -> None:
    """Leave a screenshot of the whole page among the artefacts; nothing may be wider than its place.

    The window is made as high as the page, so that what sticks to its lower edge is seen there.
    """
    assert await page.evaluate(_CUT_OFF) == [], f"{name} is cut off"
    size = page.viewport_size
    assert size is not None
    height = await page.evaluate("document.documentElement.scrollHeight")
    await page.set_viewport_size({"width": size["width"], "height": max(size["height"], height)})
    PICTURES.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=PICTURES / f"{name}.png")
    await page.set_viewport_size(size)
