"""Shrinks a schedule that fails: the shortest one found that still violates the same invariant."""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.rules import Rule
from tests.simulation.schedule import Run, run_steps

_RUNS_MAX = 1_500


def shrink(run: Run, broken: frozenset[Rule] = frozenset()) -> Run:
    """Return a run of as few steps as could be found that violates the same invariant as ``run``.

    Chunks of steps are left out, long ones first; then what was cut out of reach by that is tried again.
    """
    assert run.violation is not None
    invariant, best, runs = run.violation.invariant, run, 0
    chunk = len(best.steps) // 2
    while chunk and runs < _RUNS_MAX:
        start, has_shrunk = 0, False
        while start < len(best.steps) and runs < _RUNS_MAX:
            runs += 1
            tried = run_steps(_without(best.steps, start, chunk), broken)
            if tried.violation is not None and tried.violation.invariant == invariant:
                best, has_shrunk = tried, True
            else:
                start += chunk
        if chunk > 1:
            chunk //= 2
        elif not has_shrunk:
            break
    return best


def _without(steps: Sequence[str], start: int, count: int) -> list[str]:
    return [*steps[:start], *steps[start + count :]]
