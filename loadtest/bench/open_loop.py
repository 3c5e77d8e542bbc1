"""The open-loop generator: requests are due at instants that no answer moves, and latencies count from there.

``python -m loadtest.bench.open_loop FILE`` reads requests like ``load``, connects, says ``warm``, waits for a line,
runs its phases one after the other, and prints what became of each tenth of a second's requests as JSON.  A request
that finds every connection busy waits for one, as its user does, and gives up after his patience.  Sockets are served
by hand: where two cores hold everything, what the generator takes is missing elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import resource
import select
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.bench.load import SEPARATOR
from loadtest.report import percentiles_ms

USEFUL = frozenset({200, 201, 409})  # a voucher, or a no that is true
REFUSED = frozenset({429, 503})
GAVE_UP = -1  # in place of a status: the user's patience was over before a connection was free
BROKEN = 0
SLICE_S = 0.1
_READ_BYTES = 65_536
_HEADERS_END, _LENGTH = b"\r\n\r\n", b"content-length:"
_CONNECT_FIRST_S, _CONNECT_AGAIN_S = 20.0, 0.1
_WAIT_MIN_S = 0.0005
_NICENESS = -10
_LINGER_S = 3.0  # how long answers are waited for when nothing more is due


@dataclass(slots=True)
class Phase:
    """Requests at one rate, and what came of them.

    Attributes:
        per_s: How many are due in a second.
        seconds: For how long.
        slices: Answers by status, for each slice of the time at which they were due.
        answered: The same for each slice of the time at which they were answered.
        latencies_s: By status, from the intended start.
    """

    per_s: float
    seconds: float
    slices: list[Counter[int]] = field(default_factory=list)
    answered: list[Counter[int]] = field(default_factory=list)
    latencies_s: dict[int, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make a count for each slice."""
        self.slices = [Counter() for _ in range(int(self.seconds / SLICE_S) + 1)]
        self.answered = [Counter() for _ in range(int((self.seconds + _LINGER_S) / SLICE_S) + 2)]

    def take(self, status: int, due_s: float, now_s: float) -> None:
        """Count an answer; both instants are reckoned from the beginning of the phase."""
        self.slices[min(int(due_s / SLICE_S), len(self.slices) - 1)][status] += 1
        self.answered[min(int(now_s / SLICE_S), len(self.answered) - 1)][status] += 1
        self.latencies_s.setdefault(status, []).append(now_s - due_s)

    def figures(self) -> dict[str, Any]:
        """Return what was seen."""
        return {
            "per_s": self.per_s,
            "seconds": self.seconds,
            "slices": [{str(status): count for status, count in each.items()} for each in self.slices],
            "answered": [{str(status): count for status, count in each.items()} for each in self.answered],
            "latency_ms": {str(status): percentiles_ms(values) for status, values in sorted(self.latencies_s.items())},
        }


@dataclass(slots=True, eq=False)
class _Lane:
    connection: socket.socket
    due_s: float = 0.0  # of the request that is on it, on the machine's monotonic clock; 0 when it is idle
    phase: int = 0
    received: bytes = b""


