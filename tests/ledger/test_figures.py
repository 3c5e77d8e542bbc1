"""The figures for the final report: what was reversed, refunded, expired and never claimed is told as what it is."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from grab_service.figures_page import Report, page_of
from grab_service.settings import Settings
from ledger import catalogue
from ledger.admin import Action
from ledger.expiry import rounds_to_seal, seal_round
from ledger.figures import figures_of
from ledger.holds import VoucherName
from tests.support.rehearsals import grab
from tests.support.review import change
from tests.support.till import OTHER_SHOP, Till


@pytest.fixture
async def played(till: Till) -> Till:
    """One voucher used and partly refunded, one reversed and used again, one expired, seven never claimed."""
    await till.refund(await till.redeemed(1), 5_000)
    await till.reverse(await till.redeemed(2))
    await till.redeemed(2, merchant_no=OTHER_SHOP, order_amount_fen=20_001)
    await till.lapse()
    assert await till.expire() == 1
    await till.vault.execute("UPDATE rounds SET closes_at = now() - interval '2 minutes'")
    [round_] = await rounds_to_seal(till.vault)
    assert await seal_round(till.vault, round_.round_no) == 7
    return till


async def report_of(till: Till) -> Report:
    """Return the report of the till's campaign."""
    campaign_id = till.books.campaign.campaign_id
    document = (await catalogue.documents(till.vault))[campaign_id]
    return Report.of(document, await figures_of(till.vault, campaign_id))


async def test_every_voucher_is_counted_once_as_what_became_of_it(played: Till) -> None:
    """Used, expired and never claimed add up to the quantity; what came back lowers both amounts."""
    report = await report_of(played)
    total = report.total
    assert (total.quantity, total.issued, total.used, total.expired, total.returned, total.open) == (10, 3, 2, 1, 7, 0)
    assert (total.spent_fen, total.subsidy_fen) == (5_000 + 20_001, 1_500 + 3_000)
    pool_and_paid = await played.balances()
    assert pool_and_paid["PAYABLE"] == total.subsidy_fen


async def test_all_sums_are_the_same(played: Till) -> None:
    """By class and tier, by round, by town and by day it is one campaign."""
    report = await report_of(played)
    for name in ("used", "spent_fen", "subsidy_fen"):
        total = getattr(report.total, name)
        for rows in (report.kinds, report.rounds, report.towns, report.days):
            assert sum(getattr(row, name) for row in rows) == total, (name, rows)
    assert sum(day.issued for day in report.days) == report.total.issued
    assert sum(day.lapsed for day in report.days) == report.total.expired + report.total.returned
    assert {kind.voided for kind in report.kinds} == {0}


async def test_what_two_persons_took_back_is_told_apart_from_what_is_still_good(till: Till) -> None:
    """Of three claims one is used, one void and one held: by class and tier issued is used, lapsed, void and good."""
    stock_id = till.books.stock.stock_id
    await till.redeemed(1)
    await change(till.vault, Action.HOLD, [VoucherName(stock_id, 2), VoucherName(stock_id, 3)])
    await change(till.vault, Action.VOID, [VoucherName(stock_id, 2)])
    report = await report_of(till)
    for row in (report.total, report.kinds[0]):
        assert (row.issued, row.used, row.expired, row.voided, row.open) == (3, 1, 0, 1, 1)
    assert all(row.issued == row.used + row.expired + row.voided + row.open for row in report.kinds)
    assert sum(day.lapsed for day in report.days) == 1
    assert report.to_json()["kinds"][0]["voided"] == 1
    page = page_of(till.books.campaign.document(), report, datetime.now(UTC))
    heads, cells = re.findall(r"<th[^>]*>([^<]*)</th>", page), re.findall(r"<td>([^<]*)</td>", page)
    assert cells[heads.index("作废") - 1] == "1"


async def test_a_campaign_without_any_use_has_dashes_and_every_town(till: Till) -> None:
    """Nothing is divided by nothing, and a town without a use is there with 0."""
    report = await report_of(till)
    assert [(town.town, town.used) for town in report.towns] == [("古南街道", 0)]
    page = page_of(till.books.campaign.document(), report, datetime.now(UTC))
    assert "<dt>每 1 分补贴拉动消费</dt><dd>– <small>" in page


async def test_the_page_stands_alone_and_takes_names_for_text(played: Till) -> None:
    """No script, nothing loaded from anywhere; a name that looks like markup is shown as it is."""
    document = played.books.campaign.document() | {"name": "<b>活动</b> & Co"}
    page = page_of(document, await report_of(played), datetime(2024, 2, 4, tzinfo=UTC))
    assert "&lt;b&gt;活动&lt;/b&gt; &amp; Co" in page
    assert "<script" not in page
    assert re.findall(r"""(?:src|href|url)\s*[=(]""", page) == []
    assert "2024-02-04 08:00（北京时间）" in page
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert ET.fromstring(drawing).get("aria-label")  # noqa: S314  made here
    assert page.count("<svg") == 3


async def test_the_command_writes_the_page_or_the_figures(played: Till, database_url: str, tmp_path: Path) -> None:
    """As a file, or as JSON; a campaign that is not stored is refused."""
    (tmp_path / "settings.toml").write_text(Settings(database_url=database_url).toml())
    campaign_id = played.books.campaign.campaign_id
    command: list[str | Path] = ["report", "--data-dir", tmp_path, "--campaign"]
    written = grab(*command, campaign_id, "--out", tmp_path / "report.html")
    assert written.returncode == 0, written.stderr
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    told = json.loads(grab(*command, campaign_id, "--json").stdout)
    assert told["total"]["subsidy_fen"] == 4_500
    assert grab(*command, "none").returncode == 1
