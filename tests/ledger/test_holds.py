"""Holding vouchers for review: one winner, two persons, every fen where it belongs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import asyncpg
import pytest

from ledger import catalogue, holds
from ledger.admin import Action
from ledger.holds import VoucherName
from ledger.requests import Answer, Refusal
from tests.support.books import user_ref
from tests.support.copied_rows import refusal_of_a_copy
from tests.support.review import agreed, change
from tests.support.till import FUND_FEN, Till


def name(till: Till, claim_no: int = 1) -> VoucherName:
    """Return the name of a voucher of the first stock."""
    return VoucherName(till.books.stock.stock_id, claim_no)


async def shown(till: Till, user: str) -> list[str]:
    """Return the states of the vouchers as their owner sees them."""
    return [row.state for row in await catalogue.claims_of_user(till.vault, user_ref(user))]


async def test_a_held_voucher_is_refused_and_one_that_is_released_is_used(till: Till) -> None:
    """The till learns that it is void, the owner sees it, and a release makes it what it was."""
    assert await change(till.vault, Action.HOLD, [name(till)]) == [name(till)]
    assert await till.redeem() == Answer(Refusal.VOUCHER_VOID, {})
    assert "VOID" in await shown(till, "a")
    assert await till.violated() == []
    assert await change(till.vault, Action.RELEASE, [name(till)]) == [name(till)]
    assert await shown(till, "a") == ["ISSUED"]
    await till.redeemed()
    assert await till.violated() == []
    [held] = await holds.holds(till.vault, 10)
    assert (held.requested_by, held.approved_by, held.ended_by) == ("li", "wang", "RELEASE")


async def test_what_is_void_stays_void_and_its_money_is_in_the_pool(till: Till) -> None:
    """Taken back for good: no till, no release, no expiry, and the pool has its money once."""
    await change(till.vault, Action.HOLD, [name(till)])
    assert await change(till.vault, Action.VOID, [name(till)]) == [name(till)]
    assert (await till.balances())["RESERVED"] == 9 * 3_000
    for action in (Action.HOLD, Action.RELEASE, Action.VOID):
        assert await change(till.vault, action, [name(till)]) == []
    assert await till.redeem() == Answer(Refusal.VOUCHER_VOID, {})
    await till.lapse()
    assert await till.expire() == 2
    assert await shown(till, "a") == ["VOID"]
    assert (await till.balances())["POOL"] == FUND_FEN - 7 * 3_000
    assert await till.violated() == []


async def test_a_hold_stops_no_clock(till: Till) -> None:
    """A voucher that is held when its validity ends expires like any other."""
    await change(till.vault, Action.HOLD, [name(till)])
    await till.lapse()
    assert await till.expire() == 3
    assert await shown(till, "a") == ["EXPIRED"]
    assert await change(till.vault, Action.RELEASE, [name(till)]) == []
    assert await till.violated() == []


async def test_only_what_is_issued_is_held_and_only_what_is_held_is_void(till: Till) -> None:
    """A used voucher, one that nobody claimed and one that does not exist are left as they are."""
    await till.redeemed(1)
    wanted = [name(till, number) for number in (1, 2, 9, 99)]
    assert await change(till.vault, Action.VOID, wanted) == []
    assert await change(till.vault, Action.HOLD, wanted) == [name(till, 2)]


async def test_a_voucher_that_is_used_and_reversed_can_be_held(till: Till) -> None:
    """Its life goes on where the reversal left it."""
    await till.reverse(await till.redeemed())
    assert await change(till.vault, Action.HOLD, [name(till)]) == [name(till)]
    assert await till.violated() == []


async def test_of_a_hold_and_the_tills_one_wins(till: Till, more_tills: list[Till]) -> None:
    """Either the voucher is used and the hold is late, or it is held and every till is refused; never both."""
    number = await agreed(till.vault, Action.HOLD, [name(till, each) for each in (1, 2, 3)])
    for claim_no in (1, 2, 3):
        orders = [each.redeem(each.order(claim_no)) for each in more_tills[:4]]
        holding = holds.change(more_tills[5].vault, Action.HOLD, [name(till, claim_no)], request_no=number)
        *answers, held = await asyncio.gather(*orders, holding)
        assert isinstance(held, list)
        used = [each for each in answers if isinstance(each, Answer) and each.refusal is None]
        assert len(used) + len(held) == 1
        others = {each.refusal for each in answers if isinstance(each, Answer) and each.refusal is not None}
        assert others <= {Refusal.VOUCHER_VOID if held else Refusal.VOUCHER_USED}
    assert await till.violated() == []


async def test_of_a_release_and_a_voiding_one_wins(till: Till, more_tills: list[Till]) -> None:
    """Two pairs of persons decide differently at once: the voucher has one state, and the money agrees."""
    await change(till.vault, Action.HOLD, [name(till)])
    numbers = [await agreed(till.vault, action, [name(till)]) for action in (Action.RELEASE, Action.VOID)]
    done = await asyncio.gather(
        holds.change(more_tills[0].vault, Action.RELEASE, [name(till)], request_no=numbers[0]),
        holds.change(more_tills[1].vault, Action.VOID, [name(till)], request_no=numbers[1]),
    )
    assert sorted(map(len, done)) == [0, 1]
    assert await till.violated() == []


@pytest.mark.parametrize("action", [Action.RELEASE, Action.VOID, Action.FUND])
async def test_an_agreement_on_something_else_holds_nothing(till: Till, action: Action) -> None:
    """The keys compare what two persons agreed on with what is done."""
    number = await agreed(till.vault, action, [name(till)])
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await holds.change(till.vault, Action.HOLD, [name(till)], request_no=number)


async def test_an_agreement_is_on_the_vouchers_that_it_names(till: Till) -> None:
    """Another voucher is left as it is."""
    number = await agreed(till.vault, Action.HOLD, [name(till, 1)])
    done = await holds.change(till.vault, Action.HOLD, [name(till, 1), name(till, 2)], request_no=number)
    assert done == [name(till, 1)]


async def test_a_hold_without_an_act_is_found(till: Till) -> None:
    """Should the keys be gone, the audit names the step that nobody agreed on."""
    await change(till.vault, Action.HOLD, [name(till)])
    await till.vault.execute(
        "ALTER TABLE events DROP CONSTRAINT hold_has_its_act; ALTER TABLE holds DISABLE TRIGGER ALL; DELETE FROM holds"
    )
    assert await till.violated() == ["I-10"]


LOOSE = (
    "INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen, claim_no, version, from_state,"
    " to_state)"
    " SELECT {}, campaign_no, stock_no, face_fen, 1, {}, 3, {}, {} FROM events WHERE kind = 'HOLD' LIMIT 1;"
)
HOLD_EVENT = "kind = 'HOLD'"
FORGED: Sequence[tuple[str, str, Mapping[str, str], str]] = [
    ("holds", "true", {}, "holds_pkey"),
    ("holds", "true", {"event_no": "(SELECT max(event_no) FROM events WHERE kind = 'VOID')"}, "hold_is_an_event"),
    ("holds", "true", {"event_no": "{free}", "request_no": "{unbegun}"}, "holds_request_no_fkey"),
    ("holds", "true", {"event_no": "{free}", "request_no": "{void}"}, "hold_was_agreed"),
    ("hold_ends", "true", {}, "hold_ends_pkey"),
    ("hold_ends", "true", {"event_no": "{free}", "kind": "'VOID'"}, "hold_end_is_an_event"),
    ("hold_ends", "true", {"event_no": "{free}", "kind": "'HOLD'"}, "hold_end_was_agreed"),
    ("hold_ends", "true", {"event_no": "{loose_void}", "request_no": "{unbegun_void}"}, "hold_ends_request_no_fkey"),
    ("events", HOLD_EVENT, {"claim_no": "3"}, "hold_has_its_act"),
    ("events", "kind = 'RELEASE'", {"version": "4"}, "event_starts_where_the_last_ended"),
    ("events", HOLD_EVENT, {"claim_no": "3", "amount_fen": "1"}, "amount_is_of_its_kind"),
    ("events", HOLD_EVENT, {"claim_no": "3", "merchant_no": "'898340149000001'"}, "event_has_the_facts_of_its_kind"),
    ("events", HOLD_EVENT, {"claim_no": "3", "to_state": "'VOID'"}, "transition_is_allowed"),
]


@pytest.fixture
async def reviewed(till: Till) -> Till:
    """A voucher that was held and released, one that is void, and an unfinished event of each kind without its act."""
    await change(till.vault, Action.HOLD, [name(till, 1)])
    await change(till.vault, Action.HOLD, [name(till, 2)])
    await change(till.vault, Action.VOID, [name(till, 2)])
    await change(till.vault, Action.RELEASE, [name(till, 1)])
    return till


async def test_each_guard_of_holds_refuses_what_breaks_it(reviewed: Till) -> None:
    """No hold without an event, an act, an agreement on that very thing; no event without its hold."""
    vault = reviewed.vault
    # Requests of the right kind whose act has not begun.
    for action in ("hold", "void"):
        await vault.execute(
            "INSERT INTO admin_requests (action, target, reason, requested_by) VALUES ($1, 'x', 'x', 'li')", action
        )
    numbers = {
        "unbegun": "(SELECT max(request_no) FROM admin_requests WHERE action = 'hold')",
        "unbegun_void": "(SELECT max(request_no) FROM admin_requests WHERE action = 'void')",
        "void": "(SELECT request_no FROM admin_acts JOIN admin_requests USING (request_no) WHERE action = 'void')",
        "free": "(SELECT min(event_no) FROM events WHERE kind = 'HOLD' AND claim_no = 3)",
        "loose_void": "(SELECT min(event_no) FROM events WHERE kind = 'VOID' AND claim_no = 3)",
    }
    await vault.execute(
        "ALTER TABLE events DISABLE TRIGGER ALL;"
        + LOOSE.format("'HOLD'", "0", "1", "'ISSUED', 'HELD'")
        + LOOSE.format("'VOID'", "face_fen", "2", "'HELD', 'VOID'")
        + "ALTER TABLE events ENABLE TRIGGER ALL"
    )
    cases = [
        (table, where, {key: value.format(**numbers) for key, value in changes.items()}, guard)
        for table, where, changes, guard in FORGED
        if table != "events"
    ]
    found = [
        (table, where, changes, await refusal_of_a_copy(vault, table, where, changes))
        for table, where, changes, _ in cases
    ]
    assert found == cases


async def test_each_guard_of_the_steps_refuses_what_breaks_it(reviewed: Till) -> None:
    """A hold moves nothing, concerns no merchant, leads where it leads, and has its act."""
    cases = [case for case in FORGED if case[0] == "events"]
    found = [
        (table, where, changes, await refusal_of_a_copy(reviewed.vault, table, where, changes))
        for table, where, changes, _ in cases
    ]
    assert found == cases


async def test_an_end_of_a_hold_has_its_act(reviewed: Till) -> None:
    """A release by hand, which nobody agreed on, is refused at the commit."""
    await change(reviewed.vault, Action.HOLD, [name(reviewed, 3)])
    forged = {"claim_no": "3", "version": "2"}
    assert await refusal_of_a_copy(reviewed.vault, "events", "kind = 'RELEASE'", forged) == "hold_end_has_its_act"


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize("table", ["holds", "hold_ends"])
async def test_a_hold_is_of_the_voucher_that_was_asked_for(reviewed: Till, role: str, table: str) -> None:
    """Whoever writes to the vault directly holds and releases nothing under the request for another voucher."""
    await reviewed.vault.execute("ALTER TABLE events DISABLE TRIGGER ALL")
    kind, step = ("HOLD", "1, 'ISSUED', 'HELD'") if table == "holds" else ("RELEASE", "2, 'HELD', 'ISSUED'")
    version, states = step.split(", ", 1)
    await reviewed.vault.execute(LOOSE.format(f"'{kind}'", "0", version, states))
    await reviewed.vault.execute("ALTER TABLE events ENABLE TRIGGER ALL")
    await reviewed.vault.execute(f"SET session_replication_role = {role}")
    free = {"event_no": f"(SELECT event_no FROM events WHERE kind = '{kind}' AND claim_no = 3)"}  # noqa: S608  of this test
    guard = f"{table.removesuffix('s')}_is_of_what_was_asked"
    where = "true" if table == "holds" else "kind = 'RELEASE'"
    assert await refusal_of_a_copy(reviewed.vault, table, where, free) == guard


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize("table", ["holds", "hold_ends"])
async def test_holds_are_append_only(reviewed: Till, role: str, table: str) -> None:
    """Not even a superuser who poses as a replica rewrites who agreed on what."""
    await reviewed.vault.execute(f"SET session_replication_role = {role}")
    for statement in ("UPDATE {} SET event_no = event_no", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await reviewed.vault.execute(statement.format(table))
