"""Recording: what becomes of each entry, and that no entry stops another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from ledger.record import RawEntry, Recorded, record
from tests.ledger.conftest import OpenBooks
from tests.support.books import Books, user_ref
from tests.support.campaigns import small_campaign
from tests.support.wait import wait_until


async def entry(books: Books, number: int, user: str, *, stream_id: str | None = None, **changes: str) -> RawEntry:
    """Return an entry of the current epoch for a number and a user."""
    epoch = str((await books.row()).epoch)
    fields: Mapping[str, str] = {"v": "1", "epoch": epoch, "claim_no": str(number), "user_ref": user_ref(user)}
    return (stream_id or f"{1_700_000_000_000 + number}-0", {**fields, **changes})


async def record_all(books: Books, *entries: RawEntry) -> Recorded:
    """Record entries of the first stock."""
    return await record(books.vault, await books.row(), entries)


def reasons(done: Recorded) -> list[str]:
    """Return why entries were refused."""
    return [refused.reason for refused in done.refused]


async def dead_letters(books: Books) -> list[Any]:
    """Return what was kept of refused entries."""
    return list(await books.vault.fetch("SELECT reason, stream_id, entry FROM dead_letters ORDER BY dead_letter_no"))


async def test_new_entries_are_recorded_and_repeats_are_told_apart(books: Books) -> None:
    """The same batch again is a replay, whole or in part, and adds nothing."""
    first, second = await entry(books, 1, "a"), await entry(books, 2, "b")
    assert await record_all(books, first) == Recorded(1, 0, ())
    assert await record_all(books, first, second) == Recorded(1, 1, ())
    assert await record_all(books, first, second) == Recorded(0, 2, ())
    assert await books.owners() == {1: user_ref("a"), 2: user_ref("b")}


async def test_an_entry_twice_in_one_batch_is_recorded_once(books: Books) -> None:
    """A batch may repeat itself."""
    first = await entry(books, 1, "a")
    assert await record_all(books, first, first) == Recorded(1, 1, ())


async def test_a_voucher_that_has_an_owner_is_a_conflict(books: Books) -> None:
    """A second owner is refused and kept as a dead letter; the first one stays."""
    await record_all(books, await entry(books, 1, "a"))
    assert reasons(await record_all(books, await entry(books, 1, "b"))) == ["CONFLICT"]
    assert await books.owners() == {1: user_ref("a")}
    assert [row["reason"] for row in await dead_letters(books)] == ["CONFLICT"]


async def test_a_second_voucher_of_a_user_is_a_conflict(books: Books) -> None:
    """One voucher a user, whatever the gate says."""
    await record_all(books, await entry(books, 1, "a"))
    assert reasons(await record_all(books, await entry(books, 2, "a"))) == ["CONFLICT"]


async def test_the_same_claim_under_another_stream_id_is_a_conflict(books: Books) -> None:
    """A claim is the same only if all of it is the same."""
    await record_all(books, await entry(books, 1, "a"))
    done = await record_all(books, await entry(books, 1, "a", stream_id="1700000000001-1"))
    assert reasons(done) == ["CONFLICT"]


async def test_an_entry_of_another_epoch_is_fenced(books: Books) -> None:
    """Of a zombie or an old primary nothing is recorded; what was recorded in its time is a replay."""
    recorded = await entry(books, 1, "a")
    late = await entry(books, 2, "b")
    await record_all(books, recorded)
    await books.vault.execute("UPDATE rounds SET epoch = epoch + 1")
    done = await record_all(books, recorded, late)
    assert (done.recorded, done.replayed, reasons(done)) == (0, 1, ["FENCED"])
    assert await books.owners() == {1: user_ref("a")}


async def test_a_recovery_waits_for_an_open_batch_and_fences_the_next(books: Books, database_url: str) -> None:
    """The epoch cannot be raised under the feet of an insert, and nothing of the old epoch comes after it."""
    other = await asyncpg.connect(database_url)
    batch = books.vault.transaction()
    await batch.start()
    await record_all(books, await entry(books, 1, "a"))
    raising = asyncio.create_task(other.execute("UPDATE rounds SET epoch = epoch + 1"))

    async def is_waiting() -> bool:
        return bool(await books.vault.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await wait_until(is_waiting, "the epoch waits for the batch")
    late = await entry(books, 2, "b")
    await batch.commit()
    await raising
    assert reasons(await record_all(books, late)) == ["FENCED"]
    assert await books.owners() == {1: user_ref("a")}
    await other.close()


async def test_malformed_entries_are_kept_and_stop_nobody(books: Books) -> None:
    """The entries around a malformed one are recorded."""
    done = await record_all(
        books,
        await entry(books, 1, "a"),
        ("1700000000002-0", {"v": "1"}),
        await entry(books, 3, "c"),
    )
    assert (done.recorded, reasons(done)) == (2, ["MALFORMED"])
    [row] = await dead_letters(books)
    assert (row["stream_id"], row["entry"]) == ("1700000000002-0", '{"v": "1"}')


async def test_what_is_refused_is_told_in_the_order_of_the_stream(books: Books) -> None:
    """The watermark moves over refusals in this order, whatever each was refused for."""
    done = await record_all(
        books, await entry(books, 1, "a"), await entry(books, 2, "a"), ("1700000000003-0", {"v": "1"})
    )
    assert reasons(done) == ["CONFLICT", "MALFORMED"]


async def test_what_no_text_of_the_vault_can_hold_is_kept_escaped(books: Books) -> None:
    """A NUL in a field stops neither the dead letter nor the entries beside it."""
    done = await record_all(
        books,
        ("1700000000001-0", {"v": "\0", "a\0b": "\\u0000"}),
        await entry(books, 2, "b", colour="\0"),
    )
    assert (done.recorded, reasons(done)) == (1, ["MALFORMED"])
    [row] = await dead_letters(books)
    assert json.loads(row["entry"]) == {"v": "\\0", "a\\0b": "\\u0000"}


async def test_a_refusal_by_the_vault_does_not_quote_the_row(books: Books) -> None:
    """Its detail goes to the log, where no user's reference belongs."""
    [refused] = (await record_all(books, await entry(books, 6, "a"))).refused
    assert user_ref("a") not in refused.detail


