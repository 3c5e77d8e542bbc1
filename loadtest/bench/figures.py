"""Medians of ratios with their spread, the lines of the budget, and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of a few values, and the least and the greatest of them."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Return the spread of some values, None of none."""
        return cls(median(values), min(values), max(values), len(values)) if values else None

    def text(self, digits: int = 2) -> str:
        """Write it as ``median (low to high)``."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float]:
    """Return ours divided by theirs, turn by turn; a turn in which either is missing gives none."""
    pairs = zip(ours, theirs, strict=True)
    return [mine / other for mine, other in pairs if mine is not None and other]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the budget.

    Attributes:
        what: What is bounded.
        must: The bound.
        aim: The bound that is striven for.
        at_least: Whether the bounds are lower ones.
        digits: After the point.
    """

    what: str
    must: float
    aim: float
    at_least: bool = False
    digits: int = 2

    def keeps(self, value: float, bound: float) -> bool:
        """Whether a value keeps a bound."""
        return value >= bound if self.at_least else value <= bound


@dataclass(frozen=True, slots=True)
class Verdict:
    """A line of the budget with what was measured; ``measured`` is None when nothing was, and ``why`` says why."""

    line: Line
    measured: Spread | None
    why: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return its row of the table."""
        line, measured = self.line, self.measured
        sign = "≥" if line.at_least else "≤"
        bounds = (f"{sign} {line.must:.3g}", f"{sign} {line.aim:.3g}")
        if measured is None:
            return (line.what, f"not measured: {self.why}", *bounds, "–")
        if line.keeps(measured.median, line.aim):
            met = "aim"
        elif line.keeps(measured.median, line.must):
            met = "must"
        else:
            met = "NO"
        return (line.what, measured.text(line.digits), *bounds, met)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        facts: dict[str, Any] = asdict(self)
        facts["met"] = self.cells()[-1]
        return facts


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def column(turns: Sequence[Mapping[str, Any]], pick: Callable[[Mapping[str, Any]], float]) -> list[float | None]:
    """Return a figure of each turn, None where the turn has not measured it."""
    values: list[float | None] = []
    for turn in turns:
        try:
            values.append(pick(turn))
        except KeyError:
            values.append(None)
    return values


def known(values: Sequence[float | None]) -> list[float]:
    """Return the values that there are."""
    return [value for value in values if value is not None]
