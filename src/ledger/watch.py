"""The watch: one of the workers evaluates the cheap invariants all the time, and stops what violates one.

What it finds is told at the gate, where every API process reads it for its health and its metrics.  A
violated invariant closes its stock, or every stock when it is one of the whole.  Only a recovery opens
again, and a recovery refuses while a setting or a guard is wrong: so nothing flaps.

It also ends the pauses that end by themselves, and lets the gate's pauses follow the vault's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg
import redis.asyncio as redis

from ledger import catalogue, locks, pauses
from ledger.catalogue import StockRow
from ledger.corridor import DIFFERENCE, WATCH
from ledger.finding import Finding, Where
from ledger.gate_settings import wrong_settings
from ledger.guards import missing_guards
from ledger.money_watch import INVARIANTS, MoneyWatch
from ledger.session import vault_session
from ledger.statements import statement
from ledger.stream import gate_client
from ledger.trouble import TROUBLE, Condition, pause

_log = logging.getLogger(__name__)

_LOOK_S = 1.0  # between two looks
_LOOK_MAX_S = 3.0  # the same when looks take long: what one has told lasts until the next
_REST = 3  # times what a look took, which counts every claim: a quarter of the time at most
_TOLD_FOR_MS = 10_000
_STUCK_AFTER_LOOKS = 60
_OK = "ok"

NAMES = ("I-1", "I-2", "I-3", "I-9", "I-13", "I-14", "I-14n", "I-15", "settings")
DIFFERENCES = {"I-1": "oversold", "I-14": "owners", "I-14n": "numbers"}  # by invariant: what is counted twice
# A ledger that lags keeps winners waiting and takes nothing from anybody; nor does what is wrong with the money.
_DOES_NOT_CLOSE = frozenset({"I-9", *INVARIANTS})

_TRY_LOCK = statement("try_lock")
_COUNT_CLAIMS = statement("count_claims_by_stock")


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look saw.

    Attributes:
        stocks: Every stock.
        closed: Ids of those that are closed at the gate: nothing can be said of them.
        found: What is wrong.
        unlike: Ids of those that are paused in one of the stores only.
    """

    stocks: Sequence[StockRow]
    closed: frozenset[str]
    found: Sequence[Finding]
    unlike: frozenset[str]


@dataclass(slots=True)
class _Memory:
    """What the look before this one saw of a stock."""

    epoch: int = 0
    booked: int = 0
    behind_looks: int = 0


@dataclass(frozen=True, slots=True)
class _Counts:
    is_open: bool
    epoch: int
    is_paused: bool
    free: int
    held: int
    booked: int


@dataclass(slots=True)
class Look:
    """Looks at all stocks, once or again and again; what needs two looks is judged at the second."""

    _memory: dict[str, _Memory] = field(default_factory=dict)

    async def take(self, vault: asyncpg.Connection, gate: redis.Redis) -> Sight:
        """Return what is wrong now.

        Raises:
            asyncpg.PostgresError, redis.RedisError, OSError: A store is in trouble.
        """
        found = [
            Finding(invariant, None, f"the vault lacks {', '.join(guards)}")
            for invariant, guards in (await missing_guards(vault)).items()
        ]
        found += (Finding("settings", None, str(wrong)) for wrong in await wrong_settings(gate))
        # The vault first: whatever it has then, the gate must have afterwards.
        stocks = await catalogue.stock_rows(vault)
        claimed = {row["stock_no"]: row["claimed"] for row in await vault.fetch(_COUNT_CLAIMS)}
        counts = await _counts(gate, stocks)
        epochs = {stock.stock_no: stock.epoch for stock in await catalogue.stock_rows(vault)}
        for stock, count in zip(stocks, counts, strict=True):
            in_vault = claimed.get(stock.stock_no, 0)
            if in_vault > stock.quantity:
                too_many = in_vault - stock.quantity
                found.append(Finding("I-1", stock.stock_id, f"{in_vault} claims of {stock.quantity}", too_many))
            if count.is_open and epochs[stock.stock_no] == stock.epoch:
                found += self._judge(stock, count, in_vault)
        closed = frozenset(stock.stock_id for stock, count in zip(stocks, counts, strict=True) if not count.is_open)
        unlike = frozenset(
            stock.stock_id
            for stock, count in zip(stocks, counts, strict=True)
            if count.is_open and count.is_paused != stock.paused
        )
        return Sight(stocks, closed, found, unlike)

    def _judge(self, stock: StockRow, count: _Counts, in_vault: int) -> Iterable[Finding]:
        before = self._memory.get(stock.stock_id)
        if before is None or before.epoch != count.epoch:
            before = _Memory(count.epoch)
        is_behind = count.held > count.booked and count.booked == before.booked
        behind_looks = before.behind_looks + 1 if is_behind else 0
        self._memory[stock.stock_id] = _Memory(count.epoch, count.booked, behind_looks)
        if count.epoch != stock.epoch:
            yield Finding("I-13", stock.stock_id, f"open under epoch {count.epoch}, the vault is at {stock.epoch}")
            return
        if off := count.free + count.held - stock.quantity:
            what = f"{count.free} free and {count.held} held of {stock.quantity}"
            yield Finding("I-14n", stock.stock_id, what, abs(off))
        if in_vault > count.held:
            what = f"{in_vault} owners in the vault, {count.held} holders at the gate"
            yield Finding("I-14", stock.stock_id, what, in_vault - count.held)
        if before.booked > in_vault:
            what = f"{before.booked} claims were booked, the vault has {in_vault}"
            yield Finding("I-14", stock.stock_id, what, before.booked - in_vault)
        if behind_looks >= _STUCK_AFTER_LOOKS:
            waiting = count.held - count.booked
            yield Finding("I-9", stock.stock_id, f"{waiting} claims wait for the ledger, and none gets there")


