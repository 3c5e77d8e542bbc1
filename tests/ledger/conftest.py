"""Books for the ledger's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
import redis.asyncio as redis

from grab_service import embedded
from grab_service.campaign import Campaign
from ledger.record import record
from tests.support.books import Books
from tests.support.campaigns import small_campaign
from tests.support.guarded_stores import own_gate, own_vault, passwords
from tests.support.till import HOTPOT, OTHER_SHOP, SHOP, Till, add_merchant, receive_fund

__all__ = ["own_gate", "own_vault", "passwords"]

OpenBooks = Callable[[Campaign], Awaitable[Books]]


@pytest.fixture
def open_books(
    vault: asyncpg.Connection, redis_client: redis.Redis, database_url: str, valkey_server: embedded.Server
) -> OpenBooks:
    """Load a campaign and open it at the gate."""

    async def open_(campaign: Campaign) -> Books:
        books = Books(campaign, vault, redis_client, database_url, valkey_server.url)
        await books.load()
        await books.recover()
        return books

    return open_


@pytest.fixture
async def books(open_books: OpenBooks, campaign_id: str) -> Books:
    """A small campaign, open at the gate; no worker runs."""
    return await open_books(small_campaign(campaign_id))


@pytest.fixture
async def unsealed(open_books: OpenBooks, campaign_id: str) -> Till:
    """Three claims and a fund, and no worker that could seal them."""
    books = await open_books(small_campaign(campaign_id, quantity=8))
    await books.claim("a", "b", "c")
    await record(books.vault, await books.row(), await books.entries())
    await receive_fund(books.vault, campaign_id)
    await add_merchant(books.vault, SHOP)
    return Till(books, books.vault)


@pytest.fixture
async def till(open_books: OpenBooks, campaign_id: str) -> Till:
    """A till of a small campaign whose first three vouchers are claimed, at three approved merchants."""
    books = await open_books(small_campaign(campaign_id))
    await books.sell("a", "b", "c")
    await receive_fund(books.vault, campaign_id)
    await add_merchant(books.vault, SHOP)
    await add_merchant(books.vault, OTHER_SHOP, accepts=["payment_code", "scan"])
    await add_merchant(books.vault, HOTPOT, category="火锅")
    return Till(books, books.vault)


@pytest.fixture
async def more_tills(till: Till) -> AsyncIterator[list[Till]]:
    """Tills of the same campaign, each with a connection of its own."""
    connections = [await asyncpg.connect(till.books.database_url) for _ in range(6)]
    yield [Till(till.books, connection) for connection in connections]
    for connection in connections:
        await connection.close()
