"""Books for the ledger's tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg
import pytest
import redis.asyncio as redis

from grab_service import embedded
from grab_service.campaign import Campaign
from tests.support.books import Books
from tests.support.campaigns import small_campaign

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
