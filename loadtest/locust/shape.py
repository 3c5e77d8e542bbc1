"""Ten o'clock: a few look, everybody gathers before the opening, all press at once, then it is over."""

from __future__ import annotations

import json
import time
import urllib.request
from datetime import datetime
from typing import Any

from loadtest.locust.options import options_of
from loadtest.locust.pollers import Poller
from loadtest.locust.timing import Phase, people_at, phase_at
from locust import LoadTestShape

_SPAWN_PER_S = 200.0
_TIMEOUT_S = 10.0


class TenOClockShape(LoadTestShape):
    """Brings as many people as ``--people`` says; the barrier at the opening is theirs, this counts in seconds only."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # locust says no types
        self._opens_s: float | None = None

    def reset_time(self) -> None:
        """Begin anew, for the opening that comes next."""
        super().reset_time()  # type: ignore[no-untyped-call]  # locust says no types
        self._opens_s = None

    def tick(self) -> tuple[int, float, list[type[Any]]] | None:
        """Return how many people are to be there, None when it is over."""
        assert self.runner is not None  # noqa: S101  locust sets it before it asks
        environment = self.runner.environment
        options = options_of(environment)
        if self._opens_s is None:
            self._opens_s = _opens_s(str(environment.host))
        phase = phase_at(time.time(), opens_s=self._opens_s, tail_s=options.tail_s)
        if phase is Phase.OVER:
            return None
        if phase is Phase.QUIET:
            return people_at(phase, options.people), _SPAWN_PER_S, [Poller]
        return options.people, _SPAWN_PER_S, list(environment.user_classes)


def _opens_s(host: str) -> float:
    """Return when the round opens that people come for, the next one; one that is open already opens now."""
    with urllib.request.urlopen(f"{host}/v1/stock", timeout=_TIMEOUT_S) as answer:  # noqa: S310  the loopback
        rows = [row for row in json.load(answer)["stocks"] if row["state"] in ("SCHEDULED", "OPEN")]
    now_s = time.time()
    return max(now_s, datetime.fromisoformat(rows[0]["opens_at"]).timestamp()) if rows else now_s
