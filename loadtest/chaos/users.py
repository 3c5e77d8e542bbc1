"""The users of a chaos run: they claim, ask again where they are told to or hear nothing, and forget no answer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loadtest.chaos.history import BUSY, ENDED, NOT_STARTED, PENDING, SOLD_OUT, WON, HistoryWriter, operation
from loadtest.wire import ask, retry_after_s

_REGION = "500110"
_FINAL = frozenset({WON, SOLD_OUT, ENDED})
_AGAIN_S = (0.2, 1.0)  # when nothing was heard
_ASK_ONCE_MORE = 0.1  # the share of winners who ask again later


@dataclass(slots=True)
class Users:
    """Claims over HTTP and records every answer.

    Attributes:
        host: The service.
        port: Its port.
        history: Where answers are recorded.
        issue: Issues a ticket for a user and a region.
        dice: Decides who comes when.
        answer_s: So long a user waits for an answer, then asks again.
        names: Every user who has claimed.
        outcomes: Answers by what they were.
    """

    host: str
    port: int
    history: HistoryWriter
    issue: Callable[[str, str], str]
    dice: random.Random
    answer_s: float = 5.0
    names: set[str] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)

    async def rush(self, stock_ids: Sequence[str], prefix: str, count: int, within_s: float, until_s: float) -> None:
        """Let users come, half of them at once; each claims every stock until it is told a final answer.

        Args:
            stock_ids: What they claim.
            prefix: Of their names.
            count: How many there are.
            within_s: The last one comes so much later than the first.
            until_s: Nobody asks after this instant of the event loop's clock.
        """
        delays_s = [
            abs(self.dice.gauss(0, 2.0)) if number % 2 else self.dice.uniform(0, within_s) for number in range(count)
        ]
        async with asyncio.TaskGroup() as tasks:
            for number, delay_s in enumerate(delays_s):
                tasks.create_task(self._one(f"{prefix}-{number}", stock_ids, min(delay_s, within_s), until_s))

    async def _one(self, user: str, stock_ids: Sequence[str], delay_s: float, until_s: float) -> None:
        await asyncio.sleep(delay_s)
        for stock_id in self.dice.sample(stock_ids, len(stock_ids)):
            outcome = await self.claim_until_final(user, stock_id, until_s)
            if outcome == WON and self.dice.random() < _ASK_ONCE_MORE:
                await asyncio.sleep(self.dice.uniform(0, 5))
                await self.claim_until_final(user, stock_id, until_s)

    async def claim_until_final(self, user: str, stock_id: str, until_s: float) -> str:
        """Claim until the answer is final; return it, or the last one when the time is over."""
        loop = asyncio.get_running_loop()
        while True:
            outcome, wait_s = await self.claim(user, stock_id)
            if outcome in _FINAL or loop.time() + wait_s > until_s:
                return outcome
            await asyncio.sleep(wait_s)

    def request(self, user: str, stock_id: str) -> bytes:
        """Return the request of a claim, on a connection of its own."""
        return (
            f"POST /v1/stocks/{stock_id}/claims HTTP/1.1\r\nHost: chaos\r\nConnection: close\r\nContent-Length: 0\r\n"
            f"Authorization: Bearer {self.issue(user, _REGION)}\r\n\r\n"
        ).encode()

    async def claim(self, user: str, stock_id: str) -> tuple[str, float]:
        """Claim once; return what was answered and how long to wait before asking again."""
        self.names.add(user)
        status, headers, body = 0, b"", b""
        at_start_ms = time.time() * 1000
        with contextlib.suppress(OSError, TimeoutError):
            status, headers, body = await ask(self.host, self.port, self.request(user, stock_id), self.answer_s)
        done = operation(at_start_ms, time.time() * 1000, user, stock_id, status=status, body=body)
        self.history.append(done)
        self.outcomes[done.outcome] += 1
        told_s = retry_after_s(headers) if done.outcome in (BUSY, PENDING, NOT_STARTED) else None
        if told_s is None or done.outcome == PENDING:
            return done.outcome, self.dice.uniform(*_AGAIN_S)
        return done.outcome, told_s * self.dice.uniform(0.5, 1.0)
