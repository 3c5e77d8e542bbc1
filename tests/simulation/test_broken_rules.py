"""The simulation can fail: with one rule of the design switched off it finds what that rule is there for."""

from __future__ import annotations

import pytest

from tests.simulation.rules import Rule
from tests.simulation.schedule import Run, run_seed, run_steps
from tests.simulation.shrink import shrink

_SCHEDULES_MAX = 4_000

# Rules that are switched off, mishaps that schedules are made of (none: any), invariants of which one must be violated.
CASES = {
    "no fence": ([Rule.FENCE], ["fail-over"], {"I-13"}),
    "no fuse": ([Rule.FUSE], ["kill-gate"], {"I-4", "I-8", "I-9", "I-14"}),
    "no one-voucher key": ([Rule.ONE_VOUCHER], [], {"I-3", "I-14"}),
    "classified in the first statement": ([Rule.SECOND_STATEMENT], ["recover"], {"I-9"}),
    "watermark before the commit": ([Rule.COMMIT_FIRST], [], {"I-4"}),
    "watermark over a gap": ([Rule.READ_ON, Rule.NO_GAP], ["crash", "freeze", "cut-vault"], {"I-4", "I-9"}),
    "no drain": ([Rule.DRAIN], ["recover"], {"I-14"}),
    "epoch not raised": ([Rule.RAISE], [], {"I-8", "I-9"}),
    "free list not checked": ([Rule.NUMBERS], ["kill-gate"], {"I-14"}),
    "overtaken recovery may write": ([Rule.OWN_REBUILD, Rule.NUMBERS], ["kill-gate", "recover"], {"I-14"}),
    "sold out believed for ever": ([Rule.SOLD_OUT_BY_EPOCH], [], {"I-4", "I-9"}),
}


def _first_violation(broken: frozenset[Rule], focus: list[str]) -> Run:
    for seed in range(_SCHEDULES_MAX):
        run = run_seed(seed, broken, focus)
        if run.violation is not None:
            return run
    pytest.fail(f"{_SCHEDULES_MAX} schedules found nothing")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", CASES)
def test_a_rule_that_is_switched_off_is_missed(name: str) -> None:
    """Some schedule violates what the rule upholds; shrunk, it is shorter, fails alike, and passes with the rule."""
    rules, focus, invariants = CASES[name]
    broken = frozenset(rules)
    run = _first_violation(broken, focus)
    short = shrink(run, broken)
    assert run.violation is not None
    assert short.violation is not None
    assert short.violation.invariant == run.violation.invariant
    assert short.violation.invariant in invariants
    assert len(short.steps) < len(run.steps)
    assert run_steps(short.steps).violation is None
