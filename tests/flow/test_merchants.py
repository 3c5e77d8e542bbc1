"""``grab merchants`` as an operator runs it: import of a bank's list, decisions, what is shown."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from grab_service.merchant_import import Wish, import_rows
from grab_service.merchant_list import read_list
from ledger import merchants
from tests.support.lists import COLUMNS, csv_of, row, workbook_of
from tests.support.merchants import approve, load_rules, new_merchant, number
from tests.support.rehearsals import clean_environment, grab
from tests.support.wait import wait_until


@pytest.fixture
async def office(vault: asyncpg.Connection, database_url: str, campaign_id: str, tmp_path: Path) -> Path:
    """The data directory of a rehearsal whose vault has a campaign."""
    await load_rules(vault, campaign_id)
    directory = tmp_path / "rehearsal"
    directory.mkdir()
    (directory / "settings.toml").write_text(f'database_url = "{database_url}"\n')
    return directory


def run(office: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``grab merchants``."""
    return grab("merchants", *arguments, "--data-dir", office)


def report(office: Path, content: bytes, *options: str) -> tuple[int, dict[str, Any]]:
    """Import a list; return the exit code and what was reported."""
    file = office.parent / "list"
    file.write_bytes(content)
    done = run(office, "import", file, "--json", *options)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