class OpenLoop:
    """Sends what is due over connections that stand.

    Args:
        phases: What is due.
        requests: What to send.
        patience_s: After which a user who has no connection gives up.

    Attributes:
        lost: Connections that broke and could not be made again.
        is_short: Whether requests ran out before the end.
    """

    def __init__(self, phases: Sequence[Phase], requests: Iterator[bytes], patience_s: float) -> None:
        self._phases = phases
        self._requests = requests
        self._patience_s = patience_s
        self._poll = select.epoll()
        self._lanes: dict[int, _Lane] = {}
        self._idle: list[_Lane] = []
        self._waiting: deque[tuple[int, float]] = deque()
        self._address = ("", 0)
        self._starts_s: list[float] = []
        # What was answered is only noted while the phases run: its phase, status, when it was due, and when it came.
        self._done: list[tuple[int, int, float, float]] = []
        self.lost = 0
        self.is_short = False

    def connect(self, host: str, port: int, count: int) -> None:
        """Make the connections.

        Raises:
            OSError: The server takes none.
        """
        self._address = (host, port)
        for _ in range(count):
            self._connect(_CONNECT_FIRST_S)

    def _connect(self, within_s: float) -> None:
        connection = socket.create_connection(self._address, timeout=within_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        lane = self._lanes[connection.fileno()] = _Lane(connection)
        self._idle.append(lane)
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Run every phase, wait a while for the last answers, and close the connections."""
        start_s = time.monotonic()
        for number, phase in enumerate(self._phases):
            self._starts_s.append(start_s)
            self._run_phase(number, start_s, start_s + phase.seconds)
            start_s += phase.seconds
        until_s = time.monotonic() + _LINGER_S
        while len(self._idle) < len(self._lanes) and time.monotonic() < until_s:
            self._receive(0.01)
            self._send_waiting()
        for lane in self._lanes.values():
            if lane.due_s:
                self._count(lane.phase, BROKEN, lane.due_s)
            lane.connection.close()
        for number, due_s in self._waiting:
            self._count(number, GAVE_UP, due_s)
        self._poll.close()
        for number, status, due_s, now_s in self._done:
            start_s = self._starts_s[number]
            self._phases[number].take(status, due_s - start_s, now_s - start_s)

    def _run_phase(self, number: int, start_s: float, end_s: float) -> None:
        per_s, count = self._phases[number].per_s, 0
        is_over = False
        while not is_over:
            now_s = time.monotonic()
            is_over = now_s >= end_s
            while (due_s := start_s + count / per_s) <= min(now_s, end_s):
                self._waiting.append((number, due_s))
                count += 1
            self._send_waiting()
            self._receive(max(_WAIT_MIN_S, min(due_s, end_s) - time.monotonic()))

    def _send_waiting(self) -> None:
        waiting, idle = self._waiting, self._idle
        oldest_s = time.monotonic() - self._patience_s
        while waiting and waiting[0][1] < oldest_s:
            number, due_s = waiting.popleft()
            self._count(number, GAVE_UP, due_s)
        while waiting and idle:
            request = next(self._requests, None)
            if request is None:
                self.is_short = True
                waiting.clear()
                return
            lane = idle.pop()
            lane.phase, lane.due_s = waiting.popleft()
            try:
                lane.connection.send(request)
            except OSError:
                self._drop(lane)

    def _receive(self, wait_s: float) -> None:
        lanes, idle, done, clock = self._lanes, self._idle, self._done, time.monotonic
        for number, _ in self._poll.poll(wait_s, 512):
            lane = lanes[number]
            try:
                data = lane.connection.recv(_READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._drop(lane)
                continue
            if lane.received:
                data = lane.received + data
            status = _status_of(data)
            if status is None:
                lane.received = data
                continue
            lane.received = b""
            done.append((lane.phase, status, lane.due_s, clock()))
            lane.due_s = 0.0
            idle.append(lane)

    def _drop(self, lane: _Lane) -> None:
        """Count a connection that the server has closed if an answer was due, and make another in its place."""
        number = lane.connection.fileno()
        self._poll.unregister(number)
        lane.connection.close()
        del self._lanes[number]
        if lane.due_s:
            self._count(lane.phase, BROKEN, lane.due_s)
        else:
            self._idle.remove(lane)
        try:
            self._connect(_CONNECT_AGAIN_S)
        except OSError:
            self.lost += 1

    def _count(self, number: int, status: int, due_s: float) -> None:
        self._done.append((number, status, due_s, time.monotonic()))


def _status_of(received: bytes) -> int | None:
    """Return the status of an answer, None while it is not whole."""
    end = received.find(_HEADERS_END)
    if end < 0:
        return None
    at = received.find(_LENGTH, 0, end)
    if at < 0:
        at = received[:end].lower().find(_LENGTH)
    if at >= 0:
        length = int(received[at + len(_LENGTH) : received.find(b"\r\n", at)])
        if len(received) < end + len(_HEADERS_END) + length:
            return None
    return int(received[9:12])


def _phase(text: str) -> Phase:
    per_s, _, seconds = text.partition(":")
    return Phase(float(per_s), float(seconds))


def main() -> int:
    """Run the generator from the command line."""
    parser = argparse.ArgumentParser(prog="open_loop")
    parser.add_argument("requests", type=Path, help="requests, separated by NUL")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=2_000)
    parser.add_argument("--phase", type=_phase, action="append", required=True, metavar="PER_S:SECONDS")
    parser.add_argument("--patience", type=float, default=2.0, help="seconds (%(default)s)")
    parser.add_argument("--core", type=int, action="append", help="where to run; may be repeated")
    options = parser.parse_args()
    if options.core:
        os.sched_setaffinity(0, set(options.core))
    with contextlib.suppress(PermissionError):  # users have machines of their own: what is late is to be the service
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    requests = iter(options.requests.read_bytes().split(SEPARATOR))
    generator = OpenLoop(options.phase, requests, options.patience)
    generator.connect(options.host, options.port, options.connections)
    gc.collect()
    gc.freeze()
    gc.disable()  # its pauses would be latencies, and nothing here is cyclic
    print("warm", flush=True)
    sys.stdin.readline()
    cpu_s, began_s = time.process_time(), time.monotonic()
    generator.run()
    used = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
    told = {
        "phases": [phase.figures() for phase in options.phase],
        "generator_cpu": used,
        "lost": generator.lost,
        "is_short": generator.is_short,
        "has_precedence": os.getpriority(os.PRIO_PROCESS, 0) < 0,
        "began_s": began_s,
    }
    print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
