"""The slow duties of the worker: expire what is past its validity, seal rounds that are over, notice what to review.

One worker does it, the one that holds the lock; the others stand by.  Each pass is bounded: a batch
of vouchers a transaction, and nothing is held between passes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import redis.asyncio as redis

from ledger import catalogue, locks
from ledger.corridor import StockKeys
from ledger.expiry import ClosedRound, expire_vouchers, rounds_to_seal, seal_round
from ledger.session import vault_session
from ledger.signals import Thresholds, notice, of_a_day
from ledger.statements import statement
from ledger.stream import gate_client
from ledger.trouble import TROUBLE, Condition, pause

_log = logging.getLogger(__name__)

_PASS_S = 10.0  # between two passes
_REVIEW_S = 60.0  # between two looks for signals
_REVIEW_BACK = timedelta(hours=1)  # what a look sees again, so that nothing is missed between two
_REVIEW_BACK_FIRST = timedelta(days=7)  # nobody may have looked for a while

_TRY_LOCK = statement("try_lock")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A round that is over for good, and how many of its vouchers nobody claimed."""

    campaign_id: str
    round_id: str
    never_claimed: int


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass did.

    Attributes:
        expired: Vouchers that expired.
        sealed: Rounds that were sealed.
        waiting: Rounds that are over, but have claims on their way to the vault.
    """

    expired: int
    sealed: tuple[Sealed, ...]
    waiting: tuple[ClosedRound, ...]


async def look_after(vault: asyncpg.Connection, gate: redis.Redis) -> Pass:
    """Expire and seal what is due; harmless beside another that does the same.

    Raises:
        asyncpg.PostgresError, redis.RedisError, OSError: A store is in trouble; what was done stays done.
    """
    expired = await expire_vouchers(vault)
    sealed: list[Sealed] = []
    waiting: list[ClosedRound] = []
    closed = await rounds_to_seal(vault)
    keys = {stock.stock_id: stock.keys for stock in await catalogue.stock_rows(vault)} if closed else {}
    for round_ in closed:
        if all([await _is_drained(gate, keys[stock_id]) for stock_id in round_.stock_ids]):
            sealed.append(Sealed(round_.campaign_id, round_.round_id, await seal_round(vault, round_.round_no)))
        else:
            waiting.append(round_)
    return Pass(expired, tuple(sealed), tuple(waiting))


async def _is_drained(gate: redis.Redis, keys: StockKeys) -> bool:
    """Whether no entry of a stock's stream is above the watermark; the round is closed, so none will come."""
    newest = await gate.xrevrange(keys.claims, count=1)
    if not newest:
        return True
    committed = await gate.hget(keys.progress, "committed")
    return _instant(str(newest[0][0])) <= _instant(str(committed or "0-0"))


def _instant(stream_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = stream_id.partition("-")
    return int(milliseconds), int(sequence)


class Upkeep:
    """Makes a pass now and then, for as long as it is the one that does.

    Args:
        database_url: The vault.
        redis_url: The gate.
        thresholds: What is still expected, and above which something is noticed.

    Attributes:
        signals: Signals of the last day by kind, as its last pass saw them; empty while another worker does it.
    """

    def __init__(self, database_url: str, redis_url: str, thresholds: Thresholds) -> None:
        self._database_url = database_url
        self._redis_url = redis_url
        self._thresholds = thresholds
        self._review_at_s = 0.0
        self._back = _REVIEW_BACK_FIRST
        self.signals: Mapping[str, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until stopped.  No outage of a store ends it."""
        condition = Condition("expiry and sealing")
        while not stop.is_set():
            try:
                async with vault_session(self._database_url) as vault, gate_client(self._redis_url) as gate:
                    is_mine = await vault.fetchval(_TRY_LOCK, locks.UPKEEP, 0)
                    if is_mine:
                        _report(await look_after(vault, gate))
                        await self._review(vault)
                    self.signals = await of_a_day(vault) if is_mine else {}
                condition.well()
                await pause(stop, _PASS_S)
            except TROUBLE as error:
                self.signals = {}
                await pause(stop, condition.ill(error))

    async def _review(self, vault: asyncpg.Connection) -> None:
        if time.monotonic() < self._review_at_s:
            return
        new = await notice(vault, self._thresholds, back=self._back)
        self._back = _REVIEW_BACK
        self._review_at_s = time.monotonic() + _REVIEW_S
        if new:
            _log.warning("%d new signals for review: see 'grab review list'", new)


def _report(done: Pass) -> None:
    if done.expired:
        _log.info("%d vouchers expired; their money is in the pool again", done.expired)
    for each in done.sealed:
        _log.info("%s %s is sealed: %d vouchers never claimed", each.campaign_id, each.round_id, each.never_claimed)
