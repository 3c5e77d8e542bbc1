"""What a storm found, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def percentiles_ms(latencies_s: Sequence[float]) -> dict[str, float]:
    """Return p50 to max of latencies, in milliseconds; empty if there are none."""
    ordered = sorted(latencies_s)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {name: round(ordered[min(last, int(share * len(ordered)))] * 1000, 1) for name, share in _SHARES.items()}


@dataclass(slots=True)
class StockLine:
    """One stock of the round."""

    stock_id: str
    quantity: int
    winners: int
    sold_out_s: float | None


@dataclass(slots=True)
class Report:
    """A storm's figures and verdict.

    Attributes:
        users: Users that claimed each stock.
        claims: Claims in all.
        duration_s: From the opening to the last answer.
        answers: How many answers of each kind came, those that were asked again after included.
        stocks: Winners and time to sell-out of each stock, from its first 201 to its last.
        winners_per_s: Over the time in which there were winners.
        latency_ms: From the intended start to the last answer, of all claims.
        winners_latency_ms: The same of winners.
        ledger_lag_max: Most claims seen on their way to the ledger at once.
        ledger_caught_up_ms: From the last 201 until the picture of the stocks, some 300 ms old, had nothing on its way.
        generator_cpu: Share of one core that this generator needed; above 0.9 its latencies are its own.
        looked_up: 201 answers looked up in PostgreSQL as they arrived.
        faults: Broken promises.
        audit: The audit's verdict.
    """

    users: int
    claims: int
    duration_s: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    stocks: list[StockLine] = field(default_factory=list)
    winners_per_s: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    winners_latency_ms: dict[str, float] = field(default_factory=dict)
    ledger_lag_max: int = 0
    ledger_caught_up_ms: int = 0
    generator_cpu: float = 0.0
    looked_up: int = 0
    faults: list[str] = field(default_factory=list)
    audit: dict[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept."""
        return not self.faults and bool(self.audit.get("ok"))

    def write(self, path: Path) -> None:
        """Write it as JSON, with the machine it was measured on."""
        machine = {"processor": platform.processor() or platform.machine(), "system": platform.platform()}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine, "ok": self.is_good, **asdict(self)}, indent=2) + "\n")

    def lines(self) -> list[str]:
        """Return the table."""
        return [
            "",
            (
                f"{self.users:,} users, {self.claims:,} claims in {self.duration_s:.2f} s, "
                f"generator at {self.generator_cpu:.0%} of a core"
            ),
            "",
            *_rows("answers", Counter(self.answers).most_common()),
            *_rows(
                "winners",
                [
                    (line.stock_id, f"{line.winners:>6,} of {line.quantity:,}{_sold_out(line.sold_out_s)}")
                    for line in self.stocks
                ],
            ),
            f"winners a second      {self.winners_per_s:,.0f}",
            f"latency, all          {_spread(self.latency_ms)}",
            f"latency, winners      {_spread(self.winners_latency_ms)}",
            (
                f"ledger lag            at most {self.ledger_lag_max:,} claims; "
                f"{self.ledger_caught_up_ms} ms from the last 201 until booked"
            ),
            f"looked up at arrival  {self.looked_up:,} answers 201, in PostgreSQL",
            "",
            *(f"BROKEN: {fault}" for fault in self.faults[:20]),
            *_audit_lines(self.audit),
            "",
            "every promise was kept" if self.is_good else "A PROMISE WAS BROKEN",
        ]


def _rows(title: str, rows: Sequence[tuple[str, object]]) -> list[str]:
    return [f"{title if number == 0 else '':<22}{name:<30}{value}" for number, (name, value) in enumerate(rows)]


def _sold_out(seconds: float | None) -> str:
    return "" if seconds is None else f", gone after {seconds:.2f} s"


def _spread(latencies: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:g} ms" for name, value in latencies.items()) or "-"


def _audit_lines(audit: Mapping[str, Any]) -> list[str]:
    if not audit:
        return ["audit                 could not be run"]
    broken = [f"audit: {each['id']} is violated: {each['detail']}" for each in audit["invariants"] if not each["ok"]]
    return broken or [f"audit                 {len(audit['invariants'])} invariants hold"]
