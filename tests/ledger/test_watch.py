"""The watch: says that all is well, and closes what violates an invariant, once two looks have seen it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from ledger.corridor import DIFFERENCE, WATCH
from ledger.money_watch import INVARIANTS
from ledger.recover import RecoveryFailed
from ledger.watch import DIFFERENCES, NAMES, Look
from tests.support.books import Books, user_ref
from tests.support.wait import wait_until


async def verdicts(books: Books) -> dict[str, str]:
    """Return what the watch has told."""
    return cast("dict[str, str]", await books.client.hgetall(WATCH))


async def is_open(books: Books) -> list[bool]:
    """Return whether each stock is open."""
    return [counts.is_open for counts in await books.gate.counts(books.stocks)]


@pytest.fixture(autouse=True)
async def nothing_was_told(books: Books) -> None:
    """What an earlier test's watch told is forgotten."""
    await books.client.delete(WATCH)


async def test_a_healthy_sale_is_said_to_be_well(books: Books) -> None:
    """Every invariant is told, each as holding, and nothing is closed."""
    await books.sell("a", "b")
    async with books.working():
        await wait_until(lambda: _says(books, "I-18", "ok"), "the watch over the money has told too")
        differences = {f"{DIFFERENCE}{kind}": "0" for kind in DIFFERENCES.values()}
        assert await verdicts(books) == dict.fromkeys((*NAMES, *INVARIANTS), "ok") | differences
        assert await is_open(books) == [True, True]
    assert 0 < await books.client.pttl(WATCH) <= 10_000


async def _told(books: Books) -> bool:
    return bool(await verdicts(books))


Break = Callable[[Books], Awaitable[object]]


async def _lose_a_number(books: Books) -> None:
    await books.client.lpop(books.stock.keys.free)


async def _lose_a_holder(books: Books) -> None:
    await books.client.hdel(books.stock.keys.holders, user_ref("a"))
    await books.client.rpush(books.stock.keys.free, "9")


async def _raise_the_epoch(books: Books) -> None:
    await books.vault.execute("UPDATE rounds SET epoch = epoch + 1")


@pytest.mark.parametrize(
    ("invariant", "do"),
    [("I-14n", _lose_a_number), ("I-14", _lose_a_holder), ("I-13", _raise_the_epoch)],
)
async def test_what_a_gate_violates_closes_its_stock_and_a_recovery_mends_it(
    books: Books, invariant: str, do: Break
) -> None:
    """The verdict names the invariant and the stock; after a recovery all is well again."""
    await books.sell("a", "b")
    async with books.working():
        await wait_until(lambda: _told(books), "the watch has told")
        await do(books)
        await wait_until(lambda: _says(books, invariant, books.stock.stock_id), f"{invariant} is told")
        assert (await is_open(books))[0] is False
        await books.recover()
        await wait_until(lambda: _says(books, invariant, "ok"), "all is well again")
        assert await is_open(books) == [True, True]
    assert (await books.audit()).ok


async def test_a_vault_that_lost_rows_is_noticed_at_the_second_look(books: Books) -> None:
    """What the gate was told at the first look must be there at the second."""
    await books.sell("a", "b")
    look = Look()
    assert (await look.take(books.vault, books.client)).found == []
    await books.vault.execute("ALTER TABLE claims DISABLE TRIGGER claims_are_append_only")
    await books.vault.execute("DELETE FROM claims")
    await books.vault.execute("ALTER TABLE claims ENABLE ALWAYS TRIGGER claims_are_append_only")
    [finding] = (await look.take(books.vault, books.client)).found
    assert (finding.invariant, finding.sentence) == ("I-14", "2 claims were booked, the vault has 0")
    assert finding.difference == 2


async def _says(books: Books, invariant: str, beginning: str) -> bool:
    return (await verdicts(books)).get(invariant, "").startswith(beginning)


@pytest.mark.parametrize(
    ("invariant", "statement"),
    [
        ("I-1", "ALTER TABLE claims DROP CONSTRAINT claim_is_of_minted_voucher"),
        ("I-2", "ALTER TABLE claims DROP CONSTRAINT one_owner_per_voucher CASCADE"),
        ("I-3", "ALTER TABLE claims DROP CONSTRAINT one_voucher_per_user"),
        ("I-15", "ALTER TABLE claims DISABLE TRIGGER claims_are_append_only"),
        ("I-15", "ALTER TABLE vouchers ENABLE TRIGGER vouchers_are_append_only"),
        ("I-15", "DROP TRIGGER sealed_blocks_are_append_only ON sealed_blocks"),
    ],
)
async def test_without_a_guard_of_the_vault_everything_is_closed_and_stays_closed(
    books: Books, invariant: str, statement: str
) -> None:
    """A recovery refuses too, and says which guard is missing."""
    async with books.working():
        await books.vault.execute(statement)
        await wait_until(lambda: _says(books, invariant, "all: the vault lacks"), f"{invariant} is told")
        assert await is_open(books) == [False, False]
        with pytest.raises(RecoveryFailed, match="the vault lacks"):
            await books.recover()


async def test_a_setting_that_is_changed_during_the_sale_closes_everything(books: Books) -> None:
    """The promise would not hold any more; put right and recovered, the sale goes on."""
    try:
        async with books.working():
            await books.client.config_set("appendfsync", "everysec")
            await wait_until(lambda: _says(books, "settings", "all: appendfsync"), "the setting is told")
            assert await is_open(books) == [False, False]
    finally:
        await books.client.config_set("appendfsync", "always")
    await books.recover()
    assert await is_open(books) == [True, True]


async def test_claims_above_the_quantity_are_noticed(books: Books) -> None:
    """However they came there: here by somebody who poses as a replica, for whom foreign keys are not checked."""
    async with books.vault.transaction():
        await books.vault.execute("SET LOCAL session_replication_role = replica")
        await books.vault.execute(
            "INSERT INTO claims (stock_no, claim_no, round_no, limit_no, epoch, user_ref, stream_ms, stream_seq)"
            " SELECT stock_no, n, round_no, limit_no, 1, lpad(n::text, 23, 'x'), n, 0"
            " FROM stocks, generate_series(1, quantity + 1) AS n WHERE stock_id = $1",
            books.stock.stock_id,
        )
    found = (await Look().take(books.vault, books.client)).found
    assert ("I-1", "6 claims of 5") in [(finding.invariant, finding.sentence) for finding in found]
