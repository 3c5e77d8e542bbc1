"""The probe: looks at the gate's figures for a whole process, so that what it knows of each stock stays fresh.

Nothing that takes long is waited for between two looks: holders are read beside them, one task a stock, since a look
that came late would let the memory of every stock lapse just when the first one is sold out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, Protocol

from grab_service.admission import Memory
from grab_service.crowd import Crowd
from grab_service.gate import Counts, Gate, GateUnavailable
from grab_service.stock import Stock

_log = logging.getLogger(__name__)

_HURRY_S = 0.02  # a stock is looked at out of turn so often at most


class Watched(Protocol):
    """What is looked at, and who is told."""

    stock: Stock
    memory: Memory


class Probe:
    """Renews what the memories of a process know.

    Args:
        gate: The gate.
        watched: The stocks by id; may grow.
        holders_max: Holders of one stock that are remembered by name; more are remembered as a crowd.
        keep: Runs a task and keeps it.

    Attributes:
        figures: Each stock's latest counts.
        gate_answers: Whether the latest look at all stocks succeeded.
        gate_ms: How long it took.
        clock_offset_s: How far the gate's clock is ahead of this machine's, as exactly as a call takes.
    """

    def __init__(self, gate: Gate, watched: Mapping[str, Watched], holders_max: int, keep: _Keep) -> None:
        self._gate = gate
        self._watched = watched
        self._holders_max = holders_max
        self._keep = keep
        self._reading: set[str] = set()
        self._hurried_s: dict[str, float] = {}
        self.figures: dict[str, Counts] = {}
        self.gate_answers = False
        self.gate_ms = 0.0
        self.clock_offset_s = 0.0

    async def look(self) -> None:
        """Look at every stock once."""
        asked_s = time.perf_counter()
        try:
            await self._look_at(list(self._watched))
        except GateUnavailable as error:
            if self.gate_answers:
                _log.warning("the gate does not answer: %s", error)
            self.gate_answers = False
        else:
            self.gate_answers = bool(self._watched)
        self.gate_ms = (time.perf_counter() - asked_s) * 1000

    def sold_out(self, stock_id: str, epoch: int, asked_at_s: float) -> None:
        """Take in that the gate has just said so of a stock: renew what is known of it, or look at it now.

        Args:
            stock_id: The stock.
            epoch: Under which the gate said so.
            asked_at_s: This process's monotonic clock before it was asked.
        """
        self._watched[stock_id].memory.renew(epoch, asked_at_s)
        now_s = time.monotonic()
        if now_s >= self._hurried_s.get(stock_id, 0.0) + _HURRY_S and not self._watched[stock_id].memory.is_complete:
            self._hurried_s[stock_id] = now_s
            self._keep(self._look_soon(stock_id))

    async def _look_soon(self, stock_id: str) -> None:
        try:
            await self._look_at([stock_id])
        except GateUnavailable:
            _log.debug("the next look at all stocks will tell")

    async def _look_at(self, stock_ids: Collection[str]) -> None:
        if not stock_ids:
            return
        asked_at_s = time.monotonic()
        found = await self._gate.counts([self._watched[stock_id].stock for stock_id in stock_ids])
        for stock_id, counts in zip(stock_ids, found, strict=True):
            self.figures[stock_id] = counts
            if self._watched[stock_id].memory.learn(counts, asked_at_s) and stock_id not in self._reading:
                self._reading.add(stock_id)
                self._keep(self._read_holders(stock_id, counts))
        self.clock_offset_s = found[0].now_ms / 1000 - time.time()

    async def _read_holders(self, stock_id: str, counts: Counts) -> None:
        """Read the holders of a stock that will get no more."""
        stock, memory = self._watched[stock_id].stock, self._watched[stock_id].memory
        try:
            if counts.held <= self._holders_max:
                memory.remember(counts, await self._gate.holders(stock))
            else:
                memory.remember(counts, await Crowd.of(self._gate.holder_refs(stock)))
        except GateUnavailable as error:
            _log.warning("the holders of %s could not be read, trying again: %s", stock_id, error)
        finally:
            self._reading.discard(stock_id)


class _Keep(Protocol):
    def __call__(self, work: Coroutine[Any, Any, None], /) -> object: ...
