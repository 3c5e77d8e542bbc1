"""The page's QR codes against those of another encoder."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser

QR = Path(__file__).parents[2] / "src" / "grab_service" / "pages" / "activity" / "qr.js"
OTHER = Path(__file__).parent / "vendor" / "qrcode-generator" / "qrcode.js"
COMPARE = """
async ([module, other]) => {
  (0, eval)(other);
  const { encode } = await import(`data:text/javascript,${encodeURIComponent(module)}`);
  const letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ-:/";
  const different = [];
  for (let length = 1; length <= 106; length++) {
    const text = Array.from({ length }, (_, i) => letters[(i * 7 + length * 3) % letters.length]).join("");
    const expected = qrcode(0, "M");
    expected.addData(text, "Byte");
    expected.make();
    const size = expected.getModuleCount();
    const sameRow = (row, y) => row.every((dark, x) => dark === expected.isDark(y, x));
    const same = (matrix) => matrix.length === size && matrix.every(sameRow);
    const masks = [0, 1, 2, 3, 4, 5, 6, 7].filter((mask) => same(encode(text, mask)));
    const chosen = JSON.stringify(encode(text));
    const isOneOfEight = [0, 1, 2, 3, 4, 5, 6, 7].some((mask) => JSON.stringify(encode(text, mask)) === chosen);
    if (masks.length !== 1 || !isOneOfEight) different.push(text);
  }
  return different;
}
"""


async def test_codes_of_every_length_are_drawn_as_another_encoder_draws_them(browser: Browser) -> None:
    """Every dot is the same, under the mask that the other one has chosen."""
    page = await browser.new_page()
    modules = [QR.read_text(encoding="utf-8"), OTHER.read_text(encoding="utf-8")]
    assert await page.evaluate(COMPARE, modules) == []
