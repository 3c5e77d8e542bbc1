"""Pace: how many claims a second a process takes to the stores, whatever is asked of it.

A process that takes whatever comes spends itself on those it serves and has nothing left for those it must turn away:
then everybody waits, and fewer are served than before.  So what it takes is stated, and low enough that a no to all
others is cheap beside it (``docs/adr/0014-a-process-states-what-it-can-take.md``).
"""

from __future__ import annotations

import asyncio

_CALL_S = 0.05  # what one call may take of the pace: others have their turn then
_LATE_S = 0.01  # a timer that is late by so much costs no claim


class Pace:
    """Lets the desks of a process call the gate one after the other, no faster than stated.

    Args:
        claims_per_s_max: What all of them may take there within a second.

    Attributes:
        call_max: Claims of one call.
    """

    def __init__(self, claims_per_s_max: int) -> None:
        self.call_max = max(1, int(claims_per_s_max * _CALL_S))
        self._per_s = claims_per_s_max
        self._line = asyncio.Lock()
        self._free_at_s = 0.0

    async def wait(self) -> None:
        """Wait until more may be taken; desks that wait take turns, and ``take`` follows at once."""
        async with self._line:
            rest_s = self._free_at_s - asyncio.get_running_loop().time()
            if rest_s > 0:
                await asyncio.sleep(rest_s)

    def take(self, claims: int) -> None:
        """Count the claims of a call."""
        self._free_at_s = max(self._free_at_s, asyncio.get_running_loop().time() - _LATE_S) + claims / self._per_s
