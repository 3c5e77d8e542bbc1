"""Places: how many claims a process has under way at the stores, and which stock's next one is turned away.

A queue that is longer than what is served in a moment helps nobody: whoever is turned away at once asks again and is
served sooner.  A stock that everyone wants may use every place that is free, but it cannot keep the others out.
"""

from __future__ import annotations


class Places:
    """Counts the claims under way of each stock.

    Args:
        places_max: How many there are.  When all are taken, a stock still gets its share, ``places_max`` divided by the
            stocks that have claims under way; so more are taken for as long as others hold more than their shares.

    Attributes:
        taken: How many are taken.
        are_short: Whether all are taken, so that some stock's next claim is one too many.
    """

    def __init__(self, places_max: int) -> None:
        self._places_max = places_max
        self._taken_of: dict[str, int] = {}
        self.taken = 0
        self.are_short = False

    def are_full(self, stock_id: str) -> bool:
        """Whether the next claim of a stock is one too many."""
        if not self.are_short:
            return False
        own = self._taken_of.get(stock_id, 0)
        stocks = len(self._taken_of) + (own == 0)
        return own >= self._places_max // stocks

    def take(self, stock_id: str) -> None:
        """Count a claim that begins to wait for the stores."""
        self.taken += 1
        self.are_short = self.taken >= self._places_max
        self._taken_of[stock_id] = self._taken_of.get(stock_id, 0) + 1

    def leave(self, stock_id: str) -> None:
        """Count a claim that waits no more."""
        self.taken -= 1
        self.are_short = self.taken >= self._places_max
        left = self._taken_of[stock_id] - 1
        if left:
            self._taken_of[stock_id] = left
        else:
            del self._taken_of[stock_id]
