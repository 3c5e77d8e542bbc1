"""What an API process measures of its own work: claims by outcome, durations, requests under way, its event loop.

The way of a claim pays a few additions to places that were found before, in one call for all of a turn.
"""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from time import perf_counter

from starlette.types import Message, Scope, Send

from grab_service.api.ending import OF_STATUS, Ending
from grab_service.api.journal import Journal
from grab_service.api.reply import Reply
from grab_service.api.sheets import Sheets

CLAIMS = "grab_claims_total"
DURATION = "http_request_duration_seconds"
SCRIPT = "grab_script_duration_seconds"
LAG = "grab_event_loop_lag_seconds"
INFLIGHT = "grab_inflight_requests"
MEMORY = "grab_resident_memory_bytes"
GATE_POOL, VAULT_POOL = "redis_pool_in_use", "pg_pool_in_use"
CPU = "grab_cpu_seconds_total"  # counted in microseconds

DURATION_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
SCRIPT_BOUNDS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
_FIRST_BOUND_S = DURATION_BOUNDS_S[0]
LAG_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

CLAIM_ROUTE, STOCK_ROUTE = "/v1/stocks/{stock_id}/claims", "/v1/stock"
_OTHER = "other"
UNKNOWN_STOCK = "unknown"  # what a path names is a label only if it is a stock of ours

_TYPE, _EVENTS = b"content-type", b"text/event-stream"
_CLASSES = 6
_REFUSED = 400  # statuses from here on
_SUM = len(DURATION_BOUNDS_S) + 1
_US = 1_000_000
_TICK_S = 0.25
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MEMORY_FILE = Path("/proc/self/statm")

# A claim: its request id, what was claimed, the answer, and when it came by the monotonic clock.
Answered = tuple[str, str, Reply, float]


