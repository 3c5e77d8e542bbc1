"""Signals for review: noticed once, from the books, and never rewritten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ledger import signals
from ledger.signals import Signal, Thresholds
from tests.support.books import Books, user_ref
from tests.support.copied_rows import refusal_of_a_copy
from tests.support.till import OTHER_SHOP, SHOP, Till

HOUR = timedelta(hours=1)
STRICT = Thresholds(burst_vouchers_max=2, burst_s=10, split_s=600, split_percent_max=5, address_users_max=2)


async def noticed(vault: asyncpg.Connection, thresholds: Thresholds = STRICT) -> list[Signal]:
    """Look, and return all signals."""
    await signals.notice(vault, thresholds, back=HOUR)
    return await signals.signals(vault, 100)


async def use(till: Till, seconds: list[float], **order: object) -> None:
    """Use the first vouchers at these seconds before now."""
    now = datetime.now(UTC)
    for claim_no, ago_s in enumerate(seconds, start=1):
        answer = await till.redeem(till.order(claim_no, **order), at=now - timedelta(seconds=ago_s))
        assert answer.refusal is None


async def test_many_vouchers_at_one_merchant_in_seconds_are_noticed_once(till: Till) -> None:
    """Three within ten seconds are more than two; a second look writes nothing."""
    await use(till, [105, 103, 101])
    [signal] = await noticed(till.vault)
    assert (signal.kind, signal.merchant_no, signal.figures["vouchers"]) == ("MERCHANT_BURST", SHOP, 3)
    assert signal.vouchers == [f"{till.books.stock.stock_id}:{number}" for number in (1, 2, 3)]
    assert await noticed(till.vault) == [signal]


async def test_vouchers_over_a_longer_time_or_at_two_merchants_are_no_signal(till: Till) -> None:
    """What is usual is not written down."""
    await use(till, [130, 115, 100])
    assert await noticed(till.vault) == []


async def _held_by_one_owner(till: Till) -> None:
    # Books in which one user owns two vouchers: as if the campaign had two stocks of this kind.
    await till.vault.execute(
        "ALTER TABLE claims DISABLE TRIGGER ALL; ALTER TABLE claims DROP CONSTRAINT one_voucher_per_user"
    )
    await till.vault.execute("UPDATE claims SET user_ref = $1", user_ref("a"))


@pytest.mark.parametrize(
    ("amount_fen", "seconds", "merchants", "expected"),
    [
        (10_100, [300, 10, 5], [SHOP, SHOP, SHOP], 1),
        (10_501, [300, 10, 5], [SHOP, SHOP, SHOP], 0),
        (10_100, [300, 10, 5], [SHOP, OTHER_SHOP, OTHER_SHOP], 1),
        (10_100, [2_000, 1_000, 5], [SHOP, SHOP, SHOP], 0),
    ],
    ids=["split", "well above the threshold", "two of three at one merchant", "far apart"],
)
async def test_payments_just_above_the_threshold_by_one_owner_are_noticed(
    till: Till, amount_fen: int, seconds: list[float], merchants: list[str], expected: int
) -> None:
    """Two orders at one merchant within ten minutes, each within five percent of the threshold."""
    await _held_by_one_owner(till)
    now = datetime.now(UTC).replace(second=0) - timedelta(minutes=now_in_span())
    for claim_no, (ago_s, merchant_no) in enumerate(zip(seconds, merchants, strict=True), start=1):
        order = till.order(claim_no, order_amount_fen=amount_fen, merchant_no=merchant_no)
        assert (await till.redeem(order, at=now - timedelta(seconds=ago_s))).refusal is None
    found = await noticed(till.vault, Thresholds(split_s=600, split_percent_max=5))
    assert [signal.kind for signal in found] == ["SPLIT_PAYMENTS"] * expected
    for signal in found:
        assert user_ref("a") in signal.subject
        concerned = await signals.concerned(till.vault, signal.signal_no, 10)
        assert {(each.claim_no, each.state) for each in concerned} == {(1, "USED"), (2, "USED"), (3, "USED")}


def now_in_span() -> int:
    """Return how many minutes of the running ten have gone, so that a test begins at the start of a span."""
    return datetime.now(UTC).minute % 10


async def test_a_payment_that_was_reversed_is_not_split(till: Till) -> None:
    """Whoever pays again after a reversal has paid once."""
    first = await till.redeemed(order_amount_fen=10_100)
    await till.reverse(first)
    await till.redeemed(order_amount_fen=10_100)
    assert await noticed(till.vault, Thresholds()) == []


async def test_payments_of_different_owners_are_not_split(till: Till) -> None:
    """Three people who each pay little are three people."""
    await use(till, [30, 20, 10], order_amount_fen=10_100)
    assert await noticed(till.vault, Thresholds()) == []


async def test_many_users_on_one_address_are_noticed(till: Till) -> None:
    """Three users who took tickets from one block, and what they hold by now."""
    for hashed, users in ((b"a" * 16, "abc"), (b"b" * 16, "de")):
        await signals.note_address_uses(till.vault, [(hashed, user_ref(user)) for user in users])
    [signal] = await noticed(till.vault)
    assert (signal.kind, signal.subject, signal.figures["users"]) == ("SHARED_ADDRESS", (b"a" * 16).hex(), 3)
    concerned = await signals.concerned(till.vault, signal.signal_no, 10)
    assert {each.user_ref for each in concerned} == {user_ref(user) for user in "abc"}


async def test_a_user_with_two_peppers_is_one_user(till: Till) -> None:
    """Two users with a reference under each of two peppers are no three."""
    refs = [ref for user in "ab" for ref in (user_ref(user), "2" + user_ref(user)[1:])]
    await signals.note_address_uses(till.vault, [(b"a" * 16, ref) for ref in refs])
    assert await noticed(till.vault) == []
    await signals.note_address_uses(till.vault, [(b"a" * 16, user_ref("c"))])
    [signal] = await noticed(till.vault)
    assert signal.figures["users"] == 3


async def test_who_took_tickets_from_where_is_forgotten(books: Books) -> None:
    """Yesterday's uses go when nothing is kept, today's stay."""
    await signals.note_address_uses(books.vault, [(b"a" * 16, user_ref("a"))])
    await books.vault.execute("INSERT INTO address_uses SELECT used_on - 2, address_hash, user_ref FROM address_uses")
    await signals.notice(books.vault, Thresholds(address_days=1), back=HOUR)
    assert await books.vault.fetchval("SELECT count(*) FROM address_uses") == 1


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_signals_are_append_only(till: Till, role: str) -> None:
    """What was noticed stays noticed."""
    await till.vault.execute(f"SET session_replication_role = {role}")
    for change in ("UPDATE signals SET subject = subject", "DELETE FROM signals", "TRUNCATE signals CASCADE"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await till.vault.execute(change)


async def test_each_guard_of_signals_refuses_what_breaks_it(till: Till) -> None:
    """No signal twice, of an unknown kind, without its merchant or bounds; no shapeless use of an address."""
    await use(till, [105, 103, 101])
    await noticed(till.vault)
    await signals.note_address_uses(till.vault, [(b"a" * 16, user_ref("a"))])
    other = {"subject": "'other'"}
    cases = [
        ("signals", {"signal_no": "signal_no"} | other, "signals_pkey"),
        ("signals", {}, "signal_is_given_once"),
        ("signals", other | {"kind": "'WHIM'"}, "signal_kind_is_known"),
        ("signals", other | {"kind": "'SHARED_ADDRESS'"}, "signal_is_of_its_kind"),
        ("signals", {"subject": "''"}, "signal_is_bounded"),
        ("signals", other | {"merchant_no": "'898340149000099'"}, "signals_merchant_no_fkey"),
        ("address_uses", {}, "use_is_noted_once"),
        ("address_uses", {"address_hash": "'\\x00'"}, "address_hash_is_bounded"),
        ("address_uses", {"user_ref": "'x'"}, "use_is_of_a_reference"),
    ]
    found = [
        (table, changes, await refusal_of_a_copy(till.vault, table, "true", changes)) for table, changes, _ in cases
    ]
    assert found == cases
