"""The books of one campaign: loaded into a real vault, opened at a real gate, claimed from directly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import redis.asyncio as redis

from grab_service.campaign import Campaign
from grab_service.gate import Answer, Gate
from grab_service.minting import mint
from grab_service.references import UserRefs, VoucherCodes
from grab_service.resources import library_source
from grab_service.stock import Stock
from ledger import catalogue
from ledger.audit import AuditReport, audit
from ledger.catalogue import StockRow
from ledger.recover import RecoveryReport, recover
from ledger.worker import Worker
from tests.support.wait import wait_until

_USERS = UserRefs(b"pepper of the tests, 32 bytes ...")
_CODES = VoucherCodes(b"voucher key of the tests, 32 bytes")


def user_ref(user: str) -> str:
    """Return the reference of a test's user."""
    return _USERS.of(user)


def code_of(stock_id: str, claim_no: int) -> str:
    """Return the code of a voucher."""
    return _CODES.code(stock_id, claim_no)


@dataclass(slots=True)
class Books:
    """A campaign with its vault and gate.

    Attributes:
        campaign: The campaign.
        vault: A connection to the vault.
        client: A client of the gate.
        database_url: Where the vault is, for workers.
        redis_url: Where the gate is, for workers.
    """

    campaign: Campaign
    vault: asyncpg.Connection
    client: redis.Redis
    database_url: str
    redis_url: str

    @property
    def gate(self) -> Gate:
        """The gate."""
        return Gate(self.client)

    @property
    def stocks(self) -> list[Stock]:
        """The campaign's stocks as the gate's side knows them."""
        return list(self.campaign.stocks())

    @property
    def stock(self) -> Stock:
        """The first stock."""
        return self.stocks[0]

    async def load(self) -> None:
        """Load the campaign and mint its vouchers."""
        await catalogue.load_campaign(self.vault, mint(self.campaign, _CODES))

    async def rows(self) -> list[StockRow]:
        """The campaign's stocks as the vault knows them."""
        return await catalogue.stock_rows(self.vault)

    async def row(self) -> StockRow:
        """The first stock as the vault knows it."""
        return (await self.rows())[0]

    async def recover(self, *, from_gate: bool = False) -> RecoveryReport:
        """Run a recovery."""
        return await recover(self.vault, self.client, library_source(), from_gate=from_gate)

    async def audit(self) -> AuditReport:
        """Run an audit."""
        return await audit(self.vault, self.client)

    async def claim(self, *users: str, stock: Stock | None = None) -> list[Answer]:
        """Claim for users, in order."""
        return await self.gate.claim(stock or self.stock, [user_ref(user) for user in users])

    async def letters(self, *users: str, stock: Stock | None = None) -> str:
        """Claim for users and return the letters of the answers."""
        return "".join(answer.letter for answer in await self.claim(*users, stock=stock))

    async def entries(self, stock: Stock | None = None) -> list[tuple[str, dict[str, str]]]:
        """Return the stream of claims."""
        entries: list[tuple[str, dict[str, str]]] = await self.client.xrange((stock or self.stock).keys.claims)  # type: ignore[assignment]  # decoded
        return entries

    async def owners(self) -> dict[int, str]:
        """Return who owns which number of the first stock in the vault."""
        rows = await self.vault.fetch(
            "SELECT claim_no, user_ref FROM claims JOIN stocks USING (stock_no) WHERE stock_id = $1",
            self.stock.stock_id,
        )
        return {row["claim_no"]: row["user_ref"] for row in rows}

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """Run a ledger worker."""
        stop = asyncio.Event()
        worker = Worker(self.database_url, self.redis_url)
        running = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await asyncio.wait_for(running, 10)

    async def wait_booked(self, count: int, stock: Stock | None = None) -> None:
        """Wait until the watermark says that so many claims of a stock are in the vault."""

        async def are_booked() -> bool:
            return (await self.gate.progress(stock or self.stock)).booked == count

        await wait_until(are_booked, f"{count} claims are booked")

    async def sell(self, *users: str) -> Sequence[Answer]:
        """Claim for users and wait until their claims are in the vault."""
        answers = await self.claim(*users)
        async with self.working():
            await self.wait_booked(int(await self.client.hlen(self.stock.keys.holders)))
        return answers
