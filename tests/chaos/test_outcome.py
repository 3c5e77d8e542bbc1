"""What a chaos run makes of what it found: only a run that tried hard and broke nothing has gone well."""

from __future__ import annotations

from dataclasses import replace

import pytest
from loadtest.chaos.checker import Verdict
from loadtest.chaos.run import Outcome

GOOD = Outcome(
    seed=7,
    kills={"api": 60, "valkey": 40},
    kills_min=100,
    back_s={"kill api": [1.0, 2.5, 4.0], "freeze api": [3.5]},
    sold={"a": 10, "b": 10},
    quantity=10,
    verdicts=(Verdict("I-1", "cap", ok=True, faults=(), count=0),),
    audit_ok=True,
    stopped_with=0,
)


def test_a_run_that_kept_everything_is_told_with_its_times() -> None:
    """The report counts how often a kill was over within the aim; other faults have none."""
    assert GOOD.ok
    lines = "\n".join(GOOD.lines())
    assert "kill api: 3 times, median 2.50 s, longest 4.00 s, within 3 s 2\n" in lines
    assert "freeze api: 1 times, median 3.50 s, longest 3.50 s\n" in lines


def test_a_long_run_that_kills_too_little_has_not_gone_well() -> None:
    """It says so."""
    idle = replace(GOOD, kills={"api": 99})
    assert not idle.ok
    assert any(line.startswith("TOO FEW KILLS") for line in idle.lines())


@pytest.mark.parametrize(
    "changes",
    [
        {"sold": {"a": 10, "b": 9}},
        {"sold": {}},
        {"verdicts": (Verdict("I-1", "cap", ok=False, faults=("one too many",), count=1),)},
        {"audit_ok": False},
        {"stopped_with": 2},
    ],
    ids=["not sold out", "nothing sold", "a broken promise", "a violated invariant", "ended badly"],
)
def test_a_run_with_one_fault_has_not_gone_well(changes: dict[str, object]) -> None:
    """Each of them is enough."""
    assert not replace(GOOD, **changes).ok  # type: ignore[arg-type]  # the cases above
