"""The settlement as two persons make it on the command line, and its files as other programs read them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from python_calamine import CalamineWorkbook

from grab_service import instants
from grab_service.periods import end_of
from grab_service.settlement_files import files_of, write_files
from ledger import admin, settlement
from ledger.admin import Action
from ledger.journals import STAFF, journals
from ledger.seal import seal_now
from ledger.settlement import Settlement
from tests.flow.test_two_persons import Office
from tests.support.till import OTHER_SHOP, SHOP, Till

AMOUNT, PAID = "结算金额（元）", "本期应付（元）"


@pytest.fixture
def office(tmp_path: Path, database_url: str) -> Office:
    """A deployment in which two persons must agree."""
    return Office(tmp_path, database_url)


async def _trade(till: Till) -> None:
    """Use three vouchers at two merchants; one use is reversed, of another part of the goods comes back."""
    await till.reverse(await till.redeemed(1, order_no="=1+1"))
    await till.refund(await till.redeemed(2, order_no="o2"), 5_001)
    await till.redeemed(3, merchant_no=OTHER_SHOP, order_no="o3")


async def _freeze(till: Till) -> Settlement:
    until = datetime.now(UTC) + timedelta(seconds=1)
    campaign_id = till.books.campaign.campaign_id
    return await settlement.freeze(till.vault, campaign_id, until, subject="li", reason="due", at=until)


def _files_in(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def _read_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def _read_workbook(content: bytes) -> list[dict[str, Any]]:
    rows: Sequence[Sequence[Any]] = (
        CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()
    )
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def _yuan(value: object) -> Decimal:
    return Decimal(str(value)).quantize(Decimal("0.01"))


def _totals(summary: list[dict[str, Any]], details: list[dict[str, Any]]) -> tuple[Decimal, Decimal, Decimal]:
    """Return what merchants get, what the last line says that they get, and what the events come to."""
    *lines, total = summary
    assert total["商户编号"] == "合计"
    paid = sum((_yuan(line[PAID]) for line in lines), Decimal())
    return paid, _yuan(total[PAID]), sum((_yuan(item[AMOUNT]) for item in details), Decimal())


async def test_the_files_say_the_same_to_programs_of_others(till: Till, tmp_path: Path) -> None:
    """Workbooks by a reader in Rust, CSV by Python's: lines, last line, events, manifest and payouts are one sum."""
    await _trade(till)
    frozen = await _freeze(till)
    files = files_of(*await settlement.contents(till.vault, frozen.settlement_id))
    paid = await settlement.approve(till.vault, frozen.settlement_id, subject="wang", reason="checked")
    assert files_of(*await settlement.contents(till.vault, paid.settlement_id)) == files
    name = frozen.settlement_id
    manifest = json.loads(files[f"{name}-manifest.json"])
    moved_fen = await till.vault.fetchval("SELECT sum(paid_fen) FROM settlement_payouts")
    assert moved_fen == manifest["paid_fen"] == 6_000 - 1_500
    expected = (_yuan(Decimal(moved_fen) / 100),) * 3
    read_csv = [_read_csv(files[f"{name}-{table}.csv"]) for table in ("summary", "details")]
    read_xlsx = [_read_workbook(files[f"{name}-{table}.xlsx"]) for table in ("summary", "details")]
    assert _totals(*read_csv) == _totals(*read_xlsx) == expected
    assert [row["商户编号"] for row in read_xlsx[0]] == [SHOP, OTHER_SHOP, "合计"]
    assert (read_xlsx[1][0]["订单号"], read_csv[1][0]["订单号"]) == ("=1+1", "'=1+1")
    assert manifest["files"] == [
        {"name": file, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for file, content in list(files.items())[:-1]
    ]
    write_files(tmp_path, files)
    assert _files_in(tmp_path) == files


async def test_the_manifest_has_the_heads_of_its_chains_as_they_were_at_the_freezing(till: Till) -> None:
    """Money, claims and what staff did; what staff do afterwards moves their chain on, and the manifest stays."""
    campaign_id = till.books.campaign.campaign_id
    await admin.request(till.vault, Action.PAUSE, till.books.stock.stock_id, reason="test", subject="li")
    await _trade(till)
    await seal_now(till.vault)
    heads = {each.name: each.hash.hex() for each in await journals(till.vault) if each.hash is not None}
    frozen = await _freeze(till)
    files = files_of(*await settlement.contents(till.vault, frozen.settlement_id))
    manifest = json.loads(files[f"{frozen.settlement_id}-manifest.json"])
    told = {each["journal"]: each["hash"] for each in manifest["journals"]}
    assert set(told) >= {STAFF, f"money/{campaign_id}", f"claims/{till.books.stock.stock_id}"}
    assert told.items() <= heads.items()
    await seal_now(till.vault)
    [staff] = [each for each in await journals(till.vault) if each.name == STAFF]
    assert staff.hash is not None
    assert staff.hash.hex() != told[STAFF]
    assert files_of(*await settlement.contents(till.vault, frozen.settlement_id)) == files


@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
@pytest.mark.timeout(180)
async def test_an_office_program_shows_the_same_total(till: Till, tmp_path: Path) -> None:
    """LibreOffice turns the workbook into a CSV with the same sum in its last line."""
    await _trade(till)
    frozen = await _freeze(till)
    write_files(tmp_path, files_of(*await settlement.contents(till.vault, frozen.settlement_id)))
    argv = ["soffice", f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to"]
    argv += ["csv:Text - txt - csv (StarCalc):44,34,76", "--outdir", str(tmp_path / "out")]
    done = subprocess.run(  # noqa: ASYNC221  nothing else runs meanwhile
        [*argv, str(tmp_path / f"{frozen.settlement_id}-summary.xlsx")], capture_output=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = _read_csv((tmp_path / "out" / f"{frozen.settlement_id}-summary.csv").read_bytes())
    assert (rows[-1]["商户编号"], Decimal(rows[-1][PAID])) == ("合计", Decimal("45.00"))


def test_files_of_an_earlier_run_are_never_taken_for_those_of_this_one(tmp_path: Path) -> None:
    """The manifest goes first and comes last; what was there otherwise stays."""
    write_files(tmp_path, {"a": b"1", "manifest": b"1"})
    (tmp_path / ".b.part").mkdir()  # so that b cannot be written
    with pytest.raises(IsADirectoryError):
        write_files(tmp_path, {"a": b"2", "b": b"2", "manifest": b"2"})
    assert (tmp_path / "a").read_bytes() == b"2"
    assert not (tmp_path / "manifest").exists()


@pytest.mark.timeout(240)  # many commands one after the other
async def test_a_period_is_frozen_by_one_and_paid_by_another(till: Till, office: Office) -> None:
    """The same period again writes the same bytes, also after the payout; nobody pays alone or without a token."""
    await _trade(till)
    until = instants.from_datetime(datetime.now(UTC) + timedelta(milliseconds=1))
    campaign_id = till.books.campaign.campaign_id
    freeze = ["settle", "--campaign", campaign_id, "--until", until]
    refused = office.run(*freeze)
    assert (refused.returncode, "GRAB_STAFF_TOKEN" in refused.stderr) == (1, True)
    frozen = office.run(*freeze, "--out", office.directory / "one", by="li")
    assert frozen.returncode == 0, frozen.stderr
    name = f"{campaign_id}-s1"
    alone = office.run("settle", "approve", name, "--reason", "checked", by="li")
    assert (alone.returncode, "somebody else must approve" in alone.stderr) == (1, True)
    paid = office.run("settle", "approve", name, "--reason", "checked", by="wang")
    assert paid.returncode == 0, paid.stderr
    assert "is paid: 4500 fen to 2 merchants, approved by wang" in paid.stdout
    again = office.run(*freeze, "--out", office.directory / "two", by="li")
    assert again.returncode == 0, again.stderr
    by_name = office.run("settle", "files", name, "--out", office.directory / "three")
    assert by_name.returncode == 0, by_name.stderr
    one, two, three = (_files_in(office.directory / place) for place in ("one", "two", "three"))
    assert len(one) == 5
    assert one == two == three
    [listed] = json.loads(office.run("settle", "list", "--json").stdout)
    assert (listed["settlement_id"], listed["state"], listed["approved_by"]) == (name, "PAID", "wang")
    shown = json.loads(office.run("settle", "show", name, "--json").stdout)
    assert [(line["merchant_no"], line["net_fen"]) for line in shown["lines"]] == [(SHOP, 1_500), (OTHER_SHOP, 3_000)]


@pytest.mark.timeout(240)  # many commands one after the other
async def test_names_among_the_arguments_are_no_persons_where_the_vault_wants_two(till: Till, office: Office) -> None:
    """Whoever takes the setting out of his own settings still shows a token for each of them."""
    await _trade(till)
    assert office.run("migrate", "--two-persons").returncode == 0
    office.forget_setting()
    until = instants.from_datetime(datetime.now(UTC) + timedelta(milliseconds=1))
    campaign_id = till.books.campaign.campaign_id
    freeze = ["settle", "--campaign", campaign_id, "--until", until, "--out", str(office.directory)]
    named = office.run(*freeze, "--by", "li")
    assert (named.returncode, "GRAB_STAFF_TOKEN" in named.stderr) == (1, True)
    frozen = office.run(*freeze, by="li")
    assert frozen.returncode == 0, frozen.stderr
    approve = ["settle", "approve", f"{campaign_id}-s1", "--reason", "checked"]
    for alone in (office.run(*approve, "--by", "wang"), office.run(*approve, by="li")):
        assert alone.returncode == 1
    assert await till.vault.fetchval("SELECT count(*) FROM settlement_payouts") == 0
    paid = office.run(*approve, by="wang")
    assert paid.returncode == 0, paid.stderr


@pytest.mark.timeout(240)  # many commands one after the other
async def test_a_comparison_says_what_differs(till: Till, office: Office) -> None:
    """Exit code 1 with the differences as files, and the payout waits; 0 when both sides agree."""
    await _trade(till)
    name = (await _freeze(till)).settlement_id
    header = "merchant_no,order_no,kind,amount\n"
    others = f"{SHOP},=1+1,冲正,-30.00\n{SHOP},o2,核销,30.00\n{SHOP},o2,退款,-15.00\n{OTHER_SHOP},o3,核销,30.00\n"
    file = office.directory / "bank.csv"
    file.write_text(header + others.replace("-15.00", "-15.01"))
    differing = office.run("settle", "compare", name, file, "--out", office.directory, "--json", by="li")
    assert differing.returncode == 1, differing.stderr
    seen = json.loads(differing.stdout)
    assert (seen["agreeing"], seen["only_ours"], seen["amount_differs"]) == (
        3,
        {"lines": 1, "fen": 3_000},
        {"lines": 1, "fen": -1},
    )
    rows = _read_workbook((office.directory / f"{name}-differences.xlsx").read_bytes())
    assert [(row["订单号"], row["差异"]) for row in rows] == [("=1+1", "仅我方有"), ("o2", "金额不同")]
    held = office.run("settle", "approve", name, "--reason", "checked", by="wang")
    assert (held.returncode, "--accept-differences" in held.stderr) == (1, True)
    file.write_text(header + others + f"{SHOP},=1+1,核销,30.00\n")
    agreeing = office.run("settle", "compare", name, file, "--out", office.directory, by="li")
    assert agreeing.returncode == 0, agreeing.stdout + agreeing.stderr


def test_a_period_ends_with_a_day_in_china_or_at_an_instant() -> None:
    """The day is wholly within; what is no end of a period is told."""
    assert instants.from_datetime(end_of("2024-02-03")) == "2024-02-04T00:00:00+08:00"
    assert end_of("2024-02-03T16:00:00Z") == end_of("2024-02-03")
    for text in ("2024-02-30", "tomorrow", "2024-02-03T16:00:00", "9999-12-31", "today.....'"):
        with pytest.raises(ValueError, match=r"is neither|has no offset"):
            end_of(text)


async def test_a_period_that_is_not_over_is_refused(till: Till, office: Office) -> None:
    """Nothing is frozen."""
    campaign_id = till.books.campaign.campaign_id
    refused = office.run("settle", "--campaign", campaign_id, "--until", "2199-01-01", by="li")
    assert (refused.returncode, "is not over yet" in refused.stderr) == (1, True)
    assert await settlement.settlements(till.vault) == []
