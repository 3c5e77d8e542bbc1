"""Confirmation: winners wait here until the ledger has committed their entries.

The ledger worker announces how far it has come with each stock's stream, the watermark.  Each
process listens on one connection for all stocks and wakes the winners whose entries the
watermark has passed: no task, no timer and no query for each of them.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import insort
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from operator import attrgetter
from typing import NamedTuple

import redis.asyncio as redis

from grab_service.claimant import Claimant
from grab_service.gate import Answer, Gate, GateUnavailable, Holding, Progress, StreamId
from grab_service.stock import Stock

_log = logging.getLogger(__name__)

_SWEEP_S = 0.05  # how exactly the confirmation timeout is kept
_QUIET_S = 0.5  # without an announcement for so long, winners that wait are looked after by a read
_RECONNECT_S = 0.2
_START = StreamId(0, 0)
_entry_of = attrgetter("holding.stream_id")


class Outcome(Enum):
    """What became of a claim that the gate has answered."""

    NOT_HELD = auto()  # the user holds nothing, so there was nothing to wait for
    COMMITTED = auto()  # in the ledger
    REFUSED = auto()  # the ledger refused it: only a recovery can decide
    EPOCH_OVER = auto()  # a recovery came between: ask the gate again
    LATE = auto()  # the ledger has not answered in time


class Settled(NamedTuple):
    """A claim that has been decided.

    Attributes:
        answer: The gate's.
        outcome: What the ledger did with the entry of what the user holds.
    """

    answer: Answer
    outcome: Outcome


class _Wait:
    """A winner who waits for the ledger."""

    __slots__ = ("_claimant", "answer", "ends_s", "holding")

    def __init__(self, answer: Answer, holding: Holding, claimant: Claimant[Settled], ends_s: float) -> None:
        self.answer = answer
        self.holding = holding
        self.ends_s = ends_s
        self._claimant: Claimant[Settled] | None = claimant

    @property
    def is_over(self) -> bool:
        """Whether he was told, or has given up; once told he may wait again, but not here."""
        return self._claimant is None or self._claimant.done()

    def end(self, outcome: Outcome) -> None:
        """Tell him, if it is not over."""
        claimant, self._claimant = self._claimant, None
        if claimant is not None and not claimant.done():
            claimant.set_result(Settled(self.answer, outcome))


class Confirmations:
    """The winners of one stock who wait for the ledger.

    Args:
        timeout_s: How long one may wait before the answer is LATE.
        waits_for_ledger: Whether anybody waits at all (``GRAB_ACK=ledger``).

    Attributes:
        vault_epoch: The stock's epoch as the ledger last told it; a gate that is behind it is not believed.
    """

    def __init__(self, timeout_s: float, *, waits_for_ledger: bool = True) -> None:
        self.vault_epoch = 0
        self._timeout_s = timeout_s
        self._waits_for_ledger = waits_for_ledger
        self._loop = asyncio.get_running_loop()
        self._epoch = 0
        self._committed = _START
        self._refused: set[StreamId] = set()
        self._by_id: list[_Wait] = []
        self._by_deadline: deque[_Wait] = deque()

    @property
    def are_awaited(self) -> bool:
        """Whether any winner waits."""
        return bool(self._by_deadline)

    @property
    def kept(self) -> int:
        """Waits that are still kept: of winners who wait, and of some who wait no more."""
        return len(self._by_id)

    def is_committed(self, holding: Holding, gate_epoch: int) -> bool:
        """Whether nobody has to wait for the entry of ``holding`` any more, the gate being at ``gate_epoch``.

        A holding of an earlier epoch was rebuilt from the ledger, so it is there.
        """
        if holding.epoch < gate_epoch or not self._waits_for_ledger:
            return True
        return self._epoch == holding.epoch and holding.stream_id <= self._committed and not self._is_refused(holding)

    def settle(self, decided: Iterable[tuple[Answer, Claimant[Settled]]]) -> None:
        """Settle claims that the gate has answered: at once, or as soon as it is known what became of their entries."""
        by_id, ends_s = self._by_id, self._loop.time() + self._timeout_s
        for answer, claimant in decided:
            if claimant.done():
                continue
            holding = answer.holding
            if holding is None:
                claimant.set_result(Settled(answer, Outcome.NOT_HELD))
                continue
            outcome = self._known(answer.epoch, holding)
            if outcome is not None:
                claimant.set_result(Settled(answer, outcome))
                continue
            wait = _Wait(answer, holding, claimant, ends_s)
            if not by_id or by_id[-1].holding.stream_id <= holding.stream_id:  # winners come in order, repeats do not
                by_id.append(wait)
            else:
                insort(by_id, wait, key=_entry_of)
            self._by_deadline.append(wait)

    def advance(self, progress: Progress) -> None:
        """Take in how far the ledger is, and wake those whom it concerns."""
        if progress.epoch < self._epoch:
            return
        if progress.epoch > self._epoch:
            self._epoch, self._committed, self._refused = progress.epoch, _START, set()
        self._committed = max(self._committed, progress.committed)
        self._refused |= progress.refused
        decided = 0
        for wait in self._by_id:
            outcome = self._known(wait.answer.epoch, wait.holding)
            if outcome is not None:
                wait.end(outcome)
            elif not wait.is_over:
                break
            decided += 1
        del self._by_id[:decided]

    def sweep(self) -> None:
        """Answer LATE to those who have waited for too long, and forget those who wait no more.

        Winners ask again and again while the ledger is away: what is kept is at most twice those who wait.
        """
        now_s, waits = self._loop.time(), self._by_deadline
        while waits and (waits[0].is_over or waits[0].ends_s <= now_s):
            waits.popleft().end(Outcome.LATE)
        if len(self._by_id) > 2 * len(waits):
            self._by_id = [wait for wait in self._by_id if not wait.is_over]

    def _known(self, gate_epoch: int, holding: Holding) -> Outcome | None:
        """Return what became of an entry of which the gate told under an epoch of its own; None if it is not known."""
        if gate_epoch < self.vault_epoch:
            return Outcome.EPOCH_OVER
        _, epoch, stream_id = holding
        if not self._waits_for_ledger or epoch < gate_epoch:
            return Outcome.COMMITTED
        if epoch < self._epoch:
            return Outcome.EPOCH_OVER
        if epoch > self._epoch or stream_id > self._committed:
            return None
        return Outcome.REFUSED if self._refused and stream_id in self._refused else Outcome.COMMITTED

    def _is_refused(self, holding: Holding) -> bool:
        return holding.stream_id in self._refused


class Watch:
    """Listens to the ledger's announcements for every stock of this process.

    Args:
        listener: A client of its own: it blocks.
        gate: For the reads after a (re)connect and after silence.
        stocks: The stocks to listen for, with their waiting winners.
    """

    def __init__(self, listener: redis.Redis, gate: Gate, stocks: Mapping[str, tuple[Stock, Confirmations]]) -> None:
        self._listener = listener
        self._gate = gate
        self._by_channel = {stock.keys.progress: (stock, waiting) for stock, waiting in stocks.values()}

    async def run(self) -> None:
        """Listen until cancelled; a lost connection is made again and what was missed is read."""
        sweeper = asyncio.create_task(self._sweep())
        try:
            while True:
                try:
                    await self._listen()
                except (redis.RedisError, OSError, GateUnavailable) as error:
                    _log.warning("lost the ledger's announcements, trying again: %s", error)
                    await asyncio.sleep(_RECONNECT_S)
        finally:
            sweeper.cancel()
            await self._listener.aclose()

    async def _listen(self) -> None:
        async with self._listener.pubsub() as pubsub:
            await pubsub.subscribe(*self._by_channel)
            await self._read_all(only_awaited=False)
            while True:
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=_QUIET_S)
                if message is not None:
                    _, waiting = self._by_channel[message["channel"]]
                    waiting.advance(Progress.parse(message["data"]))
                elif any(waiting.are_awaited for _, waiting in self._by_channel.values()):
                    await self._read_all(only_awaited=True)

    async def _read_all(self, *, only_awaited: bool) -> None:
        for stock, waiting in self._by_channel.values():
            if waiting.are_awaited or not only_awaited:
                waiting.advance(await self._gate.progress(stock))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            for _, waiting in self._by_channel.values():
                waiting.sweep()
