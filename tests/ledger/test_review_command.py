"""Reviews on the command line: two persons hold a voucher, and everybody can read who did."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path

from ledger import signals
from ledger.signals import Thresholds
from tests.flow.test_two_persons import Office
from tests.support.till import Till


class Reviewers(Office):
    """Staff that may review."""

    def token(self, name: str, scope: str = "admin:review") -> Path:
        """Return the file with a token of somebody who reviews."""
        return super().token(name, scope)


async def test_two_persons_hold_a_voucher(till: Till, tmp_path: Path) -> None:
    """Alone nobody holds one; the refusal says what to ask for, and the report says who agreed."""
    office = Reviewers(tmp_path, till.books.database_url)
    voucher = f"{till.books.stock.stock_id}:1"
    alone = office.run("review", "hold", voucher, by="li")
    assert alone.returncode == 1
    assert f"grab admin request hold {voucher}" in alone.stderr
    number = office.agreed("hold", voucher)
    other = office.run("review", "hold", f"{till.books.stock.stock_id}:2", "--request", number, by="li")
    assert "says something else" in other.stderr
    done = office.run("review", "hold", voucher, "--request", number, by="li")
    assert done.returncode == 0, done.stderr
    assert (await till.redeem()).refusal == "VOUCHER_VOID"
    [held] = json.loads(office.run("review", "report", "--json").stdout)
    assert (held["requested_by"], held["approved_by"], held["reason"]) == ("li", "wang", "needed")
    assert held["ended_by"] is None


async def test_a_rehearsal_needs_no_second_person(till: Till, tmp_path: Path) -> None:
    """One command holds, one voids; the signals and the holds can be read as CSV."""
    office = Office(tmp_path, till.books.database_url)
    alone = office.settings.model_copy(update={"two_persons": False})
    (tmp_path / "settings.toml").write_text(alone.toml())
    await till.redeemed(1)
    await signals.notice(till.vault, Thresholds(address_users_max=1, burst_vouchers_max=1), back=timedelta(hours=1))
    voucher = f"{till.books.stock.stock_id}:2"
    assert office.run("review", "hold", voucher).returncode == 0
    again = office.run("review", "hold", voucher, "--json")
    assert (again.returncode, json.loads(again.stdout)) == (1, {"done": [], "left": [voucher]})
    assert office.run("review", "void", voucher).returncode == 0
    report = office.run("review", "report", "--csv").stdout
    [row] = csv.DictReader(io.StringIO(report))
    assert (row["claim_no"], row["ended_by"]) == ("2", "VOID")
    assert await till.violated() == []
