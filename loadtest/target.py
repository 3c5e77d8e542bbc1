"""The service under load, as its clients see it: its clock, its rounds, and how far its ledger is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loadtest.wire import ask

LEAD_S = 3.0  # before a storm on a round that is open already
_WAIT_MAX_S = 900.0  # for an opening
_PICTURE_S = 0.1
_CATCH_UP_S = 30.0


class StormImpossible(Exception):
    """The storm could not be run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """The round that is stormed.

    Attributes:
        stocks: Its rows of the stock picture before the storm.
        opens_s: When it opens, on this process's clock.
    """

    stocks: Sequence[dict[str, Any]]
    opens_s: float


class Site:
    """The service under load, on this machine."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    async def get(self, path: str) -> dict[str, Any]:
        """Get a JSON document.

        Raises:
            StormImpossible: The service does not answer.
        """
        request = f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()
        try:
            _, _, body = await ask(self.host, self.port, request)
        except (OSError, TimeoutError) as error:
            raise StormImpossible(
                f"no service answers at {self.host}:{self.port} ({error}): start one with 'make run'"
            ) from error
        document: dict[str, Any] = json.loads(body)
        return document

    async def clock_offset_s(self) -> float:
        """Return what to add to the wall clock here to have the server's, by the quickest of a few answers."""
        best: tuple[float, float] | None = None
        for _ in range(7):
            before_s = time.time()
            server_s = datetime.fromisoformat((await self.get("/v1/time"))["server_time"]).timestamp()
            after_s = time.time()
            candidate = (after_s - before_s, server_s - (before_s + after_s) / 2)
            best = min(best, candidate) if best else candidate
        assert best is not None  # noqa: S101  seven answers came
        return best[1]

    async def target(self, round_id: str | None) -> Target:
        """Choose the round: the one that was named, else the first that has something left.

        Raises:
            StormImpossible: There is none, or it opens too late.
        """
        rows = (await self.get("/v1/stock"))["stocks"]
        open_rows = [
            row
            for row in rows
            if row["state"] in ("SCHEDULED", "OPEN") and (round_id is None or row["round_id"] == round_id)
        ]
        if not open_rows:
            raise StormImpossible(
                "no round has anything left to claim: stop 'make run' and start afresh with 'make clean-data run'"
            )
        first = open_rows[0]
        stocks = [
            row for row in rows if (row["campaign_id"], row["round_id"]) == (first["campaign_id"], first["round_id"])
        ]
        opens_in_s = datetime.fromisoformat(first["opens_at"]).timestamp() - time.time() - await self.clock_offset_s()
        if opens_in_s > _WAIT_MAX_S:
            raise StormImpossible(
                f"round {first['round_id']} opens at {first['opens_at']}, which is too long to wait: "
                "stop 'make run' and start afresh with 'make clean-data run'"
            )
        return Target(stocks, time.perf_counter() + max(opens_in_s, LEAD_S))

    async def on_their_way(self, stock_ids: set[str]) -> int:
        """Return how many claims of these stocks are reserved and not booked, as the picture shows."""
        rows = (await self.get("/v1/stock"))["stocks"]
        return sum((row["claimed"] or 0) - (row["booked"] or 0) for row in rows if row["stock_id"] in stock_ids)


class LagWatch:
    """Watches the picture of the stocks: how many claims are on their way to the ledger.

    Attributes:
        lag_max: The most that were seen.
    """

    def __init__(self, site: Site, target: Target) -> None:
        self._site = site
        self._stock_ids = {row["stock_id"] for row in target.stocks}
        self._nothing_since_s: float | None = None
        self.lag_max = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            lag = await self._site.on_their_way(self._stock_ids)
            self.lag_max = max(self.lag_max, lag)
            if lag:
                self._nothing_since_s = None
            elif self._nothing_since_s is None:
                self._nothing_since_s = time.perf_counter()
            await asyncio.sleep(_PICTURE_S)

    async def caught_up_after_s(self, last_win_s: float) -> float:
        """Wait until nothing is on its way; return how long after ``last_win_s`` that was so.

        Raises:
            StormImpossible: The ledger does not catch up.
        """
        while self._nothing_since_s is None:
            if time.perf_counter() - last_win_s > _CATCH_UP_S:
                raise StormImpossible("the ledger has not caught up after half a minute: see the log of its worker")
            await asyncio.sleep(_PICTURE_S)
        return max(0.0, self._nothing_since_s - last_win_s)
