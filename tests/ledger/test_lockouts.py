"""Guessing voucher codes: counted in the vault whichever process is asked, locked after too many, let go by staff."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from ledger import admin
from ledger.lockouts import lockouts, unlock
from ledger.redeem import redeem_together
from ledger.requests import Answer
from tests.ledger.test_review_command import Reviewers
from tests.support.copied_rows import refusal_of_a_copy
from tests.support.till import CALLER, OTHER_SHOP, SHOP, Till, new_number

CODES_MAX = 3


async def _guess(till: Till, count: int = 1, *, at: datetime | None = None) -> list[str | None]:
    """Show unknown codes in one batch; return why each is refused."""
    orders = [till.order(code_hash=number.to_bytes(32)) for number in range(count)]
    asked = [(order.request(CALLER, new_number()), order) for order in orders]
    outcomes = await redeem_together(till.vault, asked, at=at, unknown_codes_max=CODES_MAX)
    return [outcome.refusal for outcome in outcomes if isinstance(outcome, Answer)]


async def test_too_many_unknown_codes_lock_a_caller_at_a_merchant_in_every_process(
    more_tills: list[Till],
) -> None:
    """Two connections count together; a good code is refused then too, elsewhere not, and repeats are answered."""
    one, other = more_tills[:2]
    order = one.order()
    used = await one.redeem(order, "known")
    assert await _guess(one, 2) == ["RESOURCE_NOT_EXISTS"] * 2
    assert await _guess(other) == ["RESOURCE_NOT_EXISTS"]
    assert await _guess(one, 2) == ["TILL_LOCKED"] * 2
    again = await other.redeem(order, "known")
    assert (again.body, again.is_replay) == (used.body, True)
    good = one.order(2)
    assert (await one.redeem(good, "good")).refusal == "TILL_LOCKED"
    assert (await one.redeem(one.order(3, merchant_no=OTHER_SHOP))).refusal is None
    [locked] = await lockouts(one.vault, 10)
    assert (locked.caller, locked.merchant_no, locked.counted) == (CALLER, SHOP, CODES_MAX)
    assert await unlock(one.vault, CALLER, SHOP, subject="li", reason="a broken scanner")
    assert not await unlock(one.vault, CALLER, SHOP, subject="li", reason="again")
    assert (await other.redeem(good, "good")).refusal is None
    [step] = await admin.journal(one.vault, 1)
    assert (step.action, step.target, step.reason) == ("unlock", f"{CALLER} {SHOP}", "a broken scanner")
    assert json.loads(step.before or "")["counted"] == CODES_MAX
    assert await _guess(one, 2) == ["RESOURCE_NOT_EXISTS"] * 2  # counted anew
    assert await one.violated() == []


async def test_what_is_a_day_old_is_forgotten(till: Till) -> None:
    """A till that misreads a code now and then is never locked."""
    began = datetime.now(UTC) - timedelta(days=3)
    for days in range(3):
        assert await _guess(till, 2, at=began + timedelta(days=days)) == ["RESOURCE_NOT_EXISTS"] * 2
    assert await lockouts(till.vault, 10) == []
    assert await _guess(till, 1, at=began + timedelta(days=2, hours=23)) == ["RESOURCE_NOT_EXISTS"]
    assert len(await lockouts(till.vault, 10)) == 1


@pytest.mark.parametrize("mode", ["origin", "replica"])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE unknown_codes SET locked_at = NULL",
        "UPDATE unknown_codes SET locked_at = NULL, unlock_deed_no = (SELECT max(deed_no) FROM admin_deeds)",
        "UPDATE unknown_codes SET merchant_no = 'another'",
        "DELETE FROM unknown_codes",
        "TRUNCATE unknown_codes",
    ],
)
async def test_a_lock_is_lifted_with_a_deed_alone(till: Till, mode: str, change: str) -> None:
    """Neither silently, nor with the deed of another time, nor by forgetting the count."""
    await _guess(till, CODES_MAX)
    await unlock(till.vault, CALLER, SHOP, subject="li", reason="a broken scanner")
    await _guess(till, CODES_MAX)
    await till.vault.execute(f"SET session_replication_role = {mode}")
    with pytest.raises(asyncpg.RestrictViolationError):
        await till.vault.execute(change)


async def test_each_forged_count_is_refused_by_its_guard(till: Till) -> None:
    """A second count of a pair, one below nothing, and a deed that is not there."""
    await _guess(till)
    forged = {
        "one_count_per_caller_and_merchant": {},
        "count_is_not_negative": {"caller": "'x'", "counted": "-1"},
        "unlock_deed_is_there": {"caller": "'x'", "unlock_deed_no": "-1"},
    }
    found = {name: await refusal_of_a_copy(till.vault, "unknown_codes", "true", each) for name, each in forged.items()}
    assert found == {name: name for name in forged}


async def test_staff_see_who_is_locked_and_let_him_go_on(till: Till, tmp_path: Path) -> None:
    """One person is enough, where two must agree too; who it was is told by his token, and why by himself."""
    office = Reviewers(tmp_path, till.books.database_url)
    assert office.run("migrate", "--two-persons").returncode == 0
    await _guess(till, CODES_MAX)
    [locked] = json.loads(office.run("review", "locks", "--json").stdout)
    assert (locked["caller"], locked["merchant_no"]) == (CALLER, SHOP)
    command = ["review", "unlock", CALLER, SHOP]
    nobody = office.run(*command, "--reason", "x")
    assert (nobody.returncode, "GRAB_STAFF_TOKEN" in nobody.stderr) == (1, True)
    done = office.run(*command, "--reason", "a broken scanner", by="li")
    assert done.returncode == 0, done.stderr
    again = office.run(*command, "--reason", "x", by="li")
    assert (again.returncode, "is not locked" in again.stderr) == (1, True)
    [step] = await admin.journal(till.vault, 1)
    assert (step.action, step.subject) == ("unlock", "li")