async def test_poison_rows_are_found_among_hundreds_of_good_ones(open_books: OpenBooks, campaign_id: str) -> None:
    """A batch that the database refuses is halved until the poison stands alone."""
    books = await open_books(small_campaign(campaign_id, quantity=500))
    entries = [await entry(books, number, f"u{number}") for number in range(1, 501)]
    entries[123:123] = [await entry(books, 501, "x"), await entry(books, 2_000_000_000, "y")]
    done = await record_all(books, *entries)
    assert (done.recorded, reasons(done)) == (500, ["FORBIDDEN", "FORBIDDEN"])
    assert "claim_is_of_minted_voucher" in done.refused[0].detail


async def test_a_refused_entry_is_kept_once_however_often_it_comes(books: Books) -> None:
    """Redelivery fills no table."""
    bad: RawEntry = ("1700000000002-0", {"v": "1"})
    for _ in range(3):
        await record_all(books, bad)
    assert len(await dead_letters(books)) == 1


async def test_a_replay_beside_the_insert_is_no_conflict(books: Books, database_url: str) -> None:
    """Two workers record the same batch at the same time: both see it as theirs."""
    other = await asyncpg.connect(database_url)
    entries = [await entry(books, number, f"u{number}") for number in range(1, 6)]
    row = await books.row()
    for _ in range(20):
        await books.vault.execute("ALTER TABLE claims DISABLE TRIGGER USER; DELETE FROM claims")
        one, two = await asyncio.gather(record(books.vault, row, entries), record(other, row, entries))
        assert one.recorded + two.recorded == one.replayed + two.replayed == 5
        assert one.refused == two.refused == ()
    assert await dead_letters(books) == []
    await other.close()


async def test_a_replay_is_told_apart_whatever_the_databases_default_isolation(books: Books, database_url: str) -> None:
    """With an old snapshot the row of a concurrent insert would not be seen and its replay be called a conflict."""
    other = await asyncpg.connect(database_url, server_settings={"default_transaction_isolation": "serializable"})
    first, second, row = await entry(books, 1, "a"), await entry(books, 2, "b"), await books.row()
    await record(books.vault, row, [first])
    async with books.vault.transaction():
        await record(books.vault, row, [second])
        replaying = asyncio.create_task(record(other, row, [first, second]))

        async def is_waiting() -> bool:
            return bool(await books.vault.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await wait_until(is_waiting, "the replay waits for the insert")
    assert await replaying == Recorded(0, 2, ())
    await other.close()


async def test_a_cap_per_round_holds_in_the_vault_too(open_books: OpenBooks, campaign_id: str) -> None:
    """An nth voucher above the limit, or none where there must be one, is refused; a repeated one is a conflict."""
    books = await open_books(small_campaign(campaign_id, per_user_per_round=1))
    done = await record_all(books, await entry(books, 1, "a", nth="2"), await entry(books, 2, "b"))
    assert reasons(done) == ["FORBIDDEN", "FORBIDDEN"]
    await record_all(books, await entry(books, 3, "c", nth="1"))
    second_stock = (await books.rows())[1]
    done = await record(books.vault, second_stock, [await entry(books, 1, "c", nth="1")])
    assert reasons(done) == ["CONFLICT"]


@pytest.mark.parametrize(
    ("stream_id", "changes"),
    [
        (None, {"user_ref": user_ref("b")}),
        (None, {"epoch": "2"}),
        ("1700000000002-0", {}),
        ("1700000000001-1", {}),
        (None, {"nth": "2"}),
    ],
    ids=["user", "epoch", "millisecond", "place in the millisecond", "place in the round"],
)
async def test_only_the_very_same_claim_is_a_repeat(
    open_books: OpenBooks, campaign_id: str, stream_id: str | None, changes: dict[str, str]
) -> None:
    """A claim that differs in one fact from the one that is recorded is a conflict, not a replay."""
    books = await open_books(small_campaign(campaign_id, per_user_per_round=2))
    recorded = await entry(books, 1, "a", nth="1")
    await record_all(books, recorded)
    if "epoch" in changes:
        await books.vault.execute("UPDATE rounds SET epoch = 2")
    other = (stream_id or recorded[0], {**recorded[1], **changes})
    assert reasons(await record_all(books, other)) == ["CONFLICT"]
    assert await record_all(books, recorded) == Recorded(0, 1, ())


async def test_nothing_is_recorded_after_the_seal(books: Books) -> None:
    """A round that is sealed gets no claim any more; what was recorded before is a replay."""
    recorded, late = await entry(books, 1, "a"), await entry(books, 2, "b")
    await record_all(books, recorded)
    await books.vault.execute("UPDATE rounds SET sealed_at = now()")
    done = await record_all(books, recorded, late)
    assert (done.recorded, done.replayed, reasons(done)) == (0, 1, ["FENCED"])
