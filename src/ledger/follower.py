"""Follows one stock's stream of claims into the vault.

For each batch: commit, then a call of the gate that moves the watermark over its entries.  The
stock's advisory lock is held on the very connection that also writes, so that the right and the
ability to write end together.  Whatever goes wrong, the answer is the same: drop both connections
and begin anew behind the watermark.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field

import asyncpg
from prometheus_client import Histogram

from ledger import catalogue, locks
from ledger.catalogue import StockRow
from ledger.corridor import StockKeys
from ledger.record import FENCED, Batch, Recorded, record, record_batch
from ledger.session import vault_session
from ledger.statements import statement
from ledger.stream import BATCH_MAX, ClaimsStream, PassedOver, gate_client
from ledger.trouble import TROUBLE, Condition, pause

_log = logging.getLogger(__name__)


_BATCH_BOUNDS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

_PACE_S = 0.010  # from the beginning of one batch to that of the next, if there is always more

_TRY_LOCK = statement("try_lock")
_COUNT_CLAIMS = statement("count_claims")


def _durations() -> Histogram:
    return Histogram("ledger_batch_duration_seconds", "Of a batch.", registry=None, buckets=_BATCH_BOUNDS_S)


@dataclass(slots=True)
class Tally:
    """What a worker has done since it started.

    Attributes:
        batches: Batches committed.
        recorded: Claims that were new to the vault.
        replayed: Entries that it had already.
        refused: Entries that it refused.
        last_commit_s: When the last batch was committed, Unix seconds; 0 before the first.
        reasons: Entries that it refused, by reason.
        durations: How long batches took, from the read to the acknowledgement.
    """

    batches: int = 0
    recorded: int = 0
    replayed: int = 0
    refused: int = 0
    last_commit_s: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    durations: Histogram = field(default_factory=_durations)

    def add(self, done: Recorded) -> None:
        """Count one batch."""
        self.batches += 1
        self.recorded += done.recorded
        self.replayed += done.replayed
        self.refused += len(done.refused)
        self.reasons.update(each.reason for each in done.refused)
        self.last_commit_s = time.time()


class _GateMovedOn(Exception):
    """The gate is under another epoch than the stock's row that was read, or is being rebuilt for one."""


