"""What a ledger worker tells Prometheus, on a port of its own: what it has recorded and how far it is behind.

Each worker tells of the stocks that it follows, so sums over workers are sums over stocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio as redis
from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from ledger.corridor import StockKeys
from ledger.record import FENCED, FORBIDDEN, MALFORMED
from ledger.stream import gate_client
from ledger.trouble import TROUBLE, Condition, pause
from ledger.worker import Worker

_LOOK_S = 1.0
_REASONS = ("CONFLICT", FENCED, FORBIDDEN, MALFORMED)


@dataclass(frozen=True, slots=True)
class _Lag:
    """How far the ledger is with one stock.

    Attributes:
        length: Entries of its stream.
        pending: Those among them that are not recorded yet.
        oldest_s: For how long the oldest of these has been waiting.
    """

    length: int
    pending: int
    oldest_s: float


class Exporter:
    """Tells a worker's metrics over HTTP.

    Args:
        worker: The worker.
        redis_url: The gate.
        host: Address to listen on.
        port: Port to listen on.
    """

    def __init__(self, worker: Worker, redis_url: str, host: str, port: int) -> None:
        self._worker = worker
        self._redis_url = redis_url
        self._host = host
        self._port = port
        self._lags: Mapping[str, _Lag] = {}
        self._memory: tuple[int, int] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Tell until stopped.  No outage of the gate ends it.

        Raises:
            OSError: Another program listens there.
        """
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Figures(self))
        server, thread = start_http_server(self._port, self._host, registry)
        try:
            await self._look(stop)
        finally:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()

    async def _look(self, stop: asyncio.Event) -> None:
        condition = Condition("the exporter")
        while not stop.is_set():
            try:
                async with gate_client(self._redis_url) as gate:
                    while not stop.is_set():
                        self._lags = {name: await _lag(gate, keys) for name, keys in self._worker.keys.items()}
                        info: Mapping[str, Any] = await gate.info("memory")
                        self._memory = int(info["used_memory"]), int(info["maxmemory"])
                        condition.well()
                        await pause(stop, _LOOK_S)
            except TROUBLE as error:
                # What was seen last is not told on: a figure that stands still would look like a good one.
                self._lags, self._memory = {}, None
                await pause(stop, condition.ill(error))

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        yield from self._done()
        yield from self._behind()
        yield self._to_review()
        if self._memory is not None:
            used, limit = self._memory
            yield GaugeMetricFamily("redis_memory_used_bytes", "Memory that the gate uses.", value=used)
            yield GaugeMetricFamily("redis_memory_max_bytes", "Memory that it may use; 0 if unbounded.", value=limit)

    def _done(self) -> Iterable[Metric]:
        tally = self._worker.tally
        yield CounterMetricFamily("ledger_rows_written", "Claims that were new to the vault.", value=tally.recorded)
        yield CounterMetricFamily("ledger_duplicates", "Entries that it had already.", value=tally.replayed)
        refused = CounterMetricFamily("ledger_dead_letters", "Entries that it refused.", labels=["reason"])
        # Those that never happened as well: a rate needs a zero to begin with.
        for reason in _REASONS:
            refused.add_metric([reason], tally.reasons[reason])
        yield refused
        yield GaugeMetricFamily(
            "ledger_last_commit_timestamp_seconds", "When a batch was committed last.", value=tally.last_commit_s
        )
        yield from tally.durations.collect()

    def _to_review(self) -> Metric:
        told = GaugeMetricFamily("ledger_signals_of_a_day", "Signals noticed within the last day.", labels=["kind"])
        for kind, signals in self._worker.signals.items():
            told.add_metric([kind], signals)
        return told

    def _behind(self) -> Iterable[Metric]:
        length = GaugeMetricFamily("ledger_stream_length", "Entries of the stream.", labels=["stock"])
        pending = GaugeMetricFamily("ledger_pending_entries", "Entries not recorded yet.", labels=["stock"])
        age = GaugeMetricFamily(
            "ledger_oldest_pending_age_seconds", "For how long the oldest of these has been waiting.", labels=["stock"]
        )
        for stock_id, lag in self._lags.items():
            length.add_metric([stock_id], lag.length)
            pending.add_metric([stock_id], lag.pending)
            age.add_metric([stock_id], lag.oldest_s)
        return length, pending, age


class _Figures(Collector):
    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    def collect(self) -> Iterable[Metric]:
        return self._exporter.collect()


async def _lag(gate: redis.Redis, keys: StockKeys) -> _Lag:
    figures: Any = await gate.fcall_ro(
        "grab_counts", 5, keys.rules, keys.free, keys.holders, keys.claims, keys.progress
    )
    _, _, now_ms, *_, held, length, _, committed, booked = figures
    waiting = cast("list[tuple[str, Any]]", await gate.xrange(keys.claims, f"({committed}", count=1))
    if not waiting:
        return _Lag(length, 0, 0.0)
    since_ms = int(waiting[0][0].partition("-")[0])
    return _Lag(length, max(1, held - booked), max(0, now_ms - since_ms) / 1000)
