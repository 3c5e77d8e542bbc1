"""A limit over all processes: who asks this one often is told to the gate, which sums up what he asks of them all.

A shared counter on the path of a claim would be a write for each request, and whoever gets nothing must write nothing.
So a process counts for itself, and once a second tells of those few who ask often.  The others never get there.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from grab_service.admission import Rate
from grab_service.gate import Gate, GateUnavailable

_log = logging.getLogger(__name__)

_PERIOD_S = 1.0
_WINDOW_S = 2.0  # each process tells twice within it, so none is always the first
_IN_ORDER_S = 3.0  # how many seconds' worth may be told within it: what is told of two seconds may be of parts of three
_TOLD_MAX = 1000  # that one call of the gate takes
_BARRED_S = 2 * _PERIOD_S  # until it is told again


class SharedRate:
    """Holds up who asks too much of all processes together, from two seconds after he began for as long as he does.

    Args:
        gate: Sums up.
        rate: Of this process.
    """

    def __init__(self, gate: Gate, rate: Rate) -> None:
        self._gate = gate
        self._rate = rate

    async def run(self) -> None:
        """Tell and hold up until cancelled; while the gate is away the process's own limit stands."""
        most = int(self._rate.per_s_max * _IN_ORDER_S)
        while True:
            await asyncio.sleep(_PERIOD_S)
            hasty = self._rate.hasty(_TOLD_MAX)
            if not hasty:
                continue
            try:
                barred = await self._gate.asked(hasty, most, int(_WINDOW_S * 1000))
            except GateUnavailable as error:
                _log.debug("the gate was not told who asks often: %s", error)
                continue
            if barred:
                now_s = monotonic()
                self._rate.bar(barred, now_s, now_s + _BARRED_S)
                _log.info("holding up %d users who ask too much of all processes together", len(barred))