async def states(vault: asyncpg.Connection) -> dict[str, int]:
    """Return how many merchants are in each state."""
    return {
        row["state"]: row["n"] for row in await vault.fetch("SELECT state, count(*) AS n FROM merchants GROUP BY 1")
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
async def test_a_list_is_imported(vault: asyncpg.Connection, office: Path, encoding: str) -> None:
    """Every row becomes a submitted merchant, with the importer in its journal."""
    content = csv_of(row(1), row(2, name="㐀火锅", category="火锅", accepts="scan|payment_code")).encode(encoding)
    code, told = report(office, content, "--actor", "bank-of-qijiang")
    assert (code, told) == (0, {"ok": True, "rows": 2, "imported": 2, "approved": 0, "faults": []})
    second = await merchants.find(vault, number(2))
    assert second is not None
    assert (second.name, second.accepts) == ("㐀火锅", ("payment_code", "scan"))
    [first] = await merchants.journal(vault, number(2))
    assert (first.actor, first.reason) == ("bank-of-qijiang", "imported from list")


async def test_a_workbook_is_imported_and_approved_in_a_rehearsal(vault: asyncpg.Connection, office: Path) -> None:
    """``--approve`` decides on what was imported, with the reason given, in the same transaction."""
    cells = [int(number(1)), *row(1)[1:]]
    code, told = report(office, workbook_of([COLUMNS, cells]), "--approve", "--reason", "rehearsal")
    assert (code, told["approved"]) == (0, 1)
    assert [each.reason for each in await merchants.journal(vault, number(1))] == ["rehearsal", "rehearsal"]
    assert await states(vault) == {"APPROVED": 1}


BAD = csv_of(
    row(1),
    row(2, merchant_no="12345"),
    row(3, name='"=HYPERLINK(""http://x"",""y"")"'),
    row(4, town="万盛街道", category="烟酒"),
    row(5, accepts="cash"),
    row(6)[:2],
    row(1, name="另一家"),
    row(7),
    [*row(8), "surplus"],
    row(9),
)
BAD_CELLS = [
    (3, "merchant_no"),
    (4, "name"),
    (5, "town"),
    (5, "category"),
    (6, "accepts"),
    *((7, column) for column in COLUMNS[2:]),
    (8, "merchant_no"),
    (9, "merchant_no"),
    (10, "row"),
]


async def test_every_bad_row_is_reported_and_nothing_stored(vault: asyncpg.Connection, office: Path) -> None:
    """Line, column and reason of all that is wrong, duplicates within the list and with the vault too."""
    await approve(vault, new_merchant(7))
    code, told = report(office, BAD.encode())
    assert (code, told["ok"], told["rows"], told["imported"]) == (1, False, 10, 0)
    assert [(fault["line"], fault["column"]) for fault in told["faults"]] == BAD_CELLS
    reasons = {fault["line"]: fault["reason"] for fault in told["faults"]}
    assert "formula" in reasons[4]
    assert reasons[8] == "stands in line 2 already"
    assert reasons[9] == "is registered already"
    assert await states(vault) == {"APPROVED": 1}


async def test_good_rows_are_stored_when_that_is_wished(vault: asyncpg.Connection, office: Path) -> None:
    """``--partial`` stores rows 1 and 9 and reports the others; the sentence for people says the same."""
    await approve(vault, new_merchant(7))
    (office.parent / "bank.csv").write_bytes(BAD.encode())
    done = run(office, "import", office.parent / "bank.csv", "--partial")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "line 3, merchant_no: must be 15 digits, not '12345'"
    assert lines[-1] == "2 merchants of 10 rows imported; 8 rows are bad"
    assert await states(vault) == {"APPROVED": 1, "SUBMITTED": 2}


async def test_a_list_that_was_imported_is_not_imported_again(vault: asyncpg.Connection, office: Path) -> None:
    """A second run says of each row that it is there, and changes nothing."""
    content = csv_of(row(1), row(2)).encode()
    assert report(office, content)[0] == 0
    code, told = report(office, content)
    assert (code, [fault["reason"] for fault in told["faults"]]) == (1, ["is registered already"] * 2)
    assert await states(vault) == {"SUBMITTED": 2}


async def test_what_cannot_be_approved_is_a_bad_row_of_an_approving_import(
    vault: asyncpg.Connection, office: Path
) -> None:
    """A merchant that only shows its own code may be submitted, but not approved."""
    content = csv_of(row(1), row(2, accepts="scan")).encode()
    code, told = report(office, content, "--approve", "--reason", "rehearsal")
    assert (code, [(fault["line"], fault["column"]) for fault in told["faults"]]) == (1, [(3, "accepts")])
    assert await states(vault) == {}
    assert report(office, content)[0] == 0


@pytest.mark.parametrize("is_partial", [False, True])
async def test_a_number_that_is_taken_while_the_import_runs_is_told(
    vault: asyncpg.Connection, database_url: str, office: Path, is_partial: bool
) -> None:
    """Somebody registers online in that moment: the row is bad, and all or nothing still holds."""
    other = await asyncpg.connect(database_url)
    online = other.transaction()
    await online.start()
    await merchants.submit(other, [new_merchant(1)], actor="owner", reason="registered online")
    (office.parent / "list").write_text(csv_of(row(1), row(2)))
    wish = Wish(actor="bank", reason="list", is_partial=is_partial, approves=True)
    importing = asyncio.create_task(import_rows(vault, read_list(office.parent / "list"), wish))

    async def is_waiting() -> bool:
        return bool(await other.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))

    await wait_until(is_waiting, "the import waits for the other's number")
    await online.commit()
    outcome = await importing
    assert [(fault.line, fault.reason) for fault in outcome.faults] == [(2, "was registered meanwhile")]
    assert outcome.imported == outcome.approved == int(is_partial)
    assert await states(vault) == {"SUBMITTED": 1} | ({"APPROVED": 1} if is_partial else {})
    await other.close()


async def test_a_terminal_shows_how_far_it_is(office: Path) -> None:
    """A bar on standard error; standard output has the result alone."""
    file = office.parent / "list.csv"
    file.write_text(csv_of(row(1)))
    reading, terminal = os.openpty()
    argv = [sys.executable, "-m", "grab_service", "merchants", "import", str(file), "--json", "--data-dir", str(office)]
    env = clean_environment(TERM="xterm")
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=terminal, timeout=50, check=True)  # noqa: ASYNC221  nothing else runs in this test
    os.close(terminal)
    assert json.loads(done.stdout)["imported"] == 1
    shown = os.read(reading, 65_536).decode()
    os.close(reading)
    assert "checking" in shown
    assert "100%" in shown


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
async def test_five_thousand_rows_take_seconds(vault: asyncpg.Connection, office: Path, kind: str) -> None:
    """A bank's whole list, approved in the same run."""
    rows = [row(n) for n in range(5000)]
    content = csv_of(*rows).encode() if kind == "csv" else workbook_of([COLUMNS, *rows])
    begun = time.monotonic()
    code, told = report(office, content, "--approve", "--reason", "rehearsal")
    assert (code, told["approved"]) == (0, 5000)
    assert time.monotonic() - begun < 20
    assert await states(vault) == {"APPROVED": 5000}


