"""A vault that was restored to an older point gets back what the gate still knows."""

from __future__ import annotations

import pytest

from ledger.recover import RecoveryFailed
from tests.support.books import Books, user_ref
from tests.support.wait import wait_until


async def restore(books: Books, *, claims: int, epoch: int) -> None:
    """Make the vault what it was when it had so many claims and was at this epoch."""
    await books.vault.execute("ALTER TABLE claims DISABLE TRIGGER claims_are_append_only")
    await books.vault.execute("DELETE FROM claims WHERE claim_no > $1", claims)
    await books.vault.execute("ALTER TABLE claims ENABLE ALWAYS TRIGGER claims_are_append_only")
    await books.vault.execute("ALTER TABLE rounds DISABLE TRIGGER rounds_only_advance")
    await books.vault.execute("UPDATE rounds SET epoch = $1", epoch)
    await books.vault.execute("ALTER TABLE rounds ENABLE ALWAYS TRIGGER rounds_only_advance")


async def test_rows_lost_within_the_epoch_are_recorded_again_by_the_worker(books: Books) -> None:
    """The gate was told of more rows than the vault has: the stream is read from the beginning."""
    await books.sell("a", "b", "c")
    await restore(books, claims=1, epoch=1)
    async with books.working():
        await wait_until(lambda: _owners(books, 3), "the lost rows are back")
    assert await books.owners() == {1: user_ref("a"), 2: user_ref("b"), 3: user_ref("c")}
    assert (await books.audit()).ok


async def _owners(books: Books, count: int) -> bool:
    return len(await books.owners()) == count


async def test_a_vault_of_an_earlier_epoch_is_not_trusted_until_it_is_refilled(books: Books) -> None:
    """Entries of the forgotten epoch are not fenced away: recovery refuses, and takes them back when it is told to."""
    await books.sell("a")
    await books.recover()
    await books.sell("b", "c")
    await books.claim("d")  # not recorded yet
    await restore(books, claims=0, epoch=1)

    async with books.working():
        with pytest.raises(RecoveryFailed, match="--from-gate"):
            await books.recover()
    assert await books.vault.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await books.letters("e") == "C"

    await books.recover(from_gate=True)
    assert await books.owners() == {number: user_ref(user) for number, user in enumerate("abcd", start=1)}
    assert await books.letters("a", "d", "e") == "HHW"
    async with books.working():
        await books.wait_booked(5)
    assert (await books.audit()).ok


async def test_a_worker_fences_nothing_away_while_the_vault_is_behind(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    """Claims of an epoch that the vault has forgotten may have been told yes: the worker leaves them where they are."""
    await books.recover()
    await books.claim("a")
    await restore(books, claims=0, epoch=1)
    async with books.working():
        await wait_until(lambda: "was the vault restored?" in caplog.text, "the worker says so", within_s=5)
    assert await books.vault.fetchval("SELECT count(*) FROM dead_letters") == 0
