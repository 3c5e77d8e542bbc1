"""Deeds of staff: under the vault's policy nothing grave is taken without two persons, whoever speaks to the vault."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import asyncpg
import pytest

from ledger import admin, catalogue, clients, money, pauses
from ledger.admin import Action, Deed
from ledger.money import Receipt
from ledger.pauses import PauseRefused
from ledger.statements import statement
from tests.support.agreement import agreed, deed_of
from tests.support.books import Books
from tests.support.copied_rows import refusal_of_a_copy
from tests.support.new_campaigns import new_campaign
from tests.support.signing import ed25519_key
from tests.support.wait import wait_until

DAY = date(2023, 11, 1)
_, KEY = ed25519_key()
assert KEY.public_key is not None
TOLD = f"sha256:{hashlib.sha256(KEY.public_key).hexdigest()}"
WHY: Mapping[str, Any] = {"subject": "li", "reason": "needed"}

Taking = Callable[[asyncpg.Connection, int | None], Awaitable[object]]


async def _take_campaign(vault: asyncpg.Connection, deed_no: int | None) -> object:
    return await catalogue.load_campaign(vault, replace(new_campaign("new"), file_sha256="ab", deed_no=deed_no))


async def _take_money(vault: asyncpg.Connection, deed_no: int | None) -> object:
    receipt = Receipt(
        campaign_id="old", amount_fen=5, reference="t-1", received_on=DAY, recorded_by="li", deed_no=deed_no
    )
    return await money.receive_fund(vault, receipt)


async def _take_client(vault: asyncpg.Connection, deed_no: int | None) -> object:
    facts: dict[str, Any] = {"name": "银行", "scopes": ["merchant:redeem"], "merchants": ["*"]}
    return await clients.add(vault, "bank-1", **facts, key=KEY, actor="li", deed_no=deed_no)


async def _take_key(vault: asyncpg.Connection, deed_no: int | None) -> object:
    return await clients.rotate(vault, "bank-0", key=KEY, overlap=timedelta(), actor="li", deed_no=deed_no)


# What is taken, what two persons must have agreed on, and the trigger that asks for it.
TAKEN: Mapping[str, tuple[Taking, Action, str, str]] = {
    "campaigns": (_take_campaign, Action.OPEN, "new sha256:ab", "campaign_was_agreed"),
    "fund_receipts": (_take_money, Action.FUND, "old 5 t-1 2023-11-01", "receipt_was_agreed"),
    "clients": (_take_client, Action.CLIENTS, f"add bank-1 for merchant:redeem at * with {TOLD}", "key_was_agreed"),
    "client_keys": (_take_key, Action.CLIENTS, f"rotate bank-0 to {TOLD}", "key_was_agreed"),
}


@pytest.fixture
async def strict(vault: asyncpg.Connection) -> asyncpg.Connection:
    """A vault with a campaign and a client, in which two persons must agree from now on."""
    await catalogue.load_campaign(vault, new_campaign("old"))
    facts: dict[str, Any] = {"name": "银行", "scopes": ["merchant:redeem"], "merchants": []}
    await clients.add(vault, "bank-0", **facts, key=ed25519_key()[1], actor="li")
    assert await admin.let_two_agree(vault, subject="li")
    return vault


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize("what", TAKEN)
async def test_nothing_grave_is_taken_alone(strict: asyncpg.Connection, what: str, role: str) -> None:
    """Neither without a deed, nor with one of another target or action, nor with one of an earlier transaction."""
    await strict.execute(f"SET session_replication_role = {role}")
    take, action, target, guard = TAKEN[what]
    other = Action.RECOVER if action is not Action.RECOVER else Action.FUND
    earlier = await deed_of(strict, action, target)
    for wrong in (None, (action, f"{target}0"), (other, target), earlier):
        with pytest.raises(asyncpg.RestrictViolationError) as refused:
            async with strict.transaction(isolation="read_committed"):
                await take(strict, await deed_of(strict, *wrong) if isinstance(wrong, tuple) else wrong)
        assert refused.value.constraint_name == guard
    async with strict.transaction(isolation="read_committed"):
        assert await take(strict, await deed_of(strict, action, target))


async def test_alone_nobody_writes_a_deed_for_two(strict: asyncpg.Connection) -> None:
    """A deed is what was agreed on, by whoever has begun it, once."""
    number = await agreed(strict, Action.RECOVER, "gate")
    assert await admin.begin(strict, number, Action.RECOVER, "gate", subject="li")
    good = Deed(action="recover", target="gate", subject="li", reason="needed", request_no=number)
    forged = {
        "deed_is_as_agreed": [
            replace(good, request_no=None),
            replace(good, target="gate --from-gate"),
            replace(good, action="pause"),
        ],
        "deed_is_of_its_act": [replace(good, subject="zhao")],
        "deed_is_stated": [replace(good, reason=""), replace(good, request_no=None, action="pause", target="")],
    }
    for guard, deeds in forged.items():
        for deed in deeds:
            with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
                await admin.write_down(strict, deed)
            assert refused.value.constraint_name == guard
    await admin.write_down(strict, good, before={"epoch": 1})
    with pytest.raises(asyncpg.UniqueViolationError, match="one_deed_per_act"):
        await admin.write_down(strict, good)
    [done, *_] = await admin.journal(strict, 10)
    assert (done.step, done.subject, done.reason, done.request_no) == ("DONE", "li", "needed", number)
    assert json.loads(str(done.before)) == {"epoch": 1}


async def test_also_a_replica_writes_no_deed_alone(strict: asyncpg.Connection) -> None:
    """Who poses as a replica is asked the same."""
    await strict.execute("SET session_replication_role = replica")
    with pytest.raises(asyncpg.RestrictViolationError):
        await admin.write_down(strict, Deed(action="fund", target="old 1 t 2023-11-01", subject="li", reason="x"))


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_policy_and_deeds_are_for_good(strict: asyncpg.Connection, role: str) -> None:
    """The policy is set once and never lowered, and no deed is written anew, also by one who poses as a replica."""
    await strict.execute(f"SET session_replication_role = {role}")
    assert not await admin.let_two_agree(strict, subject="li")
    for table in ("vault_policy", "admin_deeds"):
        for change in ("DELETE FROM {}", "TRUNCATE {} CASCADE"):
            with pytest.raises(asyncpg.RestrictViolationError):
                await strict.execute(change.format(table))
    with pytest.raises(asyncpg.RestrictViolationError):
        await strict.execute("UPDATE vault_policy SET two_persons = false")
    with pytest.raises(asyncpg.RestrictViolationError):
        await strict.execute("UPDATE admin_deeds SET reason = 'another'")
    assert (
        await refusal_of_a_copy(strict, "vault_policy", "true", {"two_persons": "false"}) == "policy_is_never_lowered"
    )
    assert await refusal_of_a_copy(strict, "vault_policy", "true", {}) == "vault_policy_pkey"


async def test_a_deed_stands_for_one_thing(vault: asyncpg.Connection) -> None:
    """No two campaigns, receipts or keys have one deed, and none has one that is not there."""
    await catalogue.load_campaign(vault, new_campaign("old"))
    facts: dict[str, Any] = {"name": "银行", "scopes": ["merchant:redeem"], "merchants": []}
    await clients.add(vault, "bank-0", **facts, key=ed25519_key()[1], actor="li")
    await admin.let_two_agree(vault, subject="li")
    for take, action, target, _ in (TAKEN[what] for what in ("campaigns", "fund_receipts", "clients")):
        async with vault.transaction(isolation="read_committed"):
            await take(vault, await deed_of(vault, action, target))
    await vault.execute("SET session_replication_role = replica")
    await vault.execute("ALTER TABLE vault_policy DISABLE TRIGGER ALL")
    await vault.execute("DELETE FROM vault_policy")
    await vault.execute("SET session_replication_role = origin")
    other_key = {"key_id": "'bank-0.9'", "key_no": "9", "public_key": "sha256('other')"}
    copies = {
        "campaigns": ({"campaign_id": "'third'"}, "campaign"),
        "fund_receipts": ({"reference": "'t-2'", "event_no": "event_no + 100"}, "receipt"),
        "client_keys": (other_key | {"client_id": "'bank-0'"}, "key"),
    }
    for table, (changes, name) in copies.items():
        with_deed = "deed_no IS NOT NULL"
        assert await refusal_of_a_copy(vault, table, with_deed, changes) == f"{name}_has_its_deed"
        nowhere = changes | {"deed_no": "-1"}
        assert await refusal_of_a_copy(vault, table, with_deed, nowhere) == f"{name}_deed_is_there"
    assert await refusal_of_a_copy(vault, "admin_deeds", "true", {"deed_no": "deed_no"}) in {
        "admin_deeds_pkey",
        "one_deed_per_act",
    }
    assert await refusal_of_a_copy(vault, "admin_deeds", "request_no IS NULL", {"deed_no": "deed_no"}) == (
        "admin_deeds_pkey"
    )


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_a_settlement_is_the_one_that_was_asked_for(strict: asyncpg.Connection, role: str) -> None:
    """Its request is one to settle this very period of this campaign."""
    await strict.execute(f"SET session_replication_role = {role}")
    insert = (
        "INSERT INTO settlements (campaign_no, nth, until, frozen_at, request_no, heads)"
        " SELECT campaign_no, 1, '2023-12-01', now(), $1, '[]' FROM campaigns"
    )
    for action, target in ((Action.FUND, "old-s1 until x"), (Action.SETTLE, "old-s2 until x")):
        number = await admin.request(strict, action, target, reason="needed", subject="li")
        with pytest.raises(asyncpg.RestrictViolationError) as refused:
            await strict.execute(insert, number)
        assert refused.value.constraint_name == "settlement_was_asked_for"
    number = await admin.request(strict, Action.SETTLE, "old-s1 until x", reason="needed", subject="li")
    await strict.execute(insert, number)


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_a_round_gets_a_new_epoch_from_two_persons(strict: asyncpg.Connection, role: str) -> None:
    """With a recovery's deed, of the last hour, and once with each; that of something else raises nothing."""
    await strict.execute(f"SET session_replication_role = {role}")
    number = await agreed(strict, Action.RECOVER, "gate")
    assert await admin.begin(strict, number, Action.RECOVER, "gate", subject="li")
    old = await strict.fetchval(
        "INSERT INTO admin_deeds (action, target, subject, reason, request_no, at)"
        " VALUES ('recover', 'gate', 'li', 'x', $1, now() - interval '61 min') RETURNING deed_no",
        number,
    )
    [round_no] = [row.round_no for row in await catalogue.stock_rows(strict)]
    raise_ = statement("raise_epoch")
    good = await deed_of(strict, Action.RECOVER, "gate --from-gate")
    wrong = [None, old, await deed_of(strict, Action.FUND, "gate"), await deed_of(strict, Action.RECOVER, "another")]
    for deed_no in wrong:
        with pytest.raises(asyncpg.RestrictViolationError) as refused:
            await strict.fetchval(raise_, round_no, 0, 1, "run", deed_no)
        assert refused.value.constraint_name == "recovery_was_agreed"
    assert await strict.fetchval(raise_, round_no, 0, 1, "run", good) == 1
    for deed_no in (None, good):
        with pytest.raises(asyncpg.RestrictViolationError):
            await strict.fetchval(raise_, round_no, 1, 2, "run", deed_no)
    assert await strict.fetchval(raise_, round_no, 1, 2, "run", await deed_of(strict, Action.RECOVER, "gate")) == 2


