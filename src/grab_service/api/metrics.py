"""Metrics of the stocks, the stores and the invariants.

They are read from what the process keeps current anyway, so a scrape asks no store, and every API
process of a service tells the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from grab_service.api.service import Service
from grab_service.gate import OK

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition(service: Service) -> bytes:
    """Return all metrics in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(service))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[GaugeMetricFamily]:
        service = self._service
        yield GaugeMetricFamily("redis_up", "Whether the gate answers.", value=service.snapshot.gate_answers)
        yield GaugeMetricFamily("pg_up", "Whether the vault answers.", value=service.vault_answers)
        yield from self._stocks()
        yield GaugeMetricFamily("grab_watch_up", "Whether the invariants are watched.", value=bool(service.verdicts))
        holds = GaugeMetricFamily("grab_invariant_holds", "1 while it holds, 0 when violated.", labels=["invariant"])
        for invariant, verdict in service.verdicts.items():
            holds.add_metric([invariant], verdict == OK)
        yield holds

    def _stocks(self) -> Iterable[GaugeMetricFamily]:
        def gauge(name: str, meaning: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(name, meaning, labels=["stock"])

        total = gauge("grab_stock_total", "Vouchers of the stock.")
        remaining = gauge("grab_stock_remaining", "Vouchers that nobody holds.")
        issued = gauge("grab_issued", "Vouchers that users hold at the gate.")
        booked = gauge("grab_booked", "Vouchers whose owner is committed in the vault.")
        is_open = gauge("grab_stock_open", "1 while the gate is open for the stock.")
        for stock, counts in self._service.snapshot.figures:
            label = [stock.stock_id]
            total.add_metric(label, stock.quantity)
            is_open.add_metric(label, counts is not None and counts.is_open)
            if counts is not None:
                remaining.add_metric(label, counts.free)
                issued.add_metric(label, counts.held)
                booked.add_metric(label, counts.booked)
        return total, remaining, issued, booked, is_open
