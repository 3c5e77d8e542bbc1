"""What recovery checks before it believes a gate, a lock or an epoch; each check on its own."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
import redis.asyncio as redis

from grab_service.gate import Gate
from grab_service.resources import library_source
from grab_service.stock import Stock
from ledger import recover
from ledger.catalogue import StockRow
from ledger.rebuild import Rebuilt, RecoveryFailed, open_stock
from tests.lua.conftest import Shelf, make_stock
from tests.support.books import Books


@pytest.fixture
async def shelf(redis_client: redis.Redis) -> Shelf:
    """A shelf on this process's gate, with the library loaded."""
    if not await redis_client.function_list(library="grab"):
        await redis_client.function_load(library_source())
    return Shelf(redis_client, Gate(redis_client))


def row_of(stock: Stock, epoch: int = 1) -> StockRow:
    """Return a stock as the vault would know it."""
    return StockRow(
        stock_no=1,
        stock_id=stock.stock_id,
        campaign_id=stock.campaign_id,
        round_no=1,
        round_id=stock.round_id,
        class_code=stock.class_code,
        tier=stock.tier,
        name=stock.name,
        threshold_fen=stock.threshold_fen,
        discount_fen=stock.discount_fen,
        quantity=stock.quantity,
        available_until=stock.available_until,
        opens_at=stock.opens_at,
        closes_at=stock.closes_at,
        gate_tag=stock.gate_tag,
        round_limit=0,
        class_tier_limit=0,
        limit_no=1,
        paused=False,
        epoch=epoch,
        gate_run_id=None,
    )


async def put_and_open(shelf: Shelf, stock: Stock, free: str, holding: str, *, epoch: int = 1) -> None:
    """Put free numbers and one holder into the gate under epoch 1, and open."""
    await shelf.rebuild(stock, free=free, holders={"a": holding})
    await open_stock(shelf.client, Rebuilt(row_of(stock, epoch), held=1, latest_ms=1), 0)


async def test_a_whole_stock_is_opened(shelf: Shelf, campaign_id: str) -> None:
    """Free and held numbers are 1..quantity, each once."""
    stock = make_stock(campaign_id)
    await put_and_open(shelf, stock, "1 2 4 5", "3:1:1-1")
    assert await shelf.letters(stock, "a", "b") == "HW"


async def test_a_stock_with_a_number_twice_and_another_missing_is_not_opened(shelf: Shelf, campaign_id: str) -> None:
    """The count is right and the numbers are not: two users would get the same voucher."""
    stock = make_stock(campaign_id)
    with pytest.raises(RecoveryFailed, match="number 4 is missing"):
        await put_and_open(shelf, stock, "1 3 5 5", "5:1:1-1")
    assert await shelf.letters(stock, "b") == "C"


async def test_a_stock_with_a_number_too_many_is_not_opened(shelf: Shelf, campaign_id: str) -> None:
    """Every number is there, and one of them twice."""
    stock = make_stock(campaign_id)
    with pytest.raises(RecoveryFailed, match="free and held numbers are not 5"):
        await put_and_open(shelf, stock, "1 5", "5:1:1-1")
    assert await shelf.letters(stock, "b") == "C"


async def test_a_recovery_that_was_overtaken_says_so(shelf: Shelf, campaign_id: str) -> None:
    """The gate refuses what another epoch than its own asks for, and that ends the recovery."""
    stock = make_stock(campaign_id)
    with pytest.raises(RecoveryFailed, match="a newer recovery is at work"):
        await put_and_open(shelf, stock, "1 4", "5:1:1-1", epoch=2)
    assert await shelf.letters(stock, "b") == "C"


class KeepsItsMemory(redis.Redis):
    """A client of a server that keeps a library's memory when the library is loaded again."""

    async def function_load(self, code: str, replace: bool | None = False) -> Any:
        """Load nothing."""
        del code, replace
        return "grab"


async def test_a_server_that_keeps_a_librarys_memory_is_not_opened(shelf: Shelf) -> None:
    """The nonce is still there after the reload, so an open fuse might be too."""
    keeps = KeepsItsMemory(connection_pool=shelf.client.connection_pool)
    with pytest.raises(RecoveryFailed, match="keeps a library's memory"):
        await recover._close_all(keeps, library_source())


async def test_a_server_that_forgets_a_librarys_memory_is_believed(shelf: Shelf) -> None:
    """The nonce is gone after the reload, and every stock is closed."""
    await recover._close_all(shelf.client, library_source())


async def test_a_recovery_waits_for_the_one_that_is_at_work(
    vault: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for so long and then says what it waits for; afterwards the way is free."""
    monkeypatch.setattr("ledger.recover._LOCK_WAIT_S", 0.2)
    other = await asyncpg.connect(database_url)
    async with recover._alone(vault):
        with pytest.raises(RecoveryFailed, match="another recovery has been running"):
            async with recover._alone(other):
                pass
    async with recover._alone(other):
        pass
    await other.close()


async def test_an_epoch_is_raised_from_the_one_that_was_read(books: Books) -> None:
    """A recovery that was overtaken between reading and raising ends, and the newer epoch stands."""
    stocks = await books.rows()
    await books.vault.execute("UPDATE rounds SET epoch = epoch + 1")
    with pytest.raises(RecoveryFailed, match="another recovery has raised the epoch"):
        await recover._raise_epochs(books.vault, books.client, stocks, "a server", None)
    assert (await books.row()).epoch == stocks[0].epoch + 1
