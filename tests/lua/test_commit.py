"""grab_commit: acknowledgement and watermark move together, and never past what is uncommitted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis.asyncio as redis

from grab_service.gate import Progress, StreamId
from grab_service.stock import Stock
from tests.lua.conftest import Shelf

StockOf = Callable[..., Stock]


async def _win(shelf: Shelf, stock: Stock, *users: str) -> list[str]:
    await shelf.gate.claim(stock, list(users))
    return [stream_id for stream_id, _ in await shelf.entries(stock)]


async def _read(shelf: Shelf, stock: Stock, count: int, consumer: str = "ledger") -> None:
    await shelf.client.xreadgroup("ledger", consumer, {stock.keys.claims: ">"}, count=count)


async def _commit(shelf: Shelf, stock: Stock, ids: list[str], *, booked: int, epoch: int = 1) -> int:
    keys = [stock.keys.claims, stock.keys.progress, stock.keys.refused]
    return await shelf.call("grab_commit", keys, epoch, booked, len(ids), *ids)


async def _committed(shelf: Shelf, stock: Stock) -> StreamId:
    return (await shelf.gate.progress(stock)).committed


async def test_a_committed_batch_moves_the_watermark_to_its_last_entry(shelf: Shelf, stock_of: StockOf) -> None:
    """After the commit nothing is pending and the watermark is the last id."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b", "c")
    await _read(shelf, stock, 3)
    assert await _commit(shelf, stock, ids, booked=3) == 1
    assert await shelf.gate.progress(stock) == Progress(1, StreamId.parse(ids[2]), 3, frozenset())
    assert (await shelf.client.xpending(stock.keys.claims, "ledger"))["pending"] == 0


async def test_the_watermark_waits_for_entries_that_another_reader_holds(shelf: Shelf, stock_of: StockOf) -> None:
    """Two workers overlap: the later one's commit confirms nothing of the earlier one's uncommitted entries."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b", "c", "d")
    await _read(shelf, stock, 2, "zombie")
    await _read(shelf, stock, 2, "successor")
    before = await _committed(shelf, stock)
    assert await _commit(shelf, stock, ids[2:], booked=2) == 1
    assert await _committed(shelf, stock) == before
    assert await _commit(shelf, stock, ids[:1], booked=3) == 1
    assert await _committed(shelf, stock) == StreamId.parse(ids[0])
    assert await _commit(shelf, stock, ids, booked=4) == 1
    assert await _committed(shelf, stock) == StreamId.parse(ids[3])


async def test_the_watermark_passes_what_was_acknowledged_out_of_order(shelf: Shelf, stock_of: StockOf) -> None:
    """When the entry that held it up is acknowledged, those behind it need no second acknowledgement."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b", "c")
    await _read(shelf, stock, 3)
    await _commit(shelf, stock, ids[1:], booked=2)
    await _commit(shelf, stock, ids[:1], booked=3)
    assert await _committed(shelf, stock) == StreamId.parse(ids[2])


async def test_a_new_group_confirms_nothing_that_it_has_not_read(shelf: Shelf, stock_of: StockOf) -> None:
    """When the group was lost, nothing is pending: that says nothing about the entries before a late commit."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b")
    await _read(shelf, stock, 2)
    before = await _committed(shelf, stock)
    await shelf.client.xgroup_destroy(stock.keys.claims, "ledger")
    await shelf.client.xgroup_create(stock.keys.claims, "ledger", "0")
    assert await _commit(shelf, stock, ids[1:], booked=1) == 1
    assert await _committed(shelf, stock) == before


async def test_a_late_commit_of_old_entries_does_not_move_the_watermark_back(shelf: Shelf, stock_of: StockOf) -> None:
    """A repeat of an older batch leaves watermark and booked where they are."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b")
    await _read(shelf, stock, 2)
    await _commit(shelf, stock, ids, booked=2)
    await _commit(shelf, stock, ids[:1], booked=1)
    assert await shelf.gate.progress(stock) == Progress(1, StreamId.parse(ids[1]), 2, frozenset())


async def test_a_new_group_does_not_move_the_watermark_back(shelf: Shelf, stock_of: StockOf) -> None:
    """What was told to be committed stays so when the group is lost and reads from the beginning again."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b")
    await _read(shelf, stock, 2)
    await _commit(shelf, stock, ids, booked=2)
    await shelf.client.xgroup_destroy(stock.keys.claims, "ledger")
    await shelf.client.xgroup_create(stock.keys.claims, "ledger", "0")
    await _commit(shelf, stock, ids[:1], booked=2)
    assert await _committed(shelf, stock) == StreamId.parse(ids[1])


async def test_a_commit_of_another_epoch_changes_nothing(shelf: Shelf, stock_of: StockOf) -> None:
    """A worker that has slept through a recovery acknowledges and confirms nothing."""
    stock = await shelf.stand(stock_of(), epoch=2)
    ids = await _win(shelf, stock, "a")
    await _read(shelf, stock, 1)
    before = await shelf.gate.progress(stock)
    assert await _commit(shelf, stock, ids, booked=1, epoch=1) == 0
    assert await shelf.gate.progress(stock) == before
    assert (await shelf.client.xpending(stock.keys.claims, "ledger"))["pending"] == 1


async def test_a_commit_is_announced_with_what_was_refused(shelf: Shelf, stock_of: StockOf) -> None:
    """Listeners get the line that a reader of the progress would get."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b")
    await _read(shelf, stock, 2)
    async with shelf.client.pubsub() as pubsub:
        await pubsub.subscribe(stock.keys.progress)
        await pubsub.get_message(timeout=2)
        keys = [stock.keys.claims, stock.keys.progress, stock.keys.refused]
        await shelf.call("grab_commit", keys, 1, 1, 2, *ids, ids[0], "CONFLICT")
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=2)
    assert message is not None
    assert Progress.parse(message["data"]) == await shelf.gate.progress(stock)
    assert (await shelf.gate.progress(stock)).refused == {StreamId.parse(ids[0])}


@pytest.mark.parametrize("count", [0, 1001])
async def test_the_size_of_a_commit_is_bounded(shelf: Shelf, stock_of: StockOf, count: int) -> None:
    """No id, or more than a call may carry, is refused and changes nothing."""
    stock = await shelf.stand(stock_of())
    before = await shelf.gate.progress(stock)
    with pytest.raises(redis.ResponseError, match="1 to 1000 ids"):
        await _commit(shelf, stock, [f"1-{number}" for number in range(count)], booked=5)
    assert await shelf.gate.progress(stock) == before
