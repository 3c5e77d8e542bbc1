"""The API's way to the ledger, off the claim path and bounded in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg

from ledger import admin, catalogue, figures, merchants
from ledger.catalogue import CampaignPepper, ClaimRow, StockRow
from ledger.merchants import Page, Search

_ANSWER_S = 2.0  # a statement that takes longer is given up
_CONNECTIONS_MAX = 8
_SEARCHES_MAX = 2  # at once, so that a rush on the list of merchants leaves connections to the rest
_TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class VaultUnavailable(Exception):
    """The ledger's database did not answer in time."""


@dataclass(frozen=True, slots=True)
class Vault:
    """A bounded pool of connections to the ledger."""

    pool: asyncpg.Pool
    _searches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SEARCHES_MAX))

    @classmethod
    async def open(cls, database_url: str) -> Vault:
        """Make the pool; it connects when it is first asked, so a database that is down does no harm here."""
        pool = await asyncpg.create_pool(
            database_url, min_size=0, max_size=_CONNECTIONS_MAX, command_timeout=_ANSWER_S, timeout=_ANSWER_S
        )
        return cls(pool)

    async def close(self) -> None:
        """Close every connection."""
        self.pool.terminate()

    @property
    def busy_connections(self) -> int:
        """How many connections somebody is using."""
        return int(self.pool.get_size() - self.pool.get_idle_size())

    async def campaigns(self) -> tuple[dict[str, dict[str, Any]], list[StockRow], list[CampaignPepper]]:
        """Return the campaigns' documents, the stocks with their epochs, and the peppers of the campaigns."""
        async with self.connection() as connection:
            return (
                await catalogue.documents(connection),
                await catalogue.stock_rows(connection),
                await catalogue.peppers(connection),
            )

    async def two_must_agree(self) -> bool:
        """Whether the vault asks two persons for grave acts."""
        async with self.connection() as connection:
            return await admin.must_agree(connection)

    async def used_vouchers(self) -> int:
        """Return how many vouchers are used."""
        async with self.connection() as connection:
            return await figures.used_vouchers(connection)

    async def claims_of_user(self, user_refs: Iterable[str]) -> list[ClaimRow]:
        """Return every claim of one user, who has a reference under each pepper."""
        async with self.connection() as connection:
            return [row for each in user_refs for row in await catalogue.claims_of_user(connection, each)]

    async def claim_of_user(self, stock_id: str, user_ref: str) -> ClaimRow | None:
        """Return one user's claim of one stock."""
        async with self.connection() as connection:
            return await catalogue.claim_of_user(connection, stock_id, user_ref)

    async def search_merchants(self, wanted: Search) -> Page:
        """Return a page of merchants."""
        try:
            async with asyncio.timeout(_ANSWER_S), self._searches, self.connection() as connection:
                return await merchants.search(connection, wanted)
        except TimeoutError as error:
            raise VaultUnavailable("too many searches at once") from error

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Give a connection for a short task; trouble with it becomes one exception.

        Raises:
            VaultUnavailable: The database did not answer in time, or refused.
        """
        try:
            async with self.pool.acquire(timeout=_ANSWER_S) as connection:
                yield cast("asyncpg.Connection", connection)  # a proxy with the same methods
        except (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            OSError,
            TimeoutError,
        ) as error:
            raise VaultUnavailable(str(error)) from error
