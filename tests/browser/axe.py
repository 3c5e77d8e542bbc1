"""What axe-core finds on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.async_api import Page

_AXE = (Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
ENHANCED: dict[str, Any] = {  # contrast of 7:1, for large text 4.5:1
    "runOnly": ["color-contrast-enhanced"],
    "rules": {"color-contrast-enhanced": {"enabled": True}},
}

# axe leaves out what cannot be pressed, and people read it all the same.
_PALE = """least => {
  const light = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (style) => {
    const [low, high] = [light(style.color), light(style.backgroundColor)].sort((one, other) => one - other);
    return (high + 0.05) / (low + 0.05);
  };
  return [...document.querySelectorAll("button.main")].filter((each) => each.checkVisibility())
    .map((each) => [each.textContent, ratio(getComputedStyle(each))]).filter(([, found]) => found < least);
}"""


async def pale_buttons(page: Page, least: float) -> list[Any]:
    """Return the texts of main buttons, also those that cannot be pressed, whose contrast is below this ratio."""
    return list(await page.evaluate(_PALE, least))


async def serious(page: Page, options: dict[str, Any] | None = None) -> list[str]:
    """Return what axe finds that is serious or critical."""
    # Past the page's policy, which lets no such script in.
    if not await page.evaluate("Boolean(window.axe)"):
        await page.evaluate(_AXE)
    found = await page.evaluate("options => axe.run(document, options)", options or {})
    return [
        f"{each['id']}: {node['html']} {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
