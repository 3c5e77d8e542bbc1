"""The load generator: a process of its own that keeps N connections busy with requests that stand ready.

``python -m loadtest.bench.load FILE`` reads requests, separated by NUL, warms the server up, says ``warm``
on standard output, waits for a line on standard input, runs, and prints its figures as JSON.

Without ``--pace`` this is a closed loop: each connection sends its next request when it has the answer.
It measures CPU per request and throughput; its latencies hide waiting, those of the storm do not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from loadtest.report import percentiles_ms
from loadtest.wire import Line

SEPARATOR = b"\0"
_CONNECTING_MAX = 100


class Phase:
    """Sends requests until they are used up or the time is, over connections that stand.

    Args:
        lines: The connections, all idle.
        requests: What to send; shared by the phases, so no request is sent twice.
        count_max: How many to send at most.
        seconds: How long to send at most.

    Attributes:
        statuses: Answers by status; 0 is a connection that broke.
        first_s: When the first request was sent, on the machine's monotonic clock.
        last_s: When the last answer came.
        last_won_s: When the last 201 came, 0 if none did.
    """

    def __init__(self, lines: list[Lane], requests: Iterator[bytes], count_max: int, seconds: float) -> None:
        self._lines = lines
        self._requests = requests
        self._left = count_max
        self._seconds = seconds
        self._under_way = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._end_s = 0.0
        self._idle: list[Lane] = []
        self.statuses: Counter[int] = Counter()
        self.latencies_s: list[float] = []
        self.first_s = self.last_s = self.last_won_s = 0.0

    async def run(self, pace_per_s: float = 0.0) -> None:
        """Run; in a closed loop, or with so many requests a second."""
        self.first_s = time.monotonic()
        self._end_s = self.first_s + self._seconds
        if pace_per_s:
            await self._run_paced(pace_per_s)
            return
        for lane in self._lines:
            self._send_next(lane)
        if self._under_way:
            await self._done

    async def _run_paced(self, pace_per_s: float) -> None:
        idle = self._idle = list(self._lines)
        number = 0
        while (now_s := time.monotonic()) < self._end_s:
            while idle and self.first_s + number / pace_per_s <= now_s:
                number += 1
                self._send_next(idle.pop(), keeps_going=False)
            await asyncio.sleep(max(0.0, self.first_s + number / pace_per_s - time.monotonic()))
        while self._under_way:  # noqa: ASYNC110  the answers count down
            await asyncio.sleep(0.001)

    def _send_next(self, lane: Lane, *, keeps_going: bool = True) -> None:
        request = next(self._requests, None) if self._left > 0 and time.monotonic() < self._end_s else None
        if request is None:
            if not self._under_way and not self._done.done():
                self._done.set_result(None)
            return
        self._left -= 1
        self._under_way += 1
        lane.ask(request, self, keeps_going)

    def take(self, lane: Lane, status: int, sent_s: float) -> None:
        """Count an answer and go on."""
        now_s = time.monotonic()
        self._under_way -= 1
        self.statuses[status] += 1
        self.latencies_s.append(now_s - sent_s)
        self.last_s = now_s
        if status == 201:  # noqa: PLR2004  Created
            self.last_won_s = now_s
        if not lane.line.is_open:
            self._left = 0  # a server that hangs up spoils the run; the statuses tell
        if lane.keeps_going:
            self._send_next(lane)
        else:
            self._idle.append(lane)

    def figures(self) -> dict[str, Any]:
        """Return what was seen."""
        answers = sum(self.statuses.values())
        return {
            "answers": answers,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "seconds": self.last_s - self.first_s,
            "per_s": answers / max(self.last_s - self.first_s, 1e-9),
            "latency_ms": percentiles_ms(self.latencies_s),
            "first_s": self.first_s,
            "last_s": self.last_s,
            "last_won_s": self.last_won_s,
        }


class Lane:
    """One connection and the request that is on it.

    Args:
        fresh: Where to connect to for each request; None for a connection that stays.
    """

    def __init__(self, fresh: tuple[str, int] | None = None) -> None:
        self.line = Line(self._take)
        self._fresh = fresh
        self._connecting: asyncio.Task[None] | None = None
        self.keeps_going = True
        self._sent_s = 0.0
        self._phase: Phase | None = None

    def ask(self, request: bytes, phase: Phase, keeps_going: bool) -> None:
        """Send a request; the phase gets the answer."""
        self._phase, self.keeps_going = phase, keeps_going
        self._sent_s = time.monotonic()
        if self._fresh is None:
            self.line.send(request)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._ask_anew(request, *self._fresh))

    async def _ask_anew(self, request: bytes, host: str, port: int) -> None:
        self.line.close()
        line = self.line = Line(self._take)
        with contextlib.suppress(OSError):  # a line that is not connected tells so by itself
            await asyncio.get_running_loop().create_connection(lambda: line, host, port)
        line.send(request)

    def _take(self, _: Line, status: int, headers: bytes, body: bytes) -> None:  # noqa: ARG002  only the status counts
        if self._phase is not None:
            self._phase.take(self, status, self._sent_s)


async def _connect(host: str, port: int, count: int, *, is_fresh: bool) -> list[Lane]:
    if is_fresh:
        return [Lane((host, port)) for _ in range(count)]
    loop, lanes = asyncio.get_running_loop(), [Lane() for _ in range(count)]
    for start in range(0, count, _CONNECTING_MAX):
        some = lanes[start : start + _CONNECTING_MAX]
        await asyncio.gather(*(loop.create_connection(lambda lane=lane: lane.line, host, port) for lane in some))  # type: ignore[misc]  # the lambda's default
    return lanes


async def _run(options: argparse.Namespace, requests: Iterator[bytes]) -> dict[str, Any]:
    lanes = await _connect(options.host, options.port, options.connections, is_fresh=options.fresh)
    await Phase(lanes, requests, options.warm_up, options.seconds).run()
    gc.collect()
    gc.freeze()  # requests are never garbage: the collector's pauses would be latencies
    print("warm", flush=True)
    sys.stdin.readline()  # nothing is under way
    phase = Phase(lanes, requests, options.count, options.seconds)
    before_s = time.process_time()
    await phase.run(options.pace)
    figures = phase.figures()
    return figures | {"generator_cpu": (time.process_time() - before_s) / max(figures["seconds"], 1e-9)}


def main() -> int:
    """Run the load generator from the command line."""
    parser = argparse.ArgumentParser(prog="load")
    parser.add_argument("requests", type=Path, help="requests, separated by NUL")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--warm-up", type=int, default=0, help="requests before the run (%(default)s)")
    parser.add_argument("--count", type=int, default=sys.maxsize, help="requests of the run at most")
    parser.add_argument("--seconds", type=float, default=4.0, help="of the run at most (%(default)s)")
    parser.add_argument("--pace", type=float, default=0.0, help="requests a second; 0 for a closed loop")
    parser.add_argument("--fresh", action="store_true", help="a new connection for each request")
    parser.add_argument("--core", type=int, action="append", help="where to run; may be repeated")
    options = parser.parse_args()
    if options.core:
        os.sched_setaffinity(0, set(options.core))
    requests = iter(options.requests.read_bytes().split(SEPARATOR))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(_run(options, requests))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
