"""The desk of one stock in one process: claims that are waiting travel to the gate together.

While one call is in flight, arrivals queue up; the next call takes them all, in order of arrival.
So the gate is asked once for many users exactly when there are many, and a request costs neither
a task nor a round trip.  Whoever waits is handed on with the gate's answer: a winner waits for the
ledger as well, and is told when it has spoken.

A call that fails is told to everybody who was here when it began, so nobody waits for more than
the rest of one call and the whole of the next, however many are waiting, and for the turns of the
pace between the two.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from grab_service.claimant import Claimant
from grab_service.gate import Answer, Gate, GateUnavailable, Letter
from grab_service.pace import Pace
from grab_service.stock import Stock

_log = logging.getLogger(__name__)

Settled = TypeVar("Settled")  # what a claim comes to in the end


class Desk(Generic[Settled]):
    """Brings the claims of one stock to the gate, at most one call at a time.

    Args:
        gate: The gate.
        stock: The stock.
        hand_on: Gets the answers of one call, each with who waits for it and is to be told, now or later.
        pace: How fast the process may take claims there.
        interval_s: A call begins so long after the one before it, unless a whole batch waits: in a rush fewer
            and larger calls cost both sides less, and a claim that comes alone is not held up.
        batch_max: Users a call may carry.
        waiting_max: Claims that may wait; more are turned away at once.
        observe: Is told how long each call took, in seconds.
        on_sold_out: Is told when a call came back with SOLD_OUT for the last one in it: the stock's id, the epoch, and
            the monotonic clock before the call.
    """

    def __init__(
        self,
        gate: Gate,
        stock: Stock,
        hand_on: Callable[[Sequence[tuple[Answer, Claimant[Settled]]]], None],
        *,
        pace: Pace,
        interval_s: float,
        batch_max: int,
        waiting_max: int,
        observe: Callable[[float], None] = lambda _: None,
        on_sold_out: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._gate = gate
        self._stock = stock
        self._hand_on = hand_on
        self._pace = pace
        self._interval_s = interval_s
        self._batch_max = min(batch_max, pace.call_max)
        self._waiting_max = waiting_max
        self._on_sold_out = on_sold_out
        self._observe = observe
        self._waiting: deque[tuple[str, Claimant[Settled]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._serving: asyncio.Task[None] | None = None

    def claim(self, user_ref: str, claimant: Claimant[Settled]) -> bool:
        """Queue a claim; return False when too many are waiting already.

        Its claimant is told what the gate's answer came to, or why there is none: ``GateUnavailable`` within twice
        the gate's timeout and what the pace asks for; anything else is a defect, which is logged here.
        """
        if len(self._waiting) >= self._waiting_max:
            return False
        self._waiting.append((user_ref, claimant))
        if self._serving is None:
            # The task begins in the next turn of the loop, when all that has arrived in this one is queued.
            self._serving = self._loop.create_task(self._serve())
        return True

    async def _serve(self) -> None:
        try:
            while self._waiting:
                await self._pace.wait()
                began_s = self._loop.time()
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_max))]
                self._pace.take(len(batch))
                await self._ask(batch)
                took_s = self._loop.time() - began_s
                self._observe(took_s)
                rest_s = self._interval_s - took_s
                if rest_s > 0 and len(self._waiting) < self._batch_max:
                    await asyncio.sleep(rest_s)
        finally:
            self._serving = None

    async def _ask(self, batch: list[tuple[str, Claimant[Settled]]]) -> None:
        behind, asked_at_s = len(self._waiting), time.monotonic()
        try:
            answers = await self._gate.claim(self._stock, [user_ref for user_ref, _ in batch])
            decided = [(answer, claimant) for answer, (_, claimant) in zip(answers, batch, strict=True)]
        except Exception as error:  # noqa: BLE001  whatever it is, nobody may be left without an answer
            if not isinstance(error, GateUnavailable):
                _log.exception("claims of %s could not be asked", self._stock.stock_id)
            for _, claimant in (*batch, *(self._waiting.popleft() for _ in range(behind))):
                if not claimant.done():
                    claimant.set_exception(error)
            return
        self._hand_on(decided)
        last = answers[-1]
        if last.letter == Letter.SOLD_OUT:
            self._on_sold_out(self._stock.stock_id, last.epoch, asked_at_s)
