"""Recovery: whatever happened to the gate, owners keep what they own and the rest can be sold."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
import redis.asyncio as redis

from grab_service.resources import library_source
from ledger.record import record
from ledger.recover import recover
from tests.ledger.conftest import OpenBooks
from tests.support.books import Books, user_ref
from tests.support.campaigns import small_campaign


async def free(books: Books) -> list[int]:
    """Return the free numbers of the first stock."""
    return [int(number) for number in await books.client.lrange(books.stock.keys.free, 0, -1)]


async def test_a_fresh_gate_is_opened_with_every_number(books: Books) -> None:
    """Nobody holds anything, 1..quantity are free, the epoch is 1."""
    assert await free(books) == [1, 2, 3, 4, 5]
    assert (await books.row()).epoch == 1
    assert (await books.row()).gate_run_id == (await books.client.info("server"))["run_id"]


async def test_the_report_tells_what_was_done(books: Books) -> None:
    """Figures of each stock, as JSON can hold them."""
    await books.claim("a")
    report = (await books.recover()).to_json()
    first = report["stocks"][0]
    assert (first["epoch"], first["quantity"], first["drained"], first["held"], first["free"]) == (2, 5, 1, 1, 4)


async def test_holes_in_the_numbers_are_free_again(books: Books) -> None:
    """Free numbers are exactly those that the vault has no claim of."""
    row = await books.row()
    fields = {"v": "1", "epoch": str(row.epoch), "user_ref": user_ref("z")}
    await record(books.vault, row, [("1700000000000-0", fields | {"claim_no": "3"})])
    await books.recover()
    assert await free(books) == [1, 2, 4, 5]
    [held] = await books.claim("z")
    assert held.holding is not None
    assert held.holding.claim_no == 3


async def test_a_zombie_of_the_old_epoch_is_fenced_and_never_confirmed(books: Books) -> None:
    """Entries that were read before a recovery and written after it own nothing."""
    await books.claim("a")
    row = await books.row()
    entries = await books.entries()
    await books.client.delete(books.stock.keys.claims)
    await books.recover()
    done = await record(books.vault, row, entries)
    assert [refused.reason for refused in done.refused] == ["FENCED"]
    assert await books.owners() == {}
    assert (await books.audit()).ok


async def test_two_recoveries_at_once_end_in_one_open_gate(books: Books, database_url: str) -> None:
    """The second waits for the first; both succeed and the stock is whole."""
    await books.sell("a")
    others = [await asyncpg.connect(database_url) for _ in range(3)]
    reports = await asyncio.gather(*(recover(each, books.client, library_source()) for each in others))
    assert sorted(report.stocks[0].epoch for report in reports) == [2, 3, 4]
    assert await books.letters("a", "b") == "HW"
    for each in others:
        await each.close()


async def test_a_recovery_in_the_middle_of_a_rush_takes_nothing_from_anybody(
    open_books: OpenBooks, campaign_id: str
) -> None:
    """Recoveries while everybody claims: every user ends with at most one voucher, all vouchers go."""
    books = await open_books(small_campaign(campaign_id, quantity=500))

    async def rush() -> None:
        for start in range(0, 900, 10):
            await books.claim(*(f"u{number}" for number in range(start, start + 10)))
            await asyncio.sleep(0)

    async with books.working():
        rushing = asyncio.create_task(rush())
        for _ in range(3):
            await books.recover()
        await rushing
        await books.claim(*(f"u{number}" for number in range(900)))
        await books.wait_booked(500)
    assert (await books.audit()).ok


class Interrupted(Exception):
    """Stands for the death of the recovery's process."""


def interrupt_after(client: redis.Redis, calls: int) -> redis.Redis:
    """Return a client that dies at one of its calls, before or after it was made."""

    class Dying(redis.Redis):
        count = 0

        async def execute_command(self, *args: Any, **options: Any) -> Any:
            Dying.count += 1
            if Dying.count > calls:
                raise Interrupted
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped

        def pipeline(self, *args: Any, **options: Any) -> Any:
            Dying.count += 1
            if Dying.count > calls:
                raise Interrupted
            return super().pipeline(*args, **options)

    return Dying(connection_pool=client.connection_pool)


async def test_a_recovery_that_dies_at_any_step_leaves_the_gate_closed(books: Books) -> None:
    """Whatever the step, some stock is closed, nobody's voucher is touched, and the next run finishes."""
    await books.sell("a")
    calls = 0
    while True:
        calls += 1
        try:
            await recover(books.vault, interrupt_after(books.client, calls), library_source())
        except Interrupted:
            letters = await books.letters("a")
            assert letters in ("C", "H")
            everything = await books.gate.counts(books.stocks)
            assert calls <= 1 or not all(counts.is_open for counts in everything)
            await books.recover()
            assert await books.letters("a") == "H"
        else:
            break
    assert calls > 10
    assert await books.letters("a", "b") == "HW"
    assert (await books.audit()).ok


@pytest.mark.parametrize(
    "limits", [{"per_user_per_round": 1}, {"limit_scope": "campaign"}], ids=["per round", "per campaign"]
)
async def test_limits_that_span_stocks_are_rebuilt(
    open_books: OpenBooks, campaign_id: str, limits: dict[str, Any]
) -> None:
    """A user who had his share before the recovery gets no more after it."""
    books = await open_books(small_campaign(campaign_id, **limits))
    await books.sell("a")
    for stock in books.stocks:
        await books.client.delete(stock.keys.round_taken, stock.keys.class_tier_taken)
    await books.recover()
    expected = "L" if "per_user_per_round" in limits else "W"
    assert await books.letters("a", stock=books.stocks[1]) == expected
    assert await books.letters("a") == "H"


async def test_a_pause_outlives_a_recovery(books: Books) -> None:
    """What staff paused stays paused."""
    await books.vault.execute("UPDATE stocks SET paused = true")
    await books.recover()
    assert await books.letters("a") == "P"


async def test_a_sold_out_stock_keeps_its_instant(books: Books) -> None:
    """The time of sell-out is that of the last claim."""
    answers = await books.sell("a", "b", "c", "d", "e")
    await books.recover()
    [counts, _] = await books.gate.counts(books.stocks)
    assert answers[-1].holding is not None
    assert counts.sold_out_ms == answers[-1].holding.stream_id.ms
    assert await books.letters("f") == "S"