class Instruments:
    """Counts and durations of this process, on a sheet that all processes of the service sum up.

    Args:
        directory: Where the service's processes keep their sheets; None for a process that is alone.
        journal: Where requests are logged.

    Attributes:
        sheets: The sheets.
    """

    def __init__(self, directory: Path | None, journal: Journal) -> None:
        self.sheets = Sheets(directory)
        self._journal = journal
        self._one_in = journal.one_in
        self._until_logged = min(1, journal.one_in)  # 0 is never met again: nothing is logged
        self._words = self.sheets.own.words
        self._claims: dict[str, int] = {}
        self._unknown = self._places_of(UNKNOWN_STOCK)
        self._claim_durations = self._durations(CLAIM_ROUTE, "POST")
        self._took, self._took_s = _no_claims()  # since the sheet was told
        self._stock_durations = self._durations(STOCK_ROUTE, "GET")
        self._scripts = self.sheets.own.cells((SCRIPT,), len(SCRIPT_BOUNDS_S) + 2)
        self._others: dict[tuple[str, str], list[int]] = {}

    def know(self, stock_id: str) -> None:
        """Count the claims of a stock by its name from now on."""
        self._claims[stock_id] = self._places_of(stock_id)

    def claims(self, answered: Iterable[Answered], now_s: float) -> None:
        """Count claims that were answered at this instant of the monotonic clock, and log those that were won."""
        words, places, unknown = self._words, self._claims, self._unknown
        took, took_s = self._took, self._took_s
        for request_id, stock_id, reply, began_s in answered:
            status, _, _, _, ending = reply
            ending = ending or OF_STATUS[status]
            words[places.get(stock_id, unknown) + ending] += 1
            seconds = now_s - began_s
            kind = status // 100
            # The shared sheet is told of many together: adding to it costs three times as much.
            took[kind][0 if seconds <= _FIRST_BOUND_S else bisect_left(DURATION_BOUNDS_S, seconds)] += 1
            took_s[kind] += seconds
            if status < _REFUSED:
                self._journal.claim(request_id, stock_id, ending)
                continue
            self._until_logged -= 1
            if not self._until_logged:
                self._until_logged = self._one_in
                told = stock_id if stock_id in places else UNKNOWN_STOCK
                self._journal.refused(request_id, told, ending, seconds)

    def script(self, seconds: float) -> None:
        """Count a call of the gate that carried a batch of claims."""
        self._observe(self._scripts, SCRIPT_BOUNDS_S, seconds)

    def stock_picture(self, status: int, seconds: float) -> None:
        """Count an answered poll of the stock picture."""
        self._observe(self._stock_durations[status // 100], DURATION_BOUNDS_S, seconds)

    def watched(self, scope: Scope, send: Send, request_id: str) -> Send:
        """Return ``send`` for a request of an ordinary route, which is counted when its answer is complete.

        A stream of events is not counted: it lasts for as long as somebody looks on, and says nothing of speed.
        """
        began_s, status, is_stream = perf_counter(), 0, False

        async def watching(message: Message) -> None:
            nonlocal status, is_stream
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
                is_stream = any(value.startswith(_EVENTS) for name, value in message["headers"] if name == _TYPE)
            elif not message.get("more_body", False) and not is_stream:
                self._other(scope, request_id, status, perf_counter() - began_s)

        return watching

    async def run(self, levels: Mapping[str, Callable[[], int]]) -> None:
        """Measure the event loop, the process and what else goes up and down in it until cancelled.

        Args:
            levels: What tells the level now, by the metric's name.
        """
        loop = asyncio.get_running_loop()
        cells = self.sheets.own.cells
        lag = cells((LAG,), len(LAG_BOUNDS_S) + 2)
        measures = {MEMORY: _resident_bytes, **levels}
        places = [(cells((name,), is_level=True), measure) for name, measure in measures.items()]
        cpu, cpu_before_us = cells((CPU,)), 0
        while True:
            due_s = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self.flush()
            self._observe(lag, LAG_BOUNDS_S, max(0.0, loop.time() - due_s))
            for place, measure in places:
                self._words[place] = measure()
            cpu_us = int(sum(os.times()[:2]) * _US)
            self._words[cpu] += cpu_us - cpu_before_us
            cpu_before_us = cpu_us

    def flush(self) -> None:
        """Tell the sheet and the log what was kept for them."""
        self._journal.flush()
        for place, counts, seconds in zip(self._claim_durations, self._took, self._took_s, strict=True):
            for bucket, count in enumerate(counts):
                self._words[place + bucket] += count
            self._words[place + _SUM] += int(seconds * _US)
        self._took, self._took_s = _no_claims()

    def close(self) -> None:
        """Leave the sheet to the process that comes next."""
        self.flush()
        self.sheets.close()

    def _other(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        # What a caller makes up is no label: the template of the path, and a method that the route knows.
        route, method = getattr(scope.get("route"), "path", _OTHER), scope["method"]
        if route == _OTHER or status == HTTPStatus.METHOD_NOT_ALLOWED:
            route = method = _OTHER
        places = self._others.get((route, method))
        if places is None:
            places = self._others[route, method] = self._durations(route, method)
        self._observe(places[status // 100], DURATION_BOUNDS_S, seconds)
        self._journal.other(request_id, route, method, status, seconds)

    def _observe(self, place: int, bounds_s: tuple[float, ...], seconds: float) -> None:
        self._words[place + bisect_left(bounds_s, seconds)] += 1
        self._words[place + len(bounds_s) + 1] += int(seconds * _US)

    def _places_of(self, stock_id: str) -> int:
        return self.sheets.own.cells((CLAIMS, stock_id), len(Ending))

    def _durations(self, route: str, method: str) -> list[int]:
        """Return the places of a route's histograms by class of status: buckets, then the sum in microseconds."""
        names = [(DURATION, route, method, f"{each}xx") for each in range(_CLASSES)]
        return [self.sheets.own.cells(name, len(DURATION_BOUNDS_S) + 2) for name in names]


def _no_claims() -> tuple[list[list[int]], list[float]]:
    """Return, by class of status, counts of claims by their durations and the sums of these in seconds."""
    return [[0] * (len(DURATION_BOUNDS_S) + 1) for _ in range(_CLASSES)], [0.0] * _CLASSES


def _resident_bytes() -> int:
    try:
        return int(_MEMORY_FILE.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:  # not Linux
        return 0