class Watch:
    """Looks every second, for as long as it is the one watch.

    Args:
        database_url: The vault.
        redis_url: The gate.
        money: Who looks after the money beside it; its findings are told with those of this one.
    """

    def __init__(self, database_url: str, redis_url: str, money: MoneyWatch | None = None) -> None:
        self._database_url = database_url
        self._redis_url = redis_url
        self._money = money or MoneyWatch(database_url)
        self._suspected: frozenset[Where] = frozenset()
        self._standing: dict[Where, Finding] = {}
        self._unlike: frozenset[str] = frozenset()

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until stopped; stand by while another process does it.  No outage of a store ends it."""
        condition = Condition("the watch")
        while not stop.is_set():
            try:
                async with vault_session(self._database_url) as vault, gate_client(self._redis_url) as gate:
                    while not await vault.fetchval(_TRY_LOCK, locks.WATCH, 0) and not stop.is_set():
                        await pause(stop, _LOOK_S)
                    look = Look()
                    self._money.is_wanted = True
                    while not stop.is_set():
                        began_s = time.monotonic()
                        for stock_id in await pauses.end_those_over(vault):
                            _log.warning("%s is handed out again: the minute of one person is over", stock_id)
                        await self._act(gate, await look.take(vault, gate))
                        condition.well()
                        rest_s = _REST * (time.monotonic() - began_s)
                        await pause(stop, min(_LOOK_MAX_S, max(_LOOK_S, rest_s)))
            except TROUBLE as error:
                self._money.is_wanted = False
                await pause(stop, condition.ill(error))

    async def _act(self, gate: redis.Redis, sight: Sight) -> None:
        """Tell, and close what two looks in a row have found: a recovery may have come between one look's reads."""
        # What closed a stock stands until the stock is open again.
        standing = {where: finding for where, finding in self._standing.items() if finding.stock_id in sight.closed}
        found = [*sight.found, *(self._money.found or ())]
        certain = {finding.where: finding for finding in found if finding.where in self._suspected}
        self._suspected = frozenset(finding.where for finding in found)
        for where, finding in certain.items():
            if where not in self._standing:
                _log.critical("%s is violated: %s: %s", finding.invariant, finding.stock_id or "all", finding.sentence)
            if finding.invariant not in _DOES_NOT_CLOSE:
                for stock in sight.stocks:
                    if finding.stock_id in (None, stock.stock_id):
                        await gate.fcall("grab_close", 1, stock.keys.rules)
        self._standing = standing | certain
        await self._let_pauses_follow(gate, sight)
        names = NAMES if self._money.found is None else (*NAMES, *INVARIANTS)
        told = {**_verdicts(names, self._standing.values()), **_differences(self._standing.values())}
        pairs = [part for pair in told.items() for part in pair]
        await gate.fcall("grab_tell", 1, WATCH, str(_TOLD_FOR_MS), *pairs)

    async def _let_pauses_follow(self, gate: redis.Redis, sight: Sight) -> None:
        """Pause and resume at the gate what two looks in a row have found decided otherwise in the vault."""
        for stock in sight.stocks:
            if stock.stock_id in self._unlike & sight.unlike:
                await gate.fcall("grab_pause", 1, stock.keys.rules, "1" if stock.paused else "0")
        self._unlike = sight.unlike


def _verdicts(names: Iterable[str], found: Iterable[Finding]) -> Mapping[str, str]:
    verdicts = dict.fromkeys(names, _OK)
    for finding in found:
        sentence = f"{finding.stock_id or 'all'}: {finding.sentence}"
        known = verdicts.get(finding.invariant, _OK)
        verdicts[finding.invariant] = sentence if known == _OK else f"{known}; {sentence}"
    return verdicts


def _differences(found: Iterable[Finding]) -> Mapping[str, str]:
    sums = dict.fromkeys(DIFFERENCES.values(), 0)
    for finding in found:
        if finding.difference:
            sums[DIFFERENCES[finding.invariant]] += finding.difference
    return {DIFFERENCE + kind: str(vouchers) for kind, vouchers in sums.items()}


async def _counts(gate: redis.Redis, stocks: Iterable[StockRow]) -> list[_Counts]:
    pipeline = gate.pipeline(transaction=False)
    for stock in stocks:
        keys = stock.keys
        pipeline.fcall_ro("grab_counts", 5, keys.rules, keys.free, keys.holders, keys.claims, keys.progress)
    replies = cast("list[list[Any]]", await pipeline.execute())
    return [
        _Counts(is_open == 1, epoch, paused == 1, free, held, booked)
        for is_open, epoch, _, _, _, paused, _, free, held, _, _, _, booked in replies
    ]
