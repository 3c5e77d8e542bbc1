"""The budget: what each line is measured by.  A turn is ``{system: {measure: figures}}``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest.bench import growth, metrics_cost, ours, overload, random_tokens
from loadtest.bench.figures import Line, Spread, Verdict, column, known, ratios
from loadtest.bench.peers.roster import FASTAPI, NGINX

SOLD_OUT, WON, ROUND, POLL, LEDGER = "sold_out", "won", "round", "poll", "ledger"
OVERLOAD, REDEEM = "overload", "redeem"
NAMES = {SOLD_OUT: "sold-out answer", WON: "claim won"}

Turn = Mapping[str, Any]

# What, against whom, must, aim.
_RATIOS = (
    (SOLD_OUT, NGINX, 0.75, 0.55),
    (WON, NGINX, 1.1, 0.9),
    (SOLD_OUT, FASTAPI, 1 / 8, 1 / 12),
    (WON, FASTAPI, 1 / 8, 1 / 12),
)

# What, measure and figure of our own, must, aim, whether at least.
_OWN = (
    ("12,700 vouchers sold and committed, s", ROUND, "committed_s", 2.0, 1.0, False),
    ("last 201 to nothing left in the streams, ms", ROUND, "left_ms", 250.0, 0.0, False),
    ("GET /v1/stock, 1,000 a second on a busy loop, % of a core", POLL, "core_percent", 3.0, 3.0, False),
    ("ledger worker against COPY with the same keys", LEDGER, "ratio", 0.5, 0.8, True),
    ("redemptions of one stock, a second", REDEEM, "per_s", 1_500, 1_500, True),
)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Lines of the budget that a bench of their own measures.

    Attributes:
        what: What they are about.
        command: What measures them.
        file: Where it leaves its figures.
        verdicts: Holds the figures against the budget.
    """

    what: str
    command: str
    file: Path
    verdicts: Callable[[Any], Sequence[Verdict]]


ELSEWHERE = (
    Elsewhere(
        "cost of a claim and memory with 10,000,000 holders in a stock",
        "make bench-growth",
        Path("artefacts/growth.json"),
        lambda figures: growth.verdicts_of(figures["sizes"]),
    ),
    Elsewhere(
        "cost of the metrics",
        "python -m loadtest.bench.metrics_cost",
        Path("artefacts/bench-metrics.json"),
        lambda figures: metrics_cost.verdicts_of(figures["turns"], figures["calls_us"]),
    ),
    Elsewhere(
        "cost of forged tokens",
        "python -m loadtest.bench.random_tokens",
        Path("artefacts/bench-tokens.json"),
        random_tokens.verdicts_of,
    ),
)


def elsewhere(places: Sequence[Elsewhere] = ELSEWHERE) -> list[tuple[str, ...]]:
    """Return the lines that other benches have left, each with its command and when it was run."""
    rows: list[tuple[str, ...]] = []
    for each in places:
        if not each.file.is_file():
            rows.append((each.what, "not measured yet", "", "", "–", each.command))
            continue
        day = datetime.fromtimestamp(each.file.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC")
        figures = json.loads(each.file.read_text(encoding="utf-8"))
        rows += [(*verdict.cells(), f"{each.command}, {day}") for verdict in each.verdicts(figures)]
    return rows


def cpu_us(figures: Mapping[str, Any], parts: Sequence[str] = ("server", "store")) -> float:
    """Return the CPU time per request of some parts together, in microseconds."""
    return float(sum(figures["cpu_us"][part] for part in parts))


def verdicts(turns: Sequence[Turn], absent: Mapping[str, str]) -> list[Verdict]:
    """Hold the turns against the budget.

    Args:
        turns: What each turn measured; voided figures are left out.
        absent: Peers that could not be run, each with the reason.
    """
    found = []
    for measure, peer, must, aim in _RATIOS:
        mine = column(turns, lambda turn, measure=measure: cpu_us(turn[ours.NAME][measure]))  # type: ignore[misc]  # the lambda's default
        theirs = column(turns, lambda turn, measure=measure, peer=peer: cpu_us(turn[peer][measure]))  # type: ignore[misc]  # as above
        yes = " (confirmed)" if measure == WON else ""
        line = Line(f"{NAMES[measure]}{yes}, CPU of server + store against {peer}", must, aim, digits=3)
        found.append(Verdict(line, Spread.of(ratios(mine, theirs)), absent.get(peer, "not run")))
    calls = column(turns, lambda turn: turn[ours.NAME][POLL]["at_rest"]["store_calls_per_poll"])
    found.append(
        Verdict(Line("store calls a poll", 0.01, 0.01), Spread.of([abs(call) for call in known(calls)]), "not run")
    )
    for what, measure, figure, must, aim, at_least in _OWN:
        values = column(turns, lambda turn, measure=measure, figure=figure: turn[ours.NAME][measure][figure])  # type: ignore[misc]  # as above
        line = Line(what, must, aim, at_least=at_least)
        found.append(Verdict(line, Spread.of(known(values)), "not run"))
    loads = [turn[ours.NAME][OVERLOAD] for turn in turns if OVERLOAD in turn.get(ours.NAME, {})]
    return found + overload.verdicts_of(loads)