async def _stock_id(vault: asyncpg.Connection) -> str:
    return str(await vault.fetchval("SELECT min(stock_id) FROM stocks"))


async def test_one_person_pauses_for_a_minute_once_an_hour(strict: asyncpg.Connection) -> None:
    """He may end it himself; to pause again, or to end what two have decided, another one is needed."""
    stock_id = await _stock_id(strict)
    alone = await pauses.decide(strict, stock_id, is_paused=True, **WHY)
    assert alone is not None
    assert alone.until is not None
    await pauses.decide(strict, stock_id, is_paused=False, **WHY)
    with pytest.raises(PauseRefused, match="within the last hour"):
        await pauses.decide(strict, stock_id, is_paused=True, **WHY)
    number = await agreed(strict, Action.PAUSE, stock_id)
    both = await pauses.decide(strict, stock_id, is_paused=True, request_no=number, **WHY)
    assert both == pauses.Pause(is_paused=True, until=None)
    with pytest.raises(PauseRefused, match="two must agree to resume"):
        await pauses.decide(strict, stock_id, is_paused=False, **WHY)
    with pytest.raises(PauseRefused, match="does not permit"):
        await pauses.decide(strict, stock_id, is_paused=False, request_no=number, **WHY)
    number = await agreed(strict, Action.RESUME, stock_id)
    await pauses.decide(strict, stock_id, is_paused=False, request_no=number, **WHY)
    assert await pauses.decide(strict, "nothing", is_paused=True, **WHY) is None
    told = [(step.action, step.request_no is None) for step in await admin.journal(strict, 50) if step.step == "DONE"]
    assert told == [("resume", False), ("pause", False), ("resume", True), ("pause", True), ("policy", True)]


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_a_pause_without_its_deed_is_refused(strict: asyncpg.Connection, role: str) -> None:
    """Whoever writes to the vault directly pauses nothing, for no longer than a minute, and under no other deed."""
    await strict.execute(f"SET session_replication_role = {role}")
    stock_id = await _stock_id(strict)
    lone = "INSERT INTO admin_deeds (action, target, subject, reason) VALUES ($1, $2, 'li', 'x') RETURNING deed_no"
    for action, target, until in (
        ("pause", stock_id, None),
        ("pause", stock_id, timedelta(seconds=61)),
        ("pause", "another", timedelta(seconds=60)),
        ("resume", stock_id, timedelta(seconds=60)),
    ):
        trial = strict.transaction()
        await trial.start()
        number = await strict.fetchval(lone, action, target)
        change = "UPDATE stocks SET paused = true, paused_until = now() + $2::interval, pause_deed_no = $1"
        with pytest.raises(asyncpg.RestrictViolationError) as refused:
            await strict.execute(change, number, until)
        assert refused.value.constraint_name == "pause_was_agreed"
        await trial.rollback()
    with pytest.raises(asyncpg.RestrictViolationError):
        await strict.execute("UPDATE stocks SET paused = true")


