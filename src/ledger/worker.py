"""The ledger worker: shares the stocks with the other workers and follows those that are its own.

Each stock has one active worker, the one that holds the stock's advisory lock.  Any number of
workers may run: they count each other by a shared lock, each takes its even part of the stocks, and
the others take over when one goes.  One of them also watches the invariants.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import asyncpg

from ledger import catalogue, locks
from ledger.catalogue import StockRow
from ledger.corridor import StockKeys
from ledger.follower import Follower, Tally
from ledger.money_watch import MoneyWatch
from ledger.seal import Sealer
from ledger.session import vault_session
from ledger.signals import Thresholds
from ledger.statements import statement
from ledger.trouble import TROUBLE, Condition, pause
from ledger.upkeep import Upkeep
from ledger.watch import Watch

_LOOK_S = 0.5  # how often a worker looks for new stocks, for free ones and for other workers

_LOCK_SHARED = statement("lock_shared")
_COUNT_WORKERS = statement("count_workers")
_SELECT_LOCKED = statement("select_locked_stocks")


class Worker:
    """Records the claims of its share of the stocks.

    Args:
        database_url: The vault.
        redis_url: The gate.
        thresholds: Above which something is noticed for review; None for the usual ones.

    Attributes:
        tally: What it has done.
    """

    def __init__(self, database_url: str, redis_url: str, thresholds: Thresholds | None = None) -> None:
        self._database_url = database_url
        self._redis_url = redis_url
        self._upkeep = Upkeep(database_url, redis_url, thresholds or Thresholds())
        self._followers: dict[str, Follower] = {}
        self.tally = Tally()

    @property
    def stock_ids(self) -> frozenset[str]:
        """The stocks it follows now."""
        return frozenset(self._followers)

    @property
    def keys(self) -> Mapping[str, StockKeys]:
        """The keys of these stocks at the gate."""
        return {name: each.keys for name, each in self._followers.items() if each.keys is not None}

    @property
    def signals(self) -> Mapping[str, int]:
        """Signals for review of the last day by kind; empty while another worker looks for them."""
        return self._upkeep.signals

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; the batches in hand are finished.  No outage of a store ends it.

        Raises:
            ExceptionGroup: A mistake of this program.
        """
        async with asyncio.TaskGroup() as tasks:
            money = MoneyWatch(self._database_url)
            tasks.create_task(Watch(self._database_url, self._redis_url, money).run(stop), name="watch")
            tasks.create_task(money.run(stop), name="watch over the money")
            tasks.create_task(self._upkeep.run(stop), name="upkeep")
            tasks.create_task(Sealer(self._database_url).run(stop), name="sealer")
            try:
                await self._share(tasks, stop)
            finally:
                # When cancelled too: the Redis client can swallow a cancellation that meets the end of a read.
                self._let_go(keep=0)

    async def _share(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        condition = Condition("the worker")
        while not stop.is_set():
            try:
                async with vault_session(self._database_url) as vault:
                    await vault.fetchval(_LOCK_SHARED, locks.WORKER, 0)
                    while not stop.is_set():
                        await self._balance(tasks, vault)
                        condition.well()
                        await pause(stop, _LOOK_S)
            except TROUBLE as error:
                await pause(stop, condition.ill(error))

    async def _balance(self, tasks: asyncio.TaskGroup, vault: asyncpg.Connection) -> None:
        """Hold as many stocks as there are for each worker: let some go, or follow free ones."""
        stocks = await catalogue.stock_rows(vault)
        workers = await vault.fetchval(_COUNT_WORKERS, locks.WORKER)
        locked = {row["stock_no"] for row in await vault.fetch(_SELECT_LOCKED, locks.STOCK)}
        free = [stock for stock in stocks if stock.stock_no not in locked and stock.stock_id not in self._followers]
        share = -(-len(stocks) // max(1, workers))
        self._let_go(keep=share)
        for stock in free[: max(0, share - len(self._followers))]:
            self._follow(tasks, stock)

    def _follow(self, tasks: asyncio.TaskGroup, stock: StockRow) -> None:
        follower = Follower(stock.stock_id, stock.stock_no, self._database_url, self._redis_url, self.tally)
        self._followers[stock.stock_id] = follower
        following = tasks.create_task(follower.run(), name=f"follow {stock.stock_id}")
        following.add_done_callback(lambda _: self._followers.pop(stock.stock_id))

    def _let_go(self, keep: int) -> None:
        for follower in list(self._followers.values())[keep:]:
            follower.stop.set()
