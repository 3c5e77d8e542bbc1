"""Metrics of the stocks, the stores, the invariants and the work of the API, in the text format of Prometheus.

They are read from what the process keeps current anyway and from the sheets of all processes, so a scrape asks no
store, and every API process of a service tells the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from grab_service import resources
from grab_service.api.ending import SHED_REASONS, Ending
from grab_service.api.instruments import (
    CLAIM_ROUTE,
    CLAIMS,
    CPU,
    DURATION,
    DURATION_BOUNDS_S,
    GATE_POOL,
    INFLIGHT,
    LAG,
    LAG_BOUNDS_S,
    MEMORY,
    SCRIPT,
    SCRIPT_BOUNDS_S,
    VAULT_POOL,
)
from grab_service.api.service import Service
from grab_service.api.sheets import Series
from grab_service.gate import OK
from grab_service.snapshot import StockState, state_of

CONTENT_TYPE = CONTENT_TYPE_LATEST

_DIGEST_CHARACTERS = 12
_US = 1_000_000
_BUILD = [version("grab-service"), hashlib.sha256(resources.library_source().encode()).hexdigest()[:_DIGEST_CHARACTERS]]

_Totals = Mapping[Series, Sequence[int]]


def exposition(service: Service) -> bytes:
    """Return all metrics in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(service))
    registry.register(_Work(service))
    return generate_latest(registry)


