"""The figures of a run: every row of the report with its spread and what came in each second."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

INTENDED = "(intended)"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the report.

    Attributes:
        name: Who asked for what, and the outcome.
        method: The HTTP method; TIME for what is no request.
        requests: How often.
        failures: How often it was not what must be expected.
        p50_ms: Half were answered within.
        p95_ms: 95 of 100 were.
        p99_ms: 99 of 100 were.
        max_ms: All were.
        per_second: How many came in each second, by seconds since 1970.
    """

    name: str
    method: str
    requests: int
    failures: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    per_second: dict[int, int]

    @property
    def is_request(self) -> bool:
        """Whether something was asked over HTTP."""
        return self.method != "TIME"


@dataclass(slots=True)
class Figures:
    """What a run has measured.

    Attributes:
        people: How many people there were.
        rows: The report's rows.
        errors: What failed, a sentence each with how often.
        generator_was_busy: Whether the generator needed more than 90 % of a core, so that it measured itself, too.
    """

    people: int
    rows: list[Row]
    errors: list[str] = field(default_factory=list)
    generator_was_busy: bool = False

    @classmethod
    def of_entries(cls, people: int, entries: Iterable[Any], errors: Sequence[str], *, was_busy: bool) -> Figures:
        """Read them from the entries of locust's statistics, which carry no types."""
        rows = [
            Row(
                name=each.name,
                method=each.method,
                requests=each.num_requests,
                failures=each.num_failures,
                p50_ms=float(each.get_response_time_percentile(0.5) or 0),
                p95_ms=float(each.get_response_time_percentile(0.95) or 0),
                p99_ms=float(each.get_response_time_percentile(0.99) or 0),
                max_ms=round(float(each.max_response_time or 0), 1),
                per_second=dict(each.num_reqs_per_sec),
            )
            for each in entries
        ]
        return cls(people, sorted(rows, key=lambda row: row.name), list(errors), was_busy)

    @classmethod
    def read(cls, path: Path) -> Figures:
        """Read them from a file.

        Raises:
            OSError, ValueError: There is none, or it is none.
        """
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            Row(**(row | {"per_second": {int(at): count for at, count in row["per_second"].items()}}))
            for row in document.pop("rows")
        ]
        return cls(rows=rows, **document)

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def row(self, name: str) -> Row | None:
        """Return a row by its name."""
        return next((row for row in self.rows if row.name == name), None)

    def total(self, measure: str) -> int:
        """Return ``requests`` or ``failures`` of everything that was asked."""
        return sum(getattr(row, measure) for row in self.rows if row.is_request or measure == "failures")

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON has them."""
        return asdict(self)