class Follower:
    """Records the claims of one stock for as long as it gets the stock's lock.

    Args:
        stock_id: The stock.
        stock_no: Its number.
        database_url: The vault.
        redis_url: The gate.
        tally: Where to count.

    Attributes:
        keys: Of the stock at the gate, once the stock is this worker's own.
    """

    def __init__(self, stock_id: str, stock_no: int, database_url: str, redis_url: str, tally: Tally) -> None:
        self._stock_id = stock_id
        self._stock_no = stock_no
        self._database_url = database_url
        self._redis_url = redis_url
        self._tally = tally
        self._condition = Condition(stock_id)
        self.stop = asyncio.Event()
        self.keys: StockKeys | None = None

    async def run(self) -> None:
        """Work until stopped, or until another worker has the stock; the batch in hand is finished."""
        while not self.stop.is_set():
            try:
                async with vault_session(self._database_url) as vault:
                    if not await vault.fetchval(_TRY_LOCK, locks.STOCK, self._stock_no):
                        return
                    async with gate_client(self._redis_url) as gate:
                        stock = await self._stock(vault)
                        self.keys = stock.keys
                        while not self.stop.is_set():
                            stock = await self._follow(vault, ClaimsStream(gate, stock.keys), stock)
            except (*TROUBLE, _GateMovedOn, PassedOver) as error:
                await pause(self.stop, self._condition.ill(error))

    async def _stock(self, vault: asyncpg.Connection) -> StockRow:
        return next(row for row in await catalogue.stock_rows(vault) if row.stock_no == self._stock_no)

    async def _follow(self, vault: asyncpg.Connection, stream: ClaimsStream, stock: StockRow) -> StockRow:
        """Record what comes until stopped or the epoch changes; return the stock as it is then."""
        booked, after = await self._refill(vault, stream, stock)
        loop = asyncio.get_running_loop()
        batch = await _read(stream, after)
        while not self.stop.is_set():
            if batch.fields_of:
                began_s = loop.time()
                read_after, after = after, batch.last_id
                is_behind = len(batch.fields_of) == BATCH_MAX
                # What comes next is read while the vault is busy, if it is certain that there is more.
                ahead = loop.create_task(_read(stream, after, waits=False)) if is_behind else None
                try:
                    with self._tally.durations.time():
                        booked = await self._record(vault, stream, stock, read_after, batch, booked)
                finally:
                    if ahead is not None:
                        batch = await ahead
                if ahead is None:
                    # Fewer and larger batches cost both stores less, and a winner hardly more waiting.
                    await asyncio.sleep(max(0.0, _PACE_S - (loop.time() - began_s)))
                    batch = await _read(stream, after)
            else:
                now = await self._stock(vault)
                if now.epoch != stock.epoch:
                    return now
                batch = await _read(stream, after)
            self._condition.well()
        return stock

    async def _refill(self, vault: asyncpg.Connection, stream: ClaimsStream, stock: StockRow) -> tuple[int, str]:
        """Record again what a vault that was restored to an older point has lost.

        The stream still has it: nothing is trimmed before the round is sealed.

        Returns:
            Rows of the stock in the vault, and the watermark: everything up to it is recorded.
        """
        booked: int = await vault.fetchval(_COUNT_CLAIMS, stock.stock_no)
        gate_epoch, committed, told = await stream.progress()
        if gate_epoch > stock.epoch:
            # Not FENCED by mistake: these may be claims whose winners were told yes.
            raise _GateMovedOn(
                f"the gate is at epoch {gate_epoch}, the vault at {stock.epoch}: was the vault restored?"
            )
        if gate_epoch == stock.epoch and booked < told:
            _log.critical("%s: the vault has %d claims of %d that it had committed", self._stock_id, booked, told)
            async for entries in stream.from_the_beginning():
                booked += (await record(vault, stock, entries)).recorded
            _log.critical("%s: the vault has %d claims again", self._stock_id, booked)
        return booked, committed

    async def _record(  # noqa: PLR0917  what was read, where, and what it is recorded by
        self,
        vault: asyncpg.Connection,
        stream: ClaimsStream,
        stock: StockRow,
        after: str,
        batch: Batch,
        booked: int,
    ) -> int:
        done = await record_batch(vault, stock, batch)
        self._tally.add(done)
        self._report(done)
        booked += done.recorded
        refused = [(each.stream_id, each.reason) for each in done.refused]
        if not await stream.commit(stock.epoch, booked, after, batch.last_id, refused):
            raise _GateMovedOn(f"the gate is not under epoch {stock.epoch}")
        if any(reason != FENCED for _, reason in refused):
            # Gate and vault disagree: no more is handed out until the gate has been rebuilt from the vault.
            await stream.close()
            _log.critical("%s: closed, because the vault refused an entry: run 'grab recover'", self._stock_id)
        return booked

    def _report(self, done: Recorded) -> None:
        """Log refusals by reason with the first of each, so that a thousand of them are not a thousand lines."""
        first = {each.reason: each for each in reversed(done.refused)}
        for reason, count in Counter(each.reason for each in done.refused).items():
            _log.log(
                logging.WARNING if reason == FENCED else logging.ERROR,
                "%s: %d entries refused as %s, the first is %s: %s",
                self._stock_id,
                count,
                reason,
                first[reason].stream_id,
                first[reason].detail,
            )


async def _read(stream: ClaimsStream, after: str, *, waits: bool = True) -> Batch:
    """Read and sort out what follows upon an id."""
    return Batch.of(await stream.read(after, waits=waits))