class _Figures(Collector):
    """What is known of stocks, stores and invariants."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        service = self._service
        build = GaugeMetricFamily("grab_build_info", "Version and library.", labels=["version", "lua_sha"])
        build.add_metric(_BUILD, 1)
        yield build
        yield GaugeMetricFamily("grab_ready", "Whether claims can be served.", value=service.is_ready)
        yield GaugeMetricFamily("redis_up", "Whether the gate answers.", value=service.snapshot.gate_answers)
        yield GaugeMetricFamily("pg_up", "Whether the vault answers.", value=service.vault_answers)
        yield GaugeMetricFamily(
            "grab_gate_clock_offset_seconds",
            "How far the gate's clock is ahead of this machine's.",
            value=service.probe.clock_offset_s,
        )
        if service.ledger_lag_s is not None:
            yield GaugeMetricFamily(
                "grab_ledger_lag_seconds",
                "For how long the oldest claim has been waiting for the ledger, as the gate shows it.",
                value=service.ledger_lag_s,
            )
        yield from self._stocks()
        yield GaugeMetricFamily("grab_watch_up", "Whether the invariants are watched.", value=bool(service.verdicts))
        holds = GaugeMetricFamily("grab_invariant_holds", "1 while it holds, 0 when violated.", labels=["invariant"])
        for invariant, verdict in service.verdicts.items():
            holds.add_metric([invariant], verdict == OK)
        yield holds
        difference = GaugeMetricFamily(
            "ledger_reconcile_difference", "Vouchers by which gate and vault differ; must be 0.", labels=["kind"]
        )
        for kind, vouchers in service.differences.items():
            difference.add_metric([kind], vouchers)
        yield difference
        if service.used is not None:
            yield GaugeMetricFamily("ledger_vouchers_used", "Vouchers that are used.", value=service.used)

    def _stocks(self) -> Iterable[GaugeMetricFamily]:
        def gauge(name: str, meaning: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(name, meaning, labels=["stock"])

        total = gauge("grab_stock_total", "Vouchers of the stock.")
        remaining = gauge("grab_stock_remaining", "Vouchers that nobody holds.")
        issued = gauge("grab_issued", "Vouchers that users hold at the gate.")
        booked = gauge("grab_booked", "Vouchers whose owner is committed in the vault.")
        is_open = gauge("grab_stock_open", "1 while the gate is open for the stock.")
        is_selling = gauge("grab_stock_selling", "1 while the stock is handed out: open, in its hours, some left.")
        opens = gauge("grab_stock_opens_timestamp_seconds", "When its round opens.")
        for stock, counts in self._service.snapshot.figures:
            label = [stock.stock_id]
            total.add_metric(label, stock.quantity)
            is_open.add_metric(label, counts is not None and counts.is_open)
            is_selling.add_metric(label, state_of(counts) is StockState.OPEN)
            opens.add_metric(label, stock.opens_at.timestamp())
            if counts is not None:
                remaining.add_metric(label, counts.free)
                issued.add_metric(label, counts.held)
                booked.add_metric(label, counts.booked)
        return total, remaining, issued, booked, is_open, is_selling, opens


class _Work(Collector):
    """What all API processes have counted."""

    def __init__(self, service: Service) -> None:
        self._instruments = service.instruments

    def collect(self) -> Iterable[Metric]:
        self._instruments.flush()
        totals = self._instruments.sheets.totals()
        yield from _claims(totals)
        yield from _durations(totals)
        yield _histogram(totals, SCRIPT, "How long a call of the gate took that carried a batch.", SCRIPT_BOUNDS_S)
        yield _histogram(totals, LAG, "How late the event loop is.", LAG_BOUNDS_S)
        yield GaugeMetricFamily(INFLIGHT, "Requests under way.", value=_level(totals, INFLIGHT))
        yield GaugeMetricFamily(GATE_POOL, "Connections to the gate that are busy.", value=_level(totals, GATE_POOL))
        yield GaugeMetricFamily(VAULT_POOL, "Connections to the vault that are busy.", value=_level(totals, VAULT_POOL))
        yield GaugeMetricFamily(MEMORY, "Memory of all API processes.", value=_level(totals, MEMORY))
        yield CounterMetricFamily(CPU, "Processor time of all API processes.", value=_level(totals, CPU) / _US)
        yield GaugeMetricFamily(
            "grab_api_processes", "API processes that run.", value=self._instruments.sheets.processes
        )


def _claims(totals: _Totals) -> Iterable[Metric]:
    claims = CounterMetricFamily(CLAIMS, "Answered claims.", labels=["stock", "outcome"])
    shed = dict.fromkeys(SHED_REASONS.values(), 0)
    for series, cells in totals.items():
        if series[0] == CLAIMS:
            by_outcome: dict[str, int] = {}
            for ending in Ending:
                if ending is not Ending.BY_STATUS:
                    by_outcome[ending.outcome] = by_outcome.get(ending.outcome, 0) + cells[ending]
            for outcome, count in by_outcome.items():
                claims.add_metric([series[1], outcome], count)
            for ending, reason in SHED_REASONS.items():
                shed[reason] += cells[ending]
    yield claims
    turned_away = CounterMetricFamily("grab_shed_total", "Claims that were turned away unanswered.", labels=["reason"])
    for reason, count in shed.items():
        turned_away.add_metric([reason], count)
    yield turned_away


def _durations(totals: _Totals) -> Iterable[Metric]:
    durations = HistogramMetricFamily(
        DURATION, "From a request's headers to the end of its answer.", labels=["route", "method", "status_class"]
    )
    for series, cells in totals.items():
        # The claims' are there from the start: a rate needs a zero to begin with.
        if series[0] == DURATION and (any(cells) or series[1] == CLAIM_ROUTE):
            _add(durations, series[1:], DURATION_BOUNDS_S, cells)
    yield durations


def _histogram(totals: _Totals, name: str, meaning: str, bounds_s: Sequence[float]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, meaning)
    if (name,) in totals:
        _add(family, [], bounds_s, totals[name,])
    return family


def _add(
    histogram: HistogramMetricFamily, labels: Sequence[str], bounds_s: Sequence[float], cells: Sequence[int]
) -> None:
    below = [*map(str, bounds_s), "+Inf"]
    histogram.add_metric(labels, list(zip(below, accumulate(cells[:-1]), strict=True)), cells[-1] / _US)


def _level(totals: _Totals, name: str) -> int:
    return totals.get((name,), (0,))[0]
