"""The ledger worker: moves claims from the gate's streams into the vault.

Each stock has one active worker, the one that holds the stock's advisory lock on the very
connection that also writes, so that the lock and the ability to write end together.  Any number of
workers may run: they share the stocks evenly, and take over when one goes.

For each batch: commit, then one call that acknowledges the entries and moves the watermark.  All
workers read under one consumer name, so what a dead one has read and not acknowledged is simply
read first by the next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ledger import catalogue, locks
from ledger.catalogue import StockRow
from ledger.record import FENCED, RawEntry, Recorded, record
from ledger.statements import statement

_log = logging.getLogger(__name__)

GROUP = CONSUMER = "ledger"
BATCH_MAX = 1000  # entries; the gate's grab_commit takes no more
_BLOCK_MS = 500  # how long a read waits for entries, and so how soon a stop or a new epoch is noticed
_STORE_TIMEOUT_S = 10.0
_STATEMENT_TIMEOUT_MS = 10_000
_LOCK_TIMEOUT_MS = 5_000
_IDLE_TIMEOUT_MS = 15_000  # in a transaction: a hung worker must not hold up a recovery for ever
_SHARE_S = 0.5  # how often workers look whether their share has changed
_RETRY_S = (0.1, 2.0)  # pause after a failure: first, longest
_WELL_AFTER_S = 5.0  # work that went well for so long makes the next failure a new one

_TRY_LOCK = statement("try_lock")
_LOCK_SHARED = statement("lock_shared")
_COUNT_WORKERS = statement("count_workers")
_SELECT_LOCKED = statement("select_locked_stocks")
_COUNT_CLAIMS = statement("count_claims")

_TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, redis.RedisError, OSError, TimeoutError)


@dataclass(slots=True)
class Tally:
    """What this worker has done since it started."""

    batches: int = 0
    recorded: int = 0
    replayed: int = 0
    refused: int = 0
    last_commit_s: float = 0.0

    def add(self, done: Recorded) -> None:
        """Count one batch."""
        self.batches += 1
        self.recorded += done.recorded
        self.replayed += done.replayed
        self.refused += len(done.refused)
        self.last_commit_s = time.time()


class _Overtaken(Exception):
    """A recovery has raised the epoch: the stock's row must be read again."""


