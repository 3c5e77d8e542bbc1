"""Turns of the event loop: how many claims one may carry, and in which order its work is done.

A loop that is offered thousands of claims at once handles them all before it looks at anything else, at the gate's
replies among them; so winners wait for those who come after them, and places stay taken.  Here a turn carries a slice
of claims and a slice of refusals, and the rest waits in order of arrival for the next turns.  What waits is one short
request for each connection.

A turn reads from its connections first, then handles the claims that came, then sends their answers and counts them:
the same code runs again and again, out of the processor's caches.  Done claim by claim, the same work took a fifth
longer (``docs/adr/0015-a-turn-does-one-thing-after-the-other.md``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol

from grab_service.api.instruments import Answered
from grab_service.places import Places

SLICE = 64  # claims of one turn, some 4 ms
REFUSALS = 256  # of one turn, some 16 ms
# Claims that may wait, some 250 ms: at an opening whoever is refused comes back, and is paid for twice.
WAITING_MAX = 4000


class Receiver(Protocol):
    """Who can go on with what it received."""

    def go_on(self, data: bytes, since_s: float, *, is_too_much: bool) -> None:
        """Handle what was received at this instant of the monotonic clock, or refuse it."""


class Transport(Protocol):
    """Where an answer goes."""

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""

    def write(self, data: bytes) -> None:
        """Send."""


class Turns:
    """Lets claims in, a slice a turn.

    Args:
        places: Counts the claims under way.
        count: Counts claims that were answered at an instant of the monotonic clock.
    """

    def __init__(self, places: Places, count: Callable[[Iterable[Answered], float], None]) -> None:
        self._places = places
        self._count = count
        self._waiting: deque[tuple[Receiver, bytes, float]] = deque()
        self._answers: list[tuple[Transport, bytes]] = []
        self._answered: list[Answered] = []
        self._let_in = self._refused = 0
        self._is_due = False

    @property
    def are_full(self) -> bool:
        """Whether as many wait as may, so that one that is let in is to be refused, whatever places there are."""
        return len(self._waiting) >= WAITING_MAX

    def take(self, receiver: Receiver, data: bytes, now_s: float) -> bool:
        """Take a claim and keep it until its turn.

        Args:
            receiver: Who goes on with it.
            data: What he received.
            now_s: When: this process's monotonic clock.

        Returns:
            Whether it is taken.  If not it is to be refused at once, and is counted as refused in this turn: whoever
            cannot be served learns it before those who can are.
        """
        waiting = self._waiting
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._begin)
        if (self._places.are_short or len(waiting) >= WAITING_MAX) and self._refused < REFUSALS:
            self._refused += 1
            return False
        waiting.append((receiver, data, now_s))
        return True

    def answer(self, transport: Transport, answer: bytes, answered: Answered) -> None:
        """Send an answer when the claims of this turn are handled, and count it then."""
        if not self._answers:
            asyncio.get_running_loop().call_soon(self.send)
        self._answers.append((transport, answer))
        self._answered.append(answered)

    def send(self) -> None:
        """Send what there is to be sent."""
        answers, self._answers = self._answers, []
        answered, self._answered = self._answered, []
        for transport, answer in answers:
            if not transport.is_closing():
                transport.write(answer)
        self._count(answered, monotonic())

    def _begin(self) -> None:
        """Begin a turn."""
        waiting = self._waiting
        self._is_due, self._let_in, self._refused = bool(waiting), 0, 0
        if not self._is_due:
            return
        asyncio.get_running_loop().call_soon(self._begin)
        while waiting:
            if self._places.are_short or len(waiting) > WAITING_MAX:
                if self._refused >= REFUSALS:
                    return
                self._refused += 1
                receiver, data, since_s = waiting.popleft()
                receiver.go_on(data, since_s, is_too_much=True)
            elif self._let_in == SLICE:
                return
            else:
                self._let_in += 1
                receiver, data, since_s = waiting.popleft()
                receiver.go_on(data, since_s, is_too_much=False)
