"""What the stocks did in the last minutes, for curves that begin before somebody opened the page."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from grab_service.snapshot import Snapshot

_SPAN_S = 600
_POINT_MS = 1000  # two points of the told curve are at least so far apart


class Point(NamedTuple):
    """One moment of all stocks together.

    Attributes:
        at_ms: When, by the gate's clock.
        claimed: Vouchers that users hold at the gate.
        booked: Vouchers whose owner is committed in the vault.
        gate_ms: How long the gate took to tell, as this process sees it.
        lag_ms: For how long the oldest claim that is not booked has been waiting; 0 when all are.
    """

    at_ms: int
    claimed: int
    booked: int
    gate_ms: float
    lag_ms: int

    def to_json(self) -> Mapping[str, float]:
        """Return the point's members by name."""
        return self._asdict() | {"gate_ms": round(self.gate_ms, 2)}


class History:
    """Keeps a bounded number of points.

    Args:
        interval_ms: How often a point is noted.
    """

    def __init__(self, interval_ms: int) -> None:
        self._points: deque[Point] = deque(maxlen=max(2, _SPAN_S * 1000 // interval_ms))
        self._is_told = False

    def note(self, snapshot: Snapshot, gate_ms: float) -> None:
        """Add what a snapshot shows; one that the gate did not answer, or not for every stock, is left out."""
        counts = [each for _, each in snapshot.figures if each is not None]
        self._is_told = snapshot.gate_answers and len(counts) == len(snapshot.figures) > 0
        if not self._is_told:
            return
        claimed, booked = sum(each.held for each in counts), sum(each.booked for each in counts)
        lag_ms = self._waiting_ms(snapshot.as_of_ms, claimed, booked)
        self._points.append(Point(snapshot.as_of_ms, claimed, booked, gate_ms, lag_ms))

    @property
    def last(self) -> Point | None:
        """What the latest snapshot showed; None if that was left out: an old figure would look like a good one."""
        return self._points[-1] if self._is_told else None

    def curve(self) -> list[Mapping[str, float]]:
        """Return the points from the oldest to the latest, thinned out to some one a second."""
        return [point.to_json() for point in _thinned(self._points)]

    def _waiting_ms(self, now_ms: int, claimed: int, booked: int) -> int:
        """Tell how long ago as much was claimed as is booked now; claims between two points came evenly."""
        if claimed <= booked:
            return 0
        later_ms, later_claimed = now_ms, claimed
        for point in reversed(self._points):
            if point.claimed <= booked:
                share = (booked - point.claimed) / (later_claimed - point.claimed)
                return round(now_ms - point.at_ms - share * (later_ms - point.at_ms))
            later_ms, later_claimed = point.at_ms, point.claimed
        return now_ms - later_ms


def _thinned(points: Iterable[Point]) -> Iterable[Point]:
    told_ms = 0
    for point in points:
        if point.at_ms - told_ms >= _POINT_MS:
            told_ms = point.at_ms
            yield point