async def test_a_pause_is_kept(vault: asyncpg.Connection) -> None:
    """Without the policy one person pauses for as long as he likes; it is read back and can be taken back."""
    await catalogue.load_campaign(vault, new_campaign("old"))
    stock_id = await _stock_id(vault)
    for paused in (True, True, False):
        decided = await pauses.decide(vault, stock_id, is_paused=paused, **WHY)
        assert decided == pauses.Pause(paused, None)
        assert [row.paused for row in await catalogue.stock_rows(vault)] == [paused]
    with pytest.raises(PauseRefused, match="reason"):
        await pauses.decide(vault, stock_id, is_paused=True, subject="li", reason="")
    with pytest.raises(asyncpg.CheckViolationError, match="only_a_pause_ends"):
        await vault.execute("UPDATE stocks SET paused_until = now()")
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="pause_deed_is_there"):
        await vault.execute("UPDATE stocks SET pause_deed_no = -1")


async def test_the_watch_ends_a_minute_that_is_over_and_the_gate_follows(books: Books) -> None:
    """Also when whoever paused it is gone; what the gate missed it learns."""
    stock_id = books.stock.stock_id
    await pauses.decide(books.vault, stock_id, is_paused=True, two_must_agree=True, **WHY)

    async def is_paused() -> bool:
        [counts] = await books.gate.counts([books.stock])
        return counts.is_paused

    async with books.working():
        await wait_until(is_paused, "the gate follows the vault")
        await books.vault.execute("UPDATE stocks SET paused_until = now() WHERE paused")

        async def is_resumed() -> bool:
            return not await is_paused()

        await wait_until(is_resumed, "the watch has resumed it")
    [last] = await admin.journal(books.vault, 1)
    assert (last.action, last.target, last.subject) == ("resume", stock_id, "the watch")
