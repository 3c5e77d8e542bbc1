"""The vault's guards over merchants: state and journal cannot part, and neither can be rewritten."""

from __future__ import annotations

import asyncpg
import pytest

NUMBER = "898500000000001"
FACTS = {
    "merchant_no": f"'{NUMBER}'",
    "name": "'古南超市'",
    "address": "'古南街道1号'",
    "town": "'古南街道'",
    "category": "'超市'",
    "accepts": "'{payment_code}'",
    "submitted_by": "'bank'",
}


def merchant(**changes: str) -> str:
    """Return the statement that inserts a merchant."""
    facts = FACTS | changes
    return f"INSERT INTO merchants ({', '.join(facts)}) VALUES ({', '.join(facts.values())})"  # noqa: S608  constants of this file


def decision(number: int, start: str | None, end: str) -> str:
    """Return the statement that inserts a decision."""
    begin = "NULL" if start is None else f"'{start}'"
    columns = "merchant_no, decision_no, from_state, to_state, actor, reason"
    values = f"'{NUMBER}', {number}, {begin}, '{end}', 'officer', 'because'"
    return f"INSERT INTO merchant_decisions ({columns}) VALUES ({values})"  # noqa: S608  constants of this file


async def submit(vault: asyncpg.Connection, *decisions: tuple[str, str]) -> None:
    """Store the merchant with its submission and these decisions."""
    async with vault.transaction():
        await vault.execute(merchant())
        await vault.execute(decision(1, None, "SUBMITTED"))
        for number, (start, end) in enumerate(decisions, start=2):
            await vault.execute(decision(number, start, end))


async def state(vault: asyncpg.Connection) -> str:
    """Return the merchant's state."""
    return str(await vault.fetchval("SELECT state FROM merchants"))


async def test_the_state_follows_the_decisions(vault: asyncpg.Connection) -> None:
    """Every allowed transition takes effect by being written into the journal."""
    await submit(vault)
    for number, (start, end) in enumerate(
        [("SUBMITTED", "APPROVED"), ("APPROVED", "SUSPENDED"), ("SUSPENDED", "APPROVED")], start=2
    ):
        await vault.execute(decision(number, start, end))
        assert await state(vault) == end


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"merchant_no": "'89850000000001'"}, "merchant_no_has_15_digits"),
        ({"merchant_no": "'89850000000000１'"}, "merchant_no_has_15_digits"),
        ({"merchant_no": f"E'{NUMBER}\\n'"}, "merchant_no_has_15_digits"),
        ({"name": "''"}, "facts_are_bounded"),
        ({"name": "repeat('长', 101)"}, "facts_are_bounded"),
        ({"name": "'=1+1'"}, "facts_are_no_formulas"),
        ({"name": "' =1+1'"}, "facts_are_no_formulas"),
        ({"name": "'＝1+1'"}, "facts_are_no_formulas"),
        ({"address": "'@SUM(A1)'"}, "facts_are_no_formulas"),
        ({"address": "E'1号\\n2楼'"}, "facts_are_printable"),
        ({"accepts": "'{}'"}, "accepts_known_ways_once"),
        ({"accepts": "'{cash}'"}, "accepts_known_ways_once"),
        ({"accepts": "'{scan,scan}'"}, "accepts_known_ways_once"),
        ({"photo_type": "'image/png'"}, "photo_is_whole_or_absent"),
        ({"photo_type": "'image/png'", "photo_sha256": "'\\x00'"}, "photo_sha256_is_sha256"),
        ({"photo_type": "'image/gif'", "photo_sha256": "sha256('')"}, "photo_type_is_known"),
    ],
)
async def test_facts_that_are_wrong_are_refused(
    vault: asyncpg.Connection, changes: dict[str, str], constraint: str
) -> None:
    """Checks hold whatever the code before them does."""
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await vault.execute(merchant(**changes))
    assert refused.value.constraint_name == constraint


async def test_a_merchant_without_its_submission_is_not_stored(vault: asyncpg.Connection) -> None:
    """A state that no decision tells of does not survive the commit."""
    with pytest.raises(asyncpg.ForeignKeyViolationError) as refused:
        await vault.execute(merchant())
    assert refused.value.constraint_name == "state_comes_from_a_decision"


async def test_a_merchant_begins_as_submitted(vault: asyncpg.Connection) -> None:
    """Nobody is approved by being inserted."""
    with pytest.raises(asyncpg.RestrictViolationError, match="begins as SUBMITTED"):
        await vault.execute(merchant(state="'APPROVED'"))


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (decision(2, "SUBMITTED", "SUSPENDED"), "transition_is_allowed"),
        (decision(2, "SUBMITTED", "SUBMITTED"), "transition_is_allowed"),
        (decision(2, "REJECTED", "APPROVED"), "transition_is_allowed"),
        (decision(2, "SUSPENDED", "APPROVED"), "decision_starts_where_the_last_ended"),
        (decision(3, "SUBMITTED", "APPROVED"), "decision_starts_where_the_last_ended"),
        (decision(2, None, "SUBMITTED"), "submission_comes_first"),
        (decision(0, None, "SUBMITTED"), "submission_comes_first"),
        (decision(1, None, "SUBMITTED"), "merchant_decisions_pkey"),
        (decision(2, "SUBMITTED", "APPROVED").replace("'because'", "''"), "decision_has_a_reason"),
        (decision(2, "SUBMITTED", "APPROVED").replace("'officer'", "''"), "decision_names_its_actor"),
        (decision(2, "SUBMITTED", "APPROVED").replace(NUMBER, "1" * 15), "merchant_decisions_merchant_no_fkey"),
    ],
)
async def test_a_decision_that_is_not_allowed_is_refused(
    vault: asyncpg.Connection, statement: str, constraint: str
) -> None:
    """The journal is a chain of allowed transitions, each with actor and reason."""
    await submit(vault)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await vault.execute(statement)
    assert refused.value.constraint_name == constraint
    assert await state(vault) == "SUBMITTED"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE merchants SET state = 'SUSPENDED'",
        "UPDATE merchants SET state = 'SUBMITTED', decision_no = 1",
        "UPDATE merchants SET name = 'another'",
        "UPDATE merchants SET name = 'another', state = 'SUSPENDED', decision_no = 3",
        "DELETE FROM merchants",
        "TRUNCATE merchants CASCADE",
        "UPDATE merchant_decisions SET reason = 'another'",
        "DELETE FROM merchant_decisions",
        "TRUNCATE merchant_decisions CASCADE",
    ],
)
@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_nothing_that_is_stored_is_rewritten(vault: asyncpg.Connection, change: str, role: str) -> None:
    """Not even a superuser who poses as a replica changes facts, state or journal."""
    await submit(vault, ("SUBMITTED", "APPROVED"))
    async with vault.transaction():
        await vault.execute(f"SET LOCAL session_replication_role = {role}")
        with pytest.raises(asyncpg.RestrictViolationError):
            async with vault.transaction():
                await vault.execute(change)
    assert await state(vault) == "APPROVED"


async def test_a_forged_step_forward_does_not_survive_the_commit(vault: asyncpg.Connection) -> None:
    """The next number without its decision breaks the key."""
    await submit(vault, ("SUBMITTED", "APPROVED"))
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await vault.execute("UPDATE merchants SET state = 'SUSPENDED', decision_no = 3")
    assert await state(vault) == "APPROVED"