class Worker:
    """Records the claims of as many stocks as are its share.

    Args:
        database_url: The vault.
        redis_url: The gate.
    """

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._database_url = database_url
        self._redis_url = redis_url
        self._tasks: dict[str, _StockTask] = {}
        self.tally = Tally()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; the batch in hand is finished.  No outage ends it."""
        try:
            await _until_stopped(stop, "the ledger's database", self._share)
        finally:
            for task in self._tasks.values():
                task.stop.set()
            await asyncio.gather(*(task.running for task in self._tasks.values()), return_exceptions=True)
            self._tasks.clear()

    async def _share(self, stop: asyncio.Event) -> None:
        """Hold as many stocks as there are for each worker, and look again every moment."""
        connection = await self._connect()
        try:
            await connection.fetchval(_LOCK_SHARED, locks.WORKER, 0)
            while not stop.is_set():
                stocks = await catalogue.stock_rows(connection)
                workers = max(1, await connection.fetchval(_COUNT_WORKERS, locks.WORKER))
                locked = {row["stock_no"] for row in await connection.fetch(_SELECT_LOCKED, locks.STOCK)}
                free = [stock for stock in stocks if stock.stock_no not in locked]
                await self._balance(free, share=-(-len(stocks) // workers))
                await _sleep(stop, _SHARE_S)
        finally:
            connection.terminate()

    async def _balance(self, free: Sequence[StockRow], share: int) -> None:
        self._tasks = {stock_id: task for stock_id, task in self._tasks.items() if not task.running.done()}
        for task in list(self._tasks.values())[share:]:
            task.stop.set()
        for stock in free[: max(0, share - len(self._tasks))]:
            connection = await self._lock(stock)
            if connection is not None:
                self._tasks[stock.stock_id] = _StockTask(stock, connection, self._redis_url, self.tally)

    async def _lock(self, stock: StockRow) -> asyncpg.Connection | None:
        connection = await self._connect()
        if await connection.fetchval(_TRY_LOCK, locks.STOCK, stock.stock_no):
            return connection
        connection.terminate()
        return None

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._database_url,
            timeout=_STORE_TIMEOUT_S,
            command_timeout=_STORE_TIMEOUT_S,
            server_settings={
                "application_name": "grab-ledger",
                "statement_timeout": str(_STATEMENT_TIMEOUT_MS),
                "lock_timeout": str(_LOCK_TIMEOUT_MS),
                "idle_in_transaction_session_timeout": str(_IDLE_TIMEOUT_MS),
            },
        )


class _StockTask:
    """Records the claims of one stock over one connection, which holds the stock's lock."""

    def __init__(self, stock: StockRow, connection: asyncpg.Connection, redis_url: str, tally: Tally) -> None:
        self._stock = stock
        self._connection = connection
        self._tally = tally
        self._booked = 0
        self._gate = redis.Redis.from_url(
            redis_url,
            decode_responses=True,
            socket_timeout=_STORE_TIMEOUT_S,
            socket_connect_timeout=_STORE_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self.stop = asyncio.Event()
        self.running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        _log.info("%s: recording", self._stock.stock_id)
        try:
            await _until_stopped(self.stop, f"{self._stock.stock_id}: the gate", self._follow, self._lost_lock)
        except _TROUBLE as error:
            # The lock went with the connection: whoever gets it next goes on.
            _log.warning("%s: lost the ledger's database: %s", self._stock.stock_id, error)
        finally:
            await self._gate.aclose()
            self._connection.terminate()
            _log.info("%s: no longer recording", self._stock.stock_id)

    def _lost_lock(self) -> bool:
        return self._connection.is_closed()

    async def _follow(self, stop: asyncio.Event) -> None:
        """Read and record until stopped: first what a predecessor left unacknowledged, then what comes."""
        await self._refresh()
        cursor = "0"
        while not stop.is_set():
            entries = await _unless_stopped(stop, self._read(cursor))
            if entries:
                try:
                    await self._record(entries)
                except _Overtaken:
                    await self._refresh()
                    cursor = "0"
                    await _sleep(stop, _RETRY_S[0])
            elif cursor == "0":
                cursor = ">"
            else:
                await self._refresh()

    async def _read(self, cursor: str) -> list[RawEntry]:
        claims = self._stock.keys.claims
        try:
            streams: Any = await self._gate.xreadgroup(
                GROUP, CONSUMER, {claims: cursor}, count=BATCH_MAX, block=None if cursor == "0" else _BLOCK_MS
            )
        except redis.ResponseError as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            # Never '$': entries that are there already must not be passed over.  Recording them again is harmless.
            await self._create_group(claims)
            return []
        return [(stream_id, fields or {}) for _, entries in _streams(streams) for stream_id, fields in entries]

    async def _create_group(self, claims: str) -> None:
        if not await self._gate.exists(claims):
            await _sleep(self.stop, _BLOCK_MS / 1000)  # the stock has never been opened
            return
        try:
            await self._gate.xgroup_create(claims, GROUP, "0")
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # a recovery was faster
                raise
        else:
            _log.warning("%s: the consumer group was gone, reading the stream anew", self._stock.stock_id)

    async def _record(self, entries: Sequence[RawEntry]) -> None:
        done = await record(self._connection, self._stock, entries)
        self._tally.add(done)
        self._booked += done.recorded
        for refused in done.refused:
            _log.log(
                logging.WARNING if refused.reason == FENCED else logging.ERROR,
                "%s: entry %s refused, %s: %s",
                self._stock.stock_id,
                refused.stream_id,
                refused.reason,
                refused.detail,
            )
        await self._commit([stream_id for stream_id, _ in entries], done)

    async def _commit(self, stream_ids: Sequence[str], done: Recorded) -> None:
        keys = self._stock.keys
        refused = [part for each in done.refused for part in (each.stream_id, each.reason)]
        is_current = await self._gate.fcall(
            "grab_commit",
            3,
            keys.claims,
            keys.progress,
            keys.refused,
            str(self._stock.epoch),
            str(self._booked),
            str(len(stream_ids)),
            *stream_ids,
            *refused,
        )
        if not is_current:
            raise _Overtaken

    async def _refresh(self) -> None:
        rows = await catalogue.stock_rows(self._connection)
        stock = next((row for row in rows if row.stock_id == self._stock.stock_id), self._stock)
        if stock.epoch != self._stock.epoch or not self._booked:
            self._booked = await self._connection.fetchval(_COUNT_CLAIMS, stock.stock_no)
        self._stock = stock


def _streams(reply: Any) -> Sequence[tuple[str, Sequence[RawEntry]]]:
    """Bring both shapes of an XREADGROUP reply (RESP2 list, RESP3 map) into one."""
    if not reply:
        return []
    if isinstance(reply, dict):
        return [(name, chunk) for name, chunks in reply.items() for chunk in chunks]
    return list(reply)


async def _until_stopped(
    stop: asyncio.Event,
    what: str,
    work: Callable[[asyncio.Event], Awaitable[None]],
    give_up: Callable[[], bool] = lambda: False,
) -> None:
    """Do ``work`` until stopped, beginning anew after trouble, which is logged once while it lasts."""
    loop = asyncio.get_running_loop()
    pause_s = 0.0
    while not stop.is_set():
        began_s = loop.time()
        try:
            await work(stop)
        except _TROUBLE as error:
            if give_up():
                raise
            if pause_s == 0.0 or loop.time() - began_s > _WELL_AFTER_S:
                _log.warning("trouble with %s, trying again: %s", what, error)
                pause_s = _RETRY_S[0]
            await _sleep(stop, pause_s)
            pause_s = min(2 * pause_s, _RETRY_S[1])


async def _unless_stopped(stop: asyncio.Event, read: Coroutine[Any, Any, list[RawEntry]]) -> list[RawEntry]:
    """Return what is read, or nothing as soon as stopped: entries that were given out meanwhile are read anew."""
    reading = asyncio.ensure_future(read)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
        return await reading if reading.done() else []
    finally:
        reading.cancel()
        stopping.cancel()
        await asyncio.wait((reading, stopping))


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but wake at once when stopped."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
