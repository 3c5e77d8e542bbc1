"""grab_confirm: acknowledgement and watermark move together, and never past what is uncommitted."""

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


_START = "0-0"


async def _commit(shelf: Shelf, stock: Stock, after: str, upto: str, *, booked: int, epoch: int = 1) -> int:
    return await shelf.call("grab_confirm", [stock.keys.progress, stock.keys.refused], epoch, booked, after, upto)


async def _committed(shelf: Shelf, stock: Stock) -> StreamId:
    return (await shelf.gate.progress(stock)).committed


async def test_a_committed_batch_moves_the_watermark_to_its_last_entry(shelf: Shelf, stock_of: StockOf) -> None:
    """Batch follows upon batch."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b", "c")
    assert await _commit(shelf, stock, _START, ids[1], booked=2) == 1
    assert await shelf.gate.progress(stock) == Progress(1, StreamId.parse(ids[1]), 2, frozenset())
    assert await _commit(shelf, stock, ids[1], ids[2], booked=3) == 1
    assert await shelf.gate.progress(stock) == Progress(1, StreamId.parse(ids[2]), 3, frozenset())


async def test_the_watermark_passes_over_nothing(shelf: Shelf, stock_of: StockOf) -> None:
    """Two workers overlap: the later one's commit confirms nothing of the earlier one's uncommitted entries."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b", "c", "d")
    before = await shelf.gate.progress(stock)
    assert await _commit(shelf, stock, ids[1], ids[3], booked=2) == -1
    assert await shelf.gate.progress(stock) == before
    assert await _commit(shelf, stock, _START, ids[1], booked=2) == 1
    assert await _commit(shelf, stock, ids[1], ids[3], booked=4) == 1
    assert await _committed(shelf, stock) == StreamId.parse(ids[3])


async def test_a_batch_that_began_below_the_watermark_moves_it_on(shelf: Shelf, stock_of: StockOf) -> None:
    """A worker that has read from an older point has committed all from there on."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b", "c")
    await _commit(shelf, stock, _START, ids[1], booked=2)
    assert await _commit(shelf, stock, ids[0], ids[2], booked=3) == 1
    assert await _committed(shelf, stock) == StreamId.parse(ids[2])


async def test_a_late_commit_of_old_entries_does_not_move_the_watermark_back(shelf: Shelf, stock_of: StockOf) -> None:
    """A repeat of an older batch leaves watermark and booked where they are."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b")
    await _commit(shelf, stock, _START, ids[1], booked=2)
    assert await _commit(shelf, stock, _START, ids[0], booked=1) == 1
    assert await shelf.gate.progress(stock) == Progress(1, StreamId.parse(ids[1]), 2, frozenset())


async def test_a_commit_of_another_epoch_changes_nothing(shelf: Shelf, stock_of: StockOf) -> None:
    """A worker that has slept through a recovery confirms nothing."""
    stock = await shelf.stand(stock_of(), epoch=2)
    ids = await _win(shelf, stock, "a")
    before = await shelf.gate.progress(stock)
    assert await _commit(shelf, stock, _START, ids[0], booked=1, epoch=1) == 0
    assert await shelf.gate.progress(stock) == before


async def test_a_commit_is_announced_with_what_was_refused(shelf: Shelf, stock_of: StockOf) -> None:
    """Listeners get the line that a reader of the progress would get."""
    stock = await shelf.stand(stock_of())
    ids = await _win(shelf, stock, "a", "b")
    async with shelf.client.pubsub() as pubsub:
        await pubsub.subscribe(stock.keys.progress)
        await pubsub.get_message(timeout=2)
        keys = [stock.keys.progress, stock.keys.refused]
        await shelf.call("grab_confirm", keys, 1, 1, _START, ids[1], ids[0], "CONFLICT")
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=2)
    assert message is not None
    assert Progress.parse(message["data"]) == await shelf.gate.progress(stock)
    assert (await shelf.gate.progress(stock)).refused == {StreamId.parse(ids[0])}


async def test_the_refusals_of_a_commit_are_bounded(shelf: Shelf, stock_of: StockOf) -> None:
    """More than a call may carry are refused, and nothing is changed."""
    stock = await shelf.stand(stock_of())
    before = await shelf.gate.progress(stock)
    pairs = [part for number in range(1001) for part in (f"1-{number}", "CONFLICT")]
    with pytest.raises(redis.ResponseError, match="at most 1000 refused"):
        await shelf.call("grab_confirm", [stock.keys.progress, stock.keys.refused], 1, 5, _START, "1-1000", *pairs)
    assert await shelf.gate.progress(stock) == before
