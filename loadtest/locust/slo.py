"""Service levels: what a rehearsal must reach, read from a file and held against its figures."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.locust.figures import Figures

ALL = "*"
GENERATOR = "generator_was_busy"  # 1 if the people needed more than 90 % of a core, else 0
MEASURES = ("requests", "failures", "failure_share", "p50_ms", "p95_ms", "p99_ms", "max_ms", GENERATOR)
_OF_ALL = ("requests", "failures", "failure_share")


class SloInvalid(Exception):
    """The file of service levels cannot be understood; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Level:
    """One service level.

    Attributes:
        name: How the report calls it.
        row: A row of the figures, ``*`` for all requests together.
        measure: What of it is judged, one of ``MEASURES``.
        at_most: The most that is good, None for no bound.
        at_least: The least that is good, None for no bound.
    """

    name: str
    row: str
    measure: str
    at_most: float | None = None
    at_least: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A level and what was reached; None when there was nothing to measure, which is never good."""

    level: Level
    reached: float | None

    @property
    def is_good(self) -> bool:
        """Whether the level was reached."""
        at_most, at_least = self.level.at_most, self.level.at_least
        if self.reached is None:
            return False
        return (at_most is None or self.reached <= at_most) and (at_least is None or self.reached >= at_least)


def read_levels(path: Path) -> list[Level]:
    """Read the service levels.

    Raises:
        SloInvalid: There are none, or one is not understood.
        OSError: The file cannot be read.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("slo", [])
        levels = [Level(**table) for table in tables]
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise SloInvalid(f"{path.name}: {error}") from error
    if not levels:
        raise SloInvalid(f"{path.name} names no service level")
    for level in levels:
        _check(level, path.name)
    return levels


def judge(levels: Sequence[Level], figures: Figures) -> list[Judged]:
    """Hold figures against service levels."""
    return [Judged(level, _reached(level, figures)) for level in levels]


def to_json(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return the verdicts as JSON has them."""
    return [
        {
            "name": each.level.name,
            "row": each.level.row,
            "measure": each.level.measure,
            "at_most": each.level.at_most,
            "at_least": each.level.at_least,
            "reached": each.reached,
            "ok": each.is_good,
        }
        for each in judged
    ]


def _check(level: Level, where: str) -> None:
    if level.measure not in MEASURES:
        raise SloInvalid(f"{where}: '{level.name}' measures {level.measure!r}, which is none of {', '.join(MEASURES)}")
    if level.measure == GENERATOR and level.row != ALL:
        raise SloInvalid(f"{where}: '{level.name}' wants {GENERATOR} of a row: name \"*\"")
    if level.row == ALL and level.measure not in (*_OF_ALL, GENERATOR):
        raise SloInvalid(f"{where}: '{level.name}' wants {level.measure} of all rows together: name a row")
    if level.at_most is None and level.at_least is None:
        raise SloInvalid(f"{where}: '{level.name}' has neither at_most nor at_least")


def _reached(level: Level, figures: Figures) -> float | None:
    if level.measure == GENERATOR:
        return float(figures.generator_was_busy)
    if level.row == ALL:
        requests, failures = figures.total("requests"), figures.total("failures")
    else:
        row = figures.row(level.row)
        if row is None:
            return 0.0 if level.measure in ("requests", "failures") else None
        if level.measure not in _OF_ALL:
            return float(getattr(row, level.measure))
        requests, failures = row.requests, row.failures
    if level.measure == "failure_share":
        return failures / requests if requests else None
    return float(requests if level.measure == "requests" else failures)
