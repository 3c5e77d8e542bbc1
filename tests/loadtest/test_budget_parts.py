"""The lines of the budget that benches of their own measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loadtest.bench import metrics_cost, random_tokens
from loadtest.bench.budget import ELSEWHERE, Elsewhere, elsewhere


def flood(api_cpu_s: float, p50_ms: float, statuses: dict[str, int]) -> dict[str, Any]:
    """Return what one turn of the random tokens tells."""
    return {"winners_ms": {"p50": p50_ms}, "winners": statuses, "flood": {"401": 10_000}, "api_cpu_s": api_cpu_s}


def test_forged_tokens_are_bounded_by_what_they_add() -> None:
    """The winners' own share is taken off; one winner who is told otherwise is too many."""
    told = {
        "winners alone": flood(1.0, 10.0, {"201": 5}) | {"flood": {}},
        "garbage": flood(1.5, 12.0, {"201": 5}),
        "forged, rationed": flood(3.0, 25.0, {"201": 4, "503": 1}),
    }
    met = [verdict.cells()[-1] for verdict in random_tokens.verdicts_of(told)]
    assert met == ["aim", "aim", "aim", "NO", "NO", "NO"]


def test_metrics_are_held_against_the_request_that_they_count() -> None:
    """The call alone, against a whole request; and a request with, against one without."""
    turns = [{"with": {"sold_out": 41.0, "won": 80.0}, "without": {"sold_out": 40.0, "won": 80.0}}]
    cells = [verdict.cells() for verdict in metrics_cost.verdicts_of(turns, {"sold_out": 0.41, "won": 2.0})]
    assert [each[1].split()[0] for each in cells] == ["1.00", "2.50", "2.5", "0.0"]
    assert [each[-1] for each in cells] == ["aim", "NO", "NO", "aim"]


def test_the_instruments_have_the_call_that_is_timed() -> None:
    """The measurement follows the service."""
    assert all(0 < each < 1000 for each in metrics_cost.call_us().values())


def test_a_line_that_was_not_measured_names_its_command(tmp_path: Path) -> None:
    """Nothing is silently left out of the budget; what was measured tells when."""
    place = Elsewhere("memory", "make x", tmp_path / "x.json", lambda figures: figures["verdicts"])
    assert elsewhere([place])[0][:2] == ("memory", "not measured yet")
    place.file.write_text(json.dumps({"verdicts": []}), encoding="utf-8")
    assert elsewhere([place]) == []
    assert all(each.command for each in ELSEWHERE)
