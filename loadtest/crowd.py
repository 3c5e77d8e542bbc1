"""The crowd: every claim has its instant before the storm begins, and is late if it cannot be sent then.

This is an open loop: a slow server does not slow the arrivals down, and a claim's latency counts from
the instant at which it was meant to be sent, so waiting is never hidden.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.wire import Line, retry_after_s

_TICK_S = 0.001
_ASK_AGAIN_S = 1.0  # after a 202, or an answer that says no time
_RECONNECT_S = 0.2
_CONNECTING_MAX = 200  # connections being made at once
_SOLD_OUT = b'"code":"SOLD_OUT"'

CREATED, REPLAYED, PENDING, CONFLICT = 201, 200, 202, 409


@dataclass(slots=True)
class Claim:
    """One user's claim of one stock.

    Attributes:
        user: The user's id.
        stock_id: What is claimed.
        due_s: When it is meant to be sent, on this process's clock.
        request: The bytes to send.
        asks: How often it was sent.
        final: Its last answer: status and code, empty while it has none.
        latency_s: From ``due_s`` to the last answer.
        voucher: The voucher, if it won.
    """

    user: str
    stock_id: str
    due_s: float
    request: bytes
    asks: int = 0
    final: str = ""
    latency_s: float = 0.0
    voucher: dict[str, Any] | None = None


@dataclass(slots=True)
class Tally:
    """What has come back so far.

    Attributes:
        sent: Requests.
        answers: Answers by status and code, those that were asked again after included.
        winners: Of each stock.
        first_winner_s: When its first 201 came, on this process's clock.
        last_winner_s: When its last one came.
    """

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    winners: Counter[str] = field(default_factory=Counter)
    first_winner_s: dict[str, float] = field(default_factory=dict)
    last_winner_s: dict[str, float] = field(default_factory=dict)


def arrivals(count: int, sigma_s: float, seed: int) -> list[float]:
    """Return when each of ``count`` people presses the button, in seconds after the opening.

    Nobody presses early: half a normal distribution, as people react to a countdown.
    """
    dice = random.Random(seed)
    return [abs(dice.gauss(0.0, sigma_s)) for _ in range(count)]


class Crowd:
    """Sends claims when they are due and asks again where the server says so.

    Args:
        host: The server.
        port: Its port.
        claims: All claims, due or not.
        asks_max: How often a claim is sent at most.
        on_win: Called with a claim the moment its 201 is there.
    """

    def __init__(
        self, host: str, port: int, claims: Sequence[Claim], *, asks_max: int, on_win: Callable[[Claim], None]
    ) -> None:
        self._host = host
        self._port = port
        self._asks_max = asks_max
        self._on_win = on_win
        self._due = [(claim.due_s, number, claim) for number, claim in enumerate(claims)]
        heapq.heapify(self._due)
        self._order = len(claims)
        self._unfinished = len(claims)
        self._idle: list[Line] = []
        self._lines: set[Line] = set()
        self._late: deque[Claim] = deque()
        self._asking: dict[Line, Claim] = {}
        self._reconnecting: set[asyncio.Task[None]] = set()
        self._done = asyncio.Event()
        self.tally = Tally()

    async def connect(self, count: int) -> None:
        """Open connections before the storm.

        Raises:
            OSError: The server cannot be reached.
        """
        gate = asyncio.Semaphore(_CONNECTING_MAX)

        async def connect_one() -> None:
            async with gate:
                await self._connect()

        await asyncio.gather(*(connect_one() for _ in range(count)))

    async def run(self) -> None:
        """Send every claim when it is due and wait until each has its last answer."""
        while not self._done.is_set():
            now_s = time.perf_counter()
            while self._due and self._due[0][0] <= now_s:
                self._send_or_wait(heapq.heappop(self._due)[2])
            await asyncio.sleep(_TICK_S)
        for line in list(self._lines):
            line.close()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: Line(self._take), self._host, self._port)
        self._lines.add(line)
        self._use(line)

    def _send_or_wait(self, claim: Claim) -> None:
        if self._idle:
            self._send(self._idle.pop(), claim)
        else:
            self._late.append(claim)

    def _send(self, line: Line, claim: Claim) -> None:
        claim.asks += 1
        self.tally.sent += 1
        self._asking[line] = claim
        line.send(claim.request)

    def _use(self, line: Line) -> None:
        if self._late:
            self._send(line, self._late.popleft())
        else:
            self._idle.append(line)

    def _take(self, line: Line, status: int, headers: bytes, body: bytes) -> None:
        claim = self._asking.pop(line)
        self._judge(claim, status, headers, body)
        if line.is_open:
            self._use(line)
        else:
            self._lines.discard(line)
            task = asyncio.get_running_loop().create_task(self._connect_again())
            self._reconnecting.add(task)
            task.add_done_callback(self._reconnecting.discard)

    async def _connect_again(self) -> None:
        while not self._done.is_set():
            await asyncio.sleep(_RECONNECT_S)
            try:
                await self._connect()
            except OSError:
                continue
            return

    def _judge(self, claim: Claim, status: int, headers: bytes, body: bytes) -> None:
        now_s = time.perf_counter()
        if status == CONFLICT and _SOLD_OUT in body:
            self._finish(claim, "409 SOLD_OUT", now_s)
        elif status in (CREATED, REPLAYED):
            claim.voucher = json.loads(body)
            self.tally.winners[claim.stock_id] += 1
            self.tally.first_winner_s.setdefault(claim.stock_id, now_s)
            self.tally.last_winner_s[claim.stock_id] = now_s
            self._finish(claim, str(status), now_s)
            self._on_win(claim)
        else:
            name = _name(status, body)
            if claim.asks >= self._asks_max or status not in (0, PENDING, CONFLICT, 429, 503):
                self._finish(claim, name, now_s)
            else:
                self.tally.answers[name] += 1
                wait_s = retry_after_s(headers) if status else _RECONNECT_S
                self._ask_again(claim, now_s + (wait_s if wait_s is not None else _ASK_AGAIN_S))

    def _ask_again(self, claim: Claim, at_s: float) -> None:
        self._order += 1
        heapq.heappush(self._due, (at_s, self._order, claim))

    def _finish(self, claim: Claim, name: str, now_s: float) -> None:
        self.tally.answers[name] += 1
        claim.final = name
        claim.latency_s = now_s - claim.due_s
        self._unfinished -= 1
        if self._unfinished == 0:
            self._done.set()


def _name(status: int, body: bytes) -> str:
    """Name an answer by its status and code."""
    if status == 0:
        return "broken"
    try:
        document = json.loads(body)
        return f"{status} {document.get('code') or document.get('state') or ''}".rstrip()
    except (ValueError, AttributeError):
        return str(status)