async def test_only_a_rehearsal_approves_by_itself(
    vault: asyncpg.Connection, database_url: str, office: Path, tmp_path: Path
) -> None:
    """Where the settings name a real vault, the Commission decides."""
    file = tmp_path / "list.csv"
    file.write_text(csv_of(row(1)))
    options = ("merchants", "import", file, "--approve", "--reason", "x")
    done = grab(*options, GRAB_DATABASE_URL=database_url)
    assert (done.returncode, "for a rehearsal" in done.stderr) == (1, True)
    assert run(office, "import", file, "--approve").returncode == 2
    assert await states(vault) == {}


async def test_an_officer_decides_and_sees_the_journal(vault: asyncpg.Connection, office: Path) -> None:
    """Approve, suspend, resume; a decision that is not allowed changes nothing and says why."""
    await merchants.submit(vault, [new_merchant(n) for n in (1, 2)], actor="bank", reason="list")
    told = ("--reason", "in order", "--actor", "officer")
    assert run(office, "approve", number(1), number(2), *told).stdout == "2 now APPROVED\n"
    assert run(office, "suspend", number(1), *told).returncode == 0
    refused = run(office, "suspend", number(1), number(2), *told)
    assert refused.returncode == 1
    assert refused.stderr == f"grab: merchant {number(1)} is SUSPENDED, not APPROVED\ngrab: nothing was changed\n"
    assert run(office, "resume", number(1), *told).returncode == 0
    assert run(office, "reject", number(1), *told).returncode == 1
    assert run(office, "approve", number(1), "--actor", "officer").returncode == 2
    assert run(office, "suspend", number(1), "--reason", " ").returncode == 2
    shown = json.loads(run(office, "show", number(1), "--json").stdout)
    assert (shown["state"], shown["photo"]) == ("APPROVED", None)
    assert [(each["to_state"], each["actor"]) for each in shown["decisions"]] == [
        ("SUBMITTED", "bank"),
        ("APPROVED", "officer"),
        ("SUSPENDED", "officer"),
        ("APPROVED", "officer"),
    ]
    assert "SUSPENDED" in run(office, "show", number(1)).stdout
    assert run(office, "show", "1").returncode == 1


async def test_merchants_are_listed_in_every_state(vault: asyncpg.Connection, office: Path) -> None:
    """By state and text, page by page."""
    await approve(vault, new_merchant(1), new_merchant(2))
    await merchants.submit(vault, [new_merchant(3)], actor="bank", reason="list")
    page = json.loads(run(office, "list", "--state", "APPROVED", "--limit", "1", "--json").stdout)
    assert [each["merchant_no"] for each in page["data"]] == [number(1)]
    assert page["next_cursor"] == number(1)
    shown = run(office, "list", "--q", "第3").stdout
    assert number(3) in shown
    assert number(1) not in shown
    assert f"more: --cursor {number(2)}" in run(office, "list", "--limit", "2").stdout


async def test_a_list_without_a_campaign_is_refused(
    vault: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    """Towns and categories come from the campaign; a file that is none is refused as well."""
    file = tmp_path / "list.csv"
    file.write_text(csv_of(row(1)))
    done = grab("merchants", "import", file, GRAB_DATABASE_URL=database_url)
    assert (done.returncode, "no campaign is stored" in done.stderr) == (1, True)
    file.write_text("hello\n")
    assert "lacks merchant_no" in grab("merchants", "import", file, GRAB_DATABASE_URL=database_url).stderr
    missing = grab("merchants", "import", tmp_path / "none.csv", GRAB_DATABASE_URL=database_url)
    assert (missing.returncode, "No such file" in missing.stderr) == (2, True)
    assert await states(vault) == {}
