"""The worker, between the real gate and the real vault: nothing is lost, nothing is confirmed too early."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from grab_service.gate import connect
from grab_service.resources import library_source
from ledger import locks
from ledger.follower import Follower, Tally
from ledger.record import record
from ledger.recover import recover
from ledger.stream import BATCH_MAX
from ledger.worker import Worker
from tests.ledger.conftest import OpenBooks
from tests.support.books import Books, user_ref
from tests.support.campaigns import small_campaign
from tests.support.wait import wait_until


async def test_a_claim_reaches_the_vault_and_is_confirmed(books: Books) -> None:
    """Row, then watermark."""
    async with books.working() as worker:
        [answer] = await books.claim("a")
        await books.wait_booked(1)
        assert await books.owners() == {1: user_ref("a")}
        assert answer.holding is not None
        assert (await books.gate.progress(books.stock)).committed == answer.holding.stream_id
        assert worker.tally.recorded == 1


async def test_what_was_claimed_while_no_worker_was_there_is_recorded_by_the_next(books: Books) -> None:
    """It goes on where the watermark is."""
    await books.claim("a", "b")
    async with books.working():
        await books.wait_booked(2)
    await books.claim("c")
    async with books.working() as worker:
        await books.wait_booked(3)
    assert (worker.tally.recorded, worker.tally.replayed) == (1, 0)


async def test_a_batch_that_was_committed_and_not_confirmed_is_not_recorded_twice(books: Books) -> None:
    """A crash between commit and watermark ends in a replay."""
    before = (await books.gate.progress(books.stock)).committed
    async with books.working():
        await books.claim("a", "b")
        await books.wait_booked(2)
    await books.client.hset(books.stock.keys.progress, "committed", f"{before.ms}-{before.seq}")
    async with books.working() as worker:
        await wait_until(lambda: worker.tally.replayed == 2, "the batch is replayed")
    assert worker.tally.recorded == 0
    assert len(await books.owners()) == 2


async def test_a_worker_whose_watermark_was_set_back_begins_there_again(books: Books) -> None:
    """It passes over nothing, however it came about."""
    before = (await books.gate.progress(books.stock)).committed
    async with books.working() as worker:
        await books.claim("a")
        await books.wait_booked(1)
        await books.client.hset(books.stock.keys.progress, "committed", f"{before.ms}-{before.seq}")
        await books.claim("b")
        await books.wait_booked(2)
        await wait_until(lambda: worker.tally.replayed >= 1, "the first is read again")
    assert len(await books.owners()) == 2


async def test_a_stream_longer_than_a_batch_is_recorded_whole(open_books: OpenBooks, campaign_id: str) -> None:
    """The worker reads on while the vault is busy, and misses nothing."""
    count = 2 * BATCH_MAX + 7
    books = await open_books(small_campaign(campaign_id, quantity=count))
    for start in range(0, count, 1000):
        await books.claim(*(f"u{number}" for number in range(start, min(start + 1000, count))))
    async with books.working() as worker:
        await books.wait_booked(count)
    assert worker.tally.recorded == count


async def test_more_refusals_than_a_call_of_the_gate_carries_are_all_told(books: Books) -> None:
    """A batch of nothing but strange entries between claims: every one is refused, every claim is recorded."""
    claims = books.stock.keys.claims
    await books.claim("a")
    async with books.client.pipeline(transaction=False) as pipeline:
        for number in range(1500):
            pipeline.xadd(claims, {"v": "2", "number": str(number)})
        await pipeline.execute()
    await books.claim("b")
    async with books.working() as worker:
        await books.wait_booked(2)
        assert worker.tally.refused == 1500
    assert await books.client.hlen(books.stock.keys.refused) == 1500
    last: Any = await books.client.xrevrange(claims, count=1)
    assert await books.client.hget(books.stock.keys.progress, "committed") == last[0][0]


async def test_workers_share_the_stocks_and_take_over(books: Books) -> None:
    """Two workers hold one of two stocks each; when one goes the other has both."""
    stops = [asyncio.Event(), asyncio.Event()]
    workers = [Worker(books.database_url, books.redis_url) for _ in stops]
    running = [asyncio.create_task(worker.run(stop)) for worker, stop in zip(workers, stops, strict=True)]
    await wait_until(lambda: [len(worker.stock_ids) for worker in workers] == [1, 1], "each has one stock")
    stops[0].set()
    await running[0]
    await wait_until(lambda: len(workers[1].stock_ids) == 2, "the other has both")
    for stock in books.stocks:
        await books.claim("a", stock=stock)
        await books.wait_booked(1, stock)
    stops[1].set()
    await running[1]


async def test_a_worker_survives_the_loss_of_its_connections_to_the_vault(books: Books) -> None:
    """Every backend of the worker is ended in the middle; it comes back by itself and loses nothing."""
    async with books.working():
        await books.claim("a")
        await books.wait_booked(1)
        await books.vault.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'grab-ledger' AND datname = current_database()"
        )
        await books.claim("b", "c")
        await books.wait_booked(3)
    assert set((await books.owners()).values()) == {user_ref(user) for user in "abc"}


async def test_a_worker_survives_the_loss_of_its_connections_to_the_gate(books: Books) -> None:
    """Every client of the gate is disconnected in the middle."""
    async with books.working():
        await books.claim("a")
        await books.wait_booked(1)
        await books.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        await books.claim("b")
        await books.wait_booked(2)


async def test_the_vault_locked_by_somebody_delays_and_loses_nothing(books: Books) -> None:
    """While the table is locked nothing is confirmed; afterwards everything is."""
    async with books.working():
        await books.claim("first")
        await books.wait_booked(1)  # so the worker is in its loop
        async with books.vault.transaction():
            await books.vault.execute("LOCK TABLE claims IN ACCESS EXCLUSIVE MODE")
            await books.claim("a", "b")
            await wait_until(lambda: _insert_waits(books), "the worker waits for the table")
            assert (await books.gate.progress(books.stock)).booked == 1
        await books.wait_booked(3)


async def _insert_waits(books: Books) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'claims'::regclass AND mode = $1"
    return bool(await books.vault.fetchval(waiting, "RowExclusiveLock"))


async def test_a_poisoned_entry_closes_its_stock_and_only_it(books: Books) -> None:
    """The rest is recorded, the stock waits for a recovery, and that gives the sale back."""
    await books.claim("a")
    await books.client.xadd(books.stock.keys.claims, {"v": "1", "epoch": "x"})
    await books.claim("b")
    async with books.working():
        await wait_until(lambda: _is_closed(books), "the stock is closed")
        assert set((await books.owners()).values()) == {user_ref("a"), user_ref("b")}
        assert await books.letters("c") == "C"
        assert await books.letters("c", stock=books.stocks[1]) == "W"
        await books.recover()
        assert await books.letters("a", "c") == "HW"
        await books.wait_booked(3)
    dead = await books.vault.fetch("SELECT reason FROM dead_letters")
    assert [row["reason"] for row in dead] == ["MALFORMED"]


async def test_an_entry_that_is_not_text_stops_nobody(books: Books) -> None:
    """Whatever bytes stand in the stream, the worker and the recovery read past them."""
    claims = books.stock.keys.claims
    await books.client.xadd(claims, {b"v": b"\xff\x00", b"\xfe": b"x"})
    await books.claim("a")
    async with books.working():
        await wait_until(lambda: _is_closed(books), "the stock is closed")
    connection = connect(books.redis_url, timeout_ms=5000)
    await recover(books.vault, connection, library_source())
    await connection.aclose()
    assert set((await books.owners()).values()) == {user_ref("a")}
    assert await books.vault.fetchval("SELECT count(*) FROM dead_letters") == 1


async def _is_closed(books: Books) -> bool:
    return not (await books.gate.counts([books.stock]))[0].is_open


async def test_a_recovery_beside_a_running_worker_is_followed(books: Books) -> None:
    """The worker goes on under the new epoch without a restart."""
    async with books.working():
        await books.claim("a")
        await books.wait_booked(1)
        for number in range(2, 5):
            await books.recover()
            assert await books.letters("a") == "H"
            await books.claim(f"u{number}")
            await books.wait_booked(number)
    assert len(await books.owners()) == 4


async def test_a_campaign_that_is_loaded_later_is_served(open_books: OpenBooks, books: Books, campaign_id: str) -> None:
    """A running worker finds new stocks by itself."""
    async with books.working():
        await books.claim("a")
        await books.wait_booked(1)
        more = await open_books(small_campaign(f"{campaign_id}-more"))
        await more.claim("a")
        await more.wait_booked(1)


async def test_a_stop_is_quick_and_leaves_nothing_half_done(open_books: OpenBooks, campaign_id: str) -> None:
    """A worker that is stopped in a rush ends at once; the next one finishes."""
    books = await open_books(small_campaign(campaign_id, quantity=2000))
    async with books.working():
        for start in range(0, 2000, 500):
            await books.claim(*(f"u{number}" for number in range(start, start + 500)))
    async with books.working():
        await books.wait_booked(2000)
    assert (await books.audit()).ok


async def test_a_fenced_entry_closes_nothing(books: Books) -> None:
    """What a zombie of another epoch has left in the stream is no reason to stop the sale."""
    fields = {"v": "1", "epoch": "99", "claim_no": "5", "user_ref": user_ref("zombie")}
    await books.client.xadd(books.stock.keys.claims, fields)  # type: ignore[arg-type]  # invariant mapping
    async with books.working():
        await books.claim("a")
        await books.wait_booked(1)
        assert await books.vault.fetchval("SELECT reason FROM dead_letters") == "FENCED"
        assert await books.letters("b") == "W"
        await books.wait_booked(2)


async def test_a_winner_whose_entry_is_refused_is_not_told_yes(books: Books) -> None:
    """The number has another owner in the vault: the watermark passes the entry, and the gate says it is refused."""
    row = await books.row()
    fields = {"v": "1", "epoch": str(row.epoch), "claim_no": "1", "user_ref": user_ref("z")}
    await record(books.vault, row, [("1700000000000-0", fields)])
    [answer] = await books.claim("a")
    async with books.working():
        await wait_until(lambda: _is_closed(books), "the stock is closed")
    assert answer.holding is not None
    assert (await books.gate.progress(books.stock)).refused == {answer.holding.stream_id}


async def test_a_stock_that_another_worker_follows_is_left_to_it(books: Books, database_url: str) -> None:
    """Whoever does not get the stock's lock goes away."""
    row = await books.row()
    other = await asyncpg.connect(database_url)
    await other.execute("SELECT pg_advisory_lock($1, $2)", locks.STOCK, row.stock_no)
    follower = Follower(row.stock_id, row.stock_no, books.database_url, books.redis_url, Tally())
    running = asyncio.create_task(follower.run())
    try:
        await wait_until(running.done, "it has gone away", within_s=5)
    finally:
        follower.stop.set()
        await running
        await other.close()
