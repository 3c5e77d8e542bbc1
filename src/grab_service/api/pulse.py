"""What all API processes answered in the last minutes, second by second: how much, how fast and how well."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from grab_service.api.instruments import CLAIM_ROUTE, DURATION, DURATION_BOUNDS_S
from grab_service.api.sheets import Series, Sheets

_SPAN_S = 600
_BEAT_S = 1.0
_LATENCY_BEATS = 10  # over so many the latency is told: one slow answer in a quiet second is no trend
_SUCCESS_BEATS = 60
_QUANTILE = 0.99
_DIGITS = 4


class Beat(NamedTuple):
    """What was answered in the second before an instant.

    Attributes:
        at_ms: The instant, by the clock that was told.
        requests_per_s: Answers of every route.
        refused_per_s: Claims that were answered with a refusal.
        failed_per_s: Claims that were answered with a 5xx: turned away unanswered, or an error.
        p99_ms: So long 99 of 100 claims took at most, over ten seconds; None if there were none.
        success: Share of the claims of the last minute that did not fail; None if there were none.
    """

    at_ms: int
    requests_per_s: float
    refused_per_s: float
    failed_per_s: float
    p99_ms: float | None
    success: float | None


class _Sums(NamedTuple):
    """Sums since the counting began."""

    requests: int
    refused: int
    failed: int
    claims: Sequence[int]  # by the bucket of their duration


class Pulse:
    """Looks at the sums once a second and keeps what they rose by.

    Args:
        sheets: What all processes count on.
    """

    def __init__(self, sheets: Sheets) -> None:
        self._sheets = sheets
        self._sums: deque[_Sums] = deque([_sums_of(sheets.totals())], maxlen=_SUCCESS_BEATS + 1)
        self._beats: deque[Beat] = deque(maxlen=int(_SPAN_S / _BEAT_S))

    async def run(self, now_ms: Callable[[], int]) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        looked_s = loop.time()
        while True:
            await asyncio.sleep(_BEAT_S)
            now_s = loop.time()
            self.look(now_ms(), now_s - looked_s)
            looked_s = now_s

    def look(self, at_ms: int, after_s: float) -> None:
        """Note what the sums rose by since the look before, which is ``after_s`` ago."""
        self._sums.append(_sums_of(self._sheets.totals()))
        now, before = self._sums[-1], self._sums[-2]
        minute_ago = self._sums[0]
        claims = sum(now.claims) - sum(minute_ago.claims)
        recent = self._sums[-min(len(self._sums), _LATENCY_BEATS + 1)]
        p99_s = quantile([now - then for now, then in zip(now.claims, recent.claims, strict=True)], _QUANTILE)
        self._beats.append(
            Beat(
                at_ms,
                requests_per_s=round((now.requests - before.requests) / after_s, 1),
                refused_per_s=round((now.refused - before.refused) / after_s, 1),
                failed_per_s=round((now.failed - before.failed) / after_s, 1),
                p99_ms=None if p99_s is None else round(p99_s * 1000, 2),
                success=round(1 - (now.failed - minute_ago.failed) / claims, _DIGITS) if claims else None,
            )
        )

    @property
    def last(self) -> Beat | None:
        """The latest."""
        return self._beats[-1] if self._beats else None

    def curve(self) -> list[Mapping[str, float | None]]:
        """Return all that are kept, from the oldest to the latest."""
        return [beat._asdict() for beat in self._beats]


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """Return the duration in seconds that this share of the counted ones did not exceed, as Prometheus estimates it.

    Args:
        buckets: How many took longer than one bound and not longer than the next; the last ones exceed all bounds.
        share: From 0 to 1.
    """
    below = list(accumulate(buckets))
    if not below[-1]:
        return None
    rank = share * below[-1]
    place = bisect_left(below, rank)
    if place >= len(DURATION_BOUNDS_S):
        return DURATION_BOUNDS_S[-1]
    low_s = DURATION_BOUNDS_S[place - 1] if place else 0.0
    return low_s + (DURATION_BOUNDS_S[place] - low_s) * (rank - below[place] + buckets[place]) / buckets[place]


def _sums_of(totals: Mapping[Series, Sequence[int]]) -> _Sums:
    requests = refused = failed = 0
    claims = [0] * (len(DURATION_BOUNDS_S) + 1)
    for series, cells in totals.items():
        if series[0] != DURATION:
            continue
        buckets = cells[:-1]
        count = sum(buckets)
        requests += count
        if series[1] == CLAIM_ROUTE:
            claims = [one + other for one, other in zip(claims, buckets, strict=True)]
            refused += count if series[3] == "4xx" else 0
            failed += count if series[3] == "5xx" else 0
    return _Sums(requests, refused, failed, claims)
